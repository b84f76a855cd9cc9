"""Rankings out of pairwise probabilities, and what is derived from scores: pure functions, no network."""
