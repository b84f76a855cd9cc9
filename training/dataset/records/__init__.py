"""Turns what was done to images into questions and answers: record files in the published format."""
