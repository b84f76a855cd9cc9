"""Rankings from pairwise probabilities, and results derived from scores: pure functions, no network."""
