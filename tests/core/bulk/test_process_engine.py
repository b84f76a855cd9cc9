"""Judging in several processes: the table of one process, whatever dies in between."""

import os
import signal
import subprocess
import sys
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
from core.fake_judge import DyingJudge, FakeJudge, refused
from PIL import Image
from trees import ROOT

from depictqa_core.bulk import process_engine
from depictqa_core.bulk.parts import read_rows
from depictqa_core.bulk.plan import Plan
from depictqa_core.bulk.process_engine import ProcessEngine, processes_for, suitable
from depictqa_core.bulk.run import run, run_on
from depictqa_core.errors import DepictQAError, OutOfMemory

pytestmark = pytest.mark.slow
COUNT = 90


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("pics")
    for n in range(COUNT):
        Image.fromarray(np.full((40, 48, 3), 2 * n, np.uint8)).save(f"pics/{n}.png")
    Path("pics/7.png").write_bytes(Path("pics/7.png").read_bytes()[:60])
    return tmp_path


def plan(folder="out"):
    return Plan(["pics"], Path(folder), part_rows=40, batch=16)


def judged(some, opening=FakeJudge):
    with ProcessEngine(opening, some, 2, FakeJudge()) as engine:
        return run_on(engine, lambda progress: None)


def test_the_table_is_that_of_one_process(here):
    run(FakeJudge(), plan("one"), lambda progress: None)
    progress = judged(plan())
    assert list(read_rows("out")) == list(read_rows("one")) and (progress.done, progress.failed) == (COUNT, 1)
    assert judged(plan()).resumed == COUNT


def test_a_process_that_is_killed_ends_the_run_and_the_same_command_resumes_it(here):
    run(FakeJudge(), plan("one"), lambda progress: None)
    with pytest.raises(OutOfMemory, match="resumes the run"):
        judged(plan(), partial(DyingJudge, here / "marker", 2 * 60))
    kept = list(read_rows("out"))
    assert kept == list(read_rows("one"))[: len(kept)] and len(kept) < COUNT
    assert judged(plan(), partial(DyingJudge, here / "marker", 2 * 60)).resumed == len(kept)
    assert list(read_rows("out")) == list(read_rows("one"))


def test_a_judge_that_cannot_be_loaded_says_why(here):
    with pytest.raises(DepictQAError, match="gone: no such folder"):
        judged(plan(), refused)


RUN = """
import sys
from pathlib import Path
from core.fake_judge import FakeJudge
from depictqa_core.bulk.plan import Plan
from depictqa_core.bulk.process_engine import ProcessEngine
if __name__ == "__main__":
    plan = Plan(["pics"], Path("out"))
    with ProcessEngine(FakeJudge, plan, 2, FakeJudge()) as engine:
        groups = engine.rows(plan.items(), 0)
        next(groups)
        print("begun", flush=True)
        sys.stdin.read()
"""


def test_no_process_outlives_the_run(here):
    Path("run.py").write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "run.py"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        process.send_signal(signal.SIGKILL)
    assert not psutil.wait_procs(workers, timeout=20)[1]


def failing():
    class Failing(FakeJudge):
        def score(self, images, reference=None, *, progress=None):
            raise RuntimeError("shapes do not match")

    return Failing()


def test_an_unexpected_failure_is_named(here):
    with pytest.raises(DepictQAError, match="failed with RuntimeError: shapes do not match"):
        judged(plan(), failing)


def test_an_interrupted_run_does_not_wait_for_the_blocks_in_work(here):
    def interrupt(progress):
        if progress.done:
            raise KeyboardInterrupt

    with ProcessEngine(FakeJudge, plan(), 2, FakeJudge()) as engine, pytest.raises(KeyboardInterrupt):
        run_on(engine, interrupt)
    kept = list(read_rows("out"))
    assert 0 < len(kept) < COUNT and judged(plan()).resumed == len(kept)
    assert [row["image"] for row in read_rows("out")] == [f"pics/{n}.png" for n in range(COUNT)]


def test_a_small_network_on_the_cpu_gets_a_process_for_each_core(judge, here, monkeypatch):
    monkeypatch.setattr(process_engine, "usable_cores", lambda: 4)
    for gibibytes, processes in ((64, 4), (6, 3), (1, 1)):
        monkeypatch.setattr(process_engine, "usable_memory", lambda free=gibibytes * 2**30: free)
        assert suitable(judge) == processes and suitable(FakeJudge()) == 1
    monkeypatch.setattr(process_engine, "usable_memory", lambda: 64 * 2**30)
    assert processes_for(judge, plan()) == 1 and processes_for(judge, Plan(["gone"], Path("out"))) == 1
    monkeypatch.setattr(process_engine, "MIN_IMAGES", COUNT)
    assert processes_for(judge, plan()) == 4 and processes_for(FakeJudge(), plan()) == 1


def test_blocks_are_those_of_one_process():
    from depictqa_core.bulk.loading import blocks

    found = list(blocks(iter(range(5, 100)), 5, part_rows=40, batch=16))
    assert [place for place, _ in found] == [5, 16, 32, 40, 56, 72, 80, 96]
    assert [item for _, block in found for item in block] == list(range(5, 100))
    assert list(islice(blocks(iter(()), 0, 40, 16), 1)) == []
