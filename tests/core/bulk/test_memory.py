"""What a judge stores during a large run does not grow with the number of images."""

import os
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from core.fake_judge import FakeJudge
from PIL import Image

from depictqa_core import load_judge
from depictqa_core.backends.base import ANSWER_BYTES, IMAGE_ANSWER_BYTES
from depictqa_core.bulk.engines import CACHED_GROUPS, LocalEngine, opened
from depictqa_core.bulk.plan import Plan
from depictqa_core.bulk.process_engine import ProcessEngine
from depictqa_core.bulk.ray_engine import _Judging
from depictqa_core.cli import commands, large_runs
from depictqa_core.engine.features import bytes_per_image, default_budget

BATCH = 2
STORED = CACHED_GROUPS * BATCH
"""Images of which a judge stores anything."""


def make(folder, count):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(count):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{n}.png")


def plan(folder):
    return Plan([str(folder / "pics")], folder / "out", batch=BATCH, part_rows=8)


def caches(judge):
    """Bytes of all that a judge stores between calls."""
    features = judge.backend.runner.features
    return {"features": features.cache.bytes, "answers": judge.backend.answers.bytes}


@pytest.mark.slow
def test_a_judge_stores_what_belongs_to_the_images_in_work(tmp_path, checkpoint):
    make(tmp_path / "pics", 6 * STORED)
    some = plan(tmp_path)
    judge = opened(partial(load_judge, checkpoint, "cpu"), some)
    groups = LocalEngine(judge, some).rows(some.items(), 0)
    early = [caches(judge) for _ in islice(groups, 2 * STORED // BATCH)][-1]
    late = [caches(judge) for _ in groups][-1]
    assert late["features"] <= STORED * bytes_per_image(judge.model) and late["features"] <= early["features"]
    assert late["answers"] <= STORED * IMAGE_ANSWER_BYTES < ANSWER_BYTES
    features = judge.backend.runner.features
    assert max(features.typicality.budget, features.findings.budget) <= STORED * bytes_per_image(judge.model)


def test_limits_lower_default_caches_only(checkpoint):
    judge, chosen = load_judge(checkpoint, "cpu"), load_judge(checkpoint, "cpu", cache_bytes=2**20)
    cache, usual = judge.backend.runner.features.cache, default_budget(judge.model)
    judge.backend.limit_caches(10**6)
    assert cache.budget == usual and judge.backend.answers.budget == ANSWER_BYTES
    for one in (judge, chosen):
        one.backend.limit_caches(3)
        assert one.backend.answers.budget == 3 * IMAGE_ANSWER_BYTES
    assert cache.budget == 3 * bytes_per_image(judge.model)
    assert chosen.backend.runner.features.cache.budget == 2**20


def noting(folder):
    """Load a judge that notes for how many images it stores anything."""
    judge = FakeJudge()
    judge.backend = SimpleNamespace(
        **{
            **vars(FakeJudge.backend),
            "limit_caches": lambda images: Path(folder, str(os.getpid())).write_text(f"{images}"),
        }
    )
    return judge


def noted(folder):
    return {path.name: int(path.read_text()) for path in folder.iterdir()}


@pytest.fixture
def notes(tmp_path):
    make(tmp_path / "pics", 8)
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.mark.slow
def test_processes_limit_their_judges(tmp_path, notes):
    with ProcessEngine(partial(noting, notes), plan(tmp_path), 1, FakeJudge()) as engine:
        assert sum(len(rows) for rows in engine.rows(plan(tmp_path).items(), 0)) == 8
    assert list(noted(notes).values()) == [STORED] and str(os.getpid()) not in noted(notes)


def test_actors_limit_their_judges(tmp_path, notes, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an actor changes the working directory
    _Judging(partial(noting, notes), plan(tmp_path), str(tmp_path), 1)
    assert noted(notes) == {str(os.getpid()): STORED}


def test_the_command_limits_its_judge(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(large_runs, "open_judge", lambda options, bar: noting(notes))
    words = ["judge", str(tmp_path / "pics"), "--out", str(tmp_path / "out"), "--format", "jsonl", "--quiet"]
    assert commands.main([*words, "--batch", str(BATCH)]) == 0
    assert noted(notes) == {str(os.getpid()): STORED}
