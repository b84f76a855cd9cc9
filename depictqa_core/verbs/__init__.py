"""The five verbs: which questions each asks of a backend, and how the answers become results."""
