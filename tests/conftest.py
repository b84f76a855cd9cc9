"""Binds the real ``training`` package before pytest takes its tests for it, and checks transformers' version."""

import os
from importlib.metadata import version

import pytest

import training  # noqa: F401


def pytest_report_header():
    return f"transformers {version('transformers')}"


def pytest_configure():
    """A run that is meant for one version of transformers must not pass with another."""
    wanted = os.environ.get("EXPECTED_TRANSFORMERS", version("transformers"))
    if version("transformers") != wanted:
        raise pytest.UsageError(
            f"transformers {wanted} is expected, not {version('transformers')}: make test sets it up"
        )
