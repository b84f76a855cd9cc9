"""Benchmarks of published data sets in their native layouts: judges and classical metrics in one table."""
