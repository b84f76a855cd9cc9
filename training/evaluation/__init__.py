"""Evaluation: test records, answers, metrics, calibration, peers and the report."""
