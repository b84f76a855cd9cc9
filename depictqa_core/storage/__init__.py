"""Files written so that nobody sees them half written, and the collections stored in them."""
