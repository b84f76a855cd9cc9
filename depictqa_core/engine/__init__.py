"""How the native network is run fast: shared prefill, answer tree, feature cache, batches by memory."""
