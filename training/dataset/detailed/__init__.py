"""Detailed answers from an endpoint: requests, checks, resumable collection."""
