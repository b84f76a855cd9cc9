"""The command line ``depictqa``."""
