"""What is in a data root: counts, examples, and what it shares with another."""
