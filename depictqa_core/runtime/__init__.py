"""Process-level helpers: package versions, threads, standard streams, signals, a byte-limited cache."""
