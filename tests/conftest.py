"""Binds the real ``training`` package before pytest can take the folder of its tests for it."""

import training  # noqa: F401
