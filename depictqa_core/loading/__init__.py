"""Load and save checkpoint folders, and place networks on devices."""
