"""Process-level helpers: versions of packages, threads, standard streams, signals, a cache bounded by bytes."""
