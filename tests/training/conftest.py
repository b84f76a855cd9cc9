"""Binds the packages of ``training`` before pytest takes the folders of their tests for them."""

import training.benchmark
import training.dataset
import training.evaluation
import training.inspection
import training.sources
import training.trainer  # noqa: F401
