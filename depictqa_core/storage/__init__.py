"""Safe writing and reading of files, and the collected preferences."""
