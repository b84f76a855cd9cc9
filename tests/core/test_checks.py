"""Arguments of a wrong type, or out of range, are errors of our family that name the argument."""

import math

import numpy as np
import pytest
from tiny import make_tiny_checkpoint

from depictqa_core import load_judge
from depictqa_core.checks import check
from depictqa_core.errors import CheckpointError, DepictQAError, TaskError
from depictqa_core.ranking.filtering import Criteria
from depictqa_core.ranking.leaderboard import leaderboard
from depictqa_core.ranking.quality_map import grid
from depictqa_core.reports.sheets import quality_sheets
from depictqa_core.storage.preferences import levels, picked
from depictqa_core.tasks import IDENTIFICATION

COUNTS = [1.5, 2.0, -1, 0, True, "2", math.nan, math.inf, [1], np.float32(1)]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return load_judge(make_tiny_checkpoint(tmp_path_factory.mktemp("tiny")), "cpu")


@pytest.fixture(scope="module")
def images():
    return [np.full((70, 70, 3), level, np.uint8) for level in (0, 99)]


def refused(name, call):
    with pytest.raises(TaskError, match=rf"^{name}\b"):
        call()


@pytest.mark.parametrize("value", COUNTS)
def test_counts_are_whole_numbers(judge, images, value):
    for name in ("top_k", "budget"):
        refused(name, lambda name=name: judge.rank(images, **{name: value}))
    refused("max_new_tokens", lambda: judge.describe(images, max_new_tokens=value))
    with pytest.raises(TaskError, match="count|distortions"):
        judge.identify(images, count=value)
    refused("tile", lambda: grid(90, 90, value))
    refused("resamples", lambda: leaderboard(["a", "b"], [], [], resamples=value))
    refused("per_page", lambda: check(per_page=value))


@pytest.mark.parametrize("value", [5, b"?", ["Is it good?"], "\ud800"])
def test_questions_are_text(judge, images, value):
    refused("question", lambda: judge.describe(images, question=value))
    refused("question", lambda: judge.compare(*images, question=value))


@pytest.mark.parametrize("value", [math.nan, 1, 0.4, -1, True, "0.9", None])
def test_confidences_are_probabilities(judge, images, value):
    refused("confidence", lambda: judge.rank(images, confidence=value))


@pytest.mark.parametrize("value", [1, "yes", None])
def test_flags_are_true_or_false(judge, images, value):
    refused("explain", lambda: judge.compare(*images, explain=value))
    refused("reasons", lambda: judge.rank(images, reasons=value))
    refused("compiled", lambda: load_judge(compiled=value))


def test_other_arguments_are_checked(judge, images):
    for verb in (judge.identify, judge.describe, judge.score, judge.rank, judge.look):
        refused("progress", lambda verb=verb: verb(images, progress=5))
    refused("on_text", lambda: judge.describe(images, on_text="print"))
    refused("method", lambda: judge.rank(images, method=3))
    refused("pairs", lambda: judge.compare_many(images))
    refused("pairs", lambda: judge.compare_many(5))
    refused("cache_bytes", lambda: load_judge(cache_bytes=-1))
    for name in ("checkpoint", "anchors", "encoder"):
        refused(name, lambda name=name: load_judge(**{name: 5}))
    refused("picked", lambda: picked(3, 2))
    refused("margin", lambda: levels([1.0], math.nan))
    with pytest.raises(DepictQAError):
        quality_sheets([], 0)


@pytest.mark.parametrize(
    "change", [{"min_score": "x"}, {"top_k": 1.5}, {"probability": True}, {"best_percent": math.nan}]
)
def test_criteria_are_checked(change):
    usual = {"min_score": 0, "best_percent": 100, "top_k": 0, "distortions": (), "probability": 1, "min_confidence": 0}
    Criteria(**usual)
    refused(next(iter(change)), lambda: Criteria(**{**usual, **change}))


def test_numbers_of_numpy_are_numbers(judge, images):
    ranking = judge.rank(images, top_k=np.int64(1), budget=np.uint8(1), confidence=np.float32(0.9), reasons=np.True_)
    assert len(ranking.pictures) == 2


@pytest.mark.slow
@pytest.mark.parametrize("device", [5, b"cpu", ["cpu"], None, "meta", "", "gpu", "cpu:x"])
def test_devices_that_cannot_compute_are_named(tmp_path, device):
    folder = make_tiny_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="^device .*: choose auto, cpu, "):
        load_judge(folder, device)


def test_other_arguments_of_wrong_types_are_named(tmp_path, judge, images):
    with pytest.raises(TaskError, match="^answers is 5: give a caches.ByteCache"):
        load_judge(make_tiny_checkpoint(tmp_path), "cpu", answers=5)
    with pytest.raises(TaskError, match="^task is 'rating': give a task"):
        judge.ask([{"A": images[0]}], "rating", "Which?")
    for roles in (5, images[0], [images[0]], None):
        with pytest.raises(TaskError, match="^picture_roles: give a list"):
            judge.ask(roles, IDENTIFICATION, "What?")
