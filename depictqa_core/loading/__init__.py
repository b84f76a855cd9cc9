"""Reads and writes checkpoint folders and places networks on devices."""
