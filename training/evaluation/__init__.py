"""What `training.evaluation.evaluate` is made of: test records, answers, metrics, calibration, peers and the report."""
