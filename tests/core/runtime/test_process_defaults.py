"""What other packages set for the whole process does not reach the judge: torch's number format and device."""

import contextlib
import functools

import numpy as np
import pytest
import torch

from depictqa_core.images.comparison_statistics import comparison_statistics
from depictqa_core.images.pixel_statistics import pixel_statistics
from depictqa_core.judge import load_judge

RGB = np.random.default_rng(0).integers(0, 256, (2, 300, 330, 3), np.uint8)
DEFAULTS = ["float16", "bfloat16", "float64", "meta"]


@contextlib.contextmanager
def process_default(name):
    """torch's default number format, or its default device, as another package may have set it."""
    try:
        torch.set_default_device(name) if name == "meta" else torch.set_default_dtype(getattr(torch, name))
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


@functools.cache
def statistics(height, width):
    """Statistics of two images, computed before any default is set."""
    one, other = (np.ascontiguousarray(rgb[:height, :width]) for rgb in RGB)
    return pixel_statistics(one), comparison_statistics(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("size", [(40, 30), (300, 330)])
def test_statistics_are_the_same_bits(default, size):
    wanted = statistics(*size)
    with process_default(default):
        found = statistics.__wrapped__(*size)
    for a, b in zip(wanted, found):
        assert b.dtype == torch.float32 and b.device.type == "cpu" and torch.equal(a, b)


def answers(judge):
    """Everything that the judge says about two images, as plain values."""
    a, b = RGB[0, :90, :120], RGB[1, :90, :120]
    return [
        [one.to_dict() for one in judge.identify([a, b])],
        [one.to_dict() for one in judge.describe([a, b], max_new_tokens=4)],
        [one.to_dict() for one in judge.score([a, b], b[::-1])],
        judge.compare(a, b).to_dict(),
    ]


@pytest.fixture(scope="module", params=["cnn", "clip"])
def asked(request, folders):
    """A checkpoint folder, and its answers with the defaults of torch."""
    return folders[request.param], answers(load_judge(folders[request.param], "cpu"))


@pytest.mark.slow
def test_autocast_that_was_left_on_changes_no_answer(asked):
    folder, wanted = asked
    judge = load_judge(folder, "cpu")
    with torch.autocast("cpu", torch.bfloat16):
        assert answers(judge) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("when", ["before loading", "after loading"])
def test_a_judge_answers_the_same(asked, default, when):
    folder, wanted = asked
    judge = load_judge(folder, "cpu") if when == "after loading" else None
    with process_default(default):
        assert answers(judge or load_judge(folder, "cpu")) == wanted
