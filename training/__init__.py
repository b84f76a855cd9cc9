"""Makes the checkpoints: data set factory, trainer and evaluator; imports depictqa_core, never the nodes."""
