"""Sorting out a large run: what to reject and keep, files moved with a way back, ratings for photo software."""
