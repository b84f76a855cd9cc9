"""Data set factory, trainer and evaluator, which make the checkpoints. Imports depictqa_core, never the nodes."""
