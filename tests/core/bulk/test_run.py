"""A large run: equal to asking image by image, resumed after any kill, bounded, and honest about what failed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from core.fake_judge import FakeJudge
from PIL import Image
from trees import ROOT

from depictqa_core.bulk import loading, run
from depictqa_core.bulk.parts import FORMATS, read_rows
from depictqa_core.bulk.plan import Plan
from depictqa_core.bulk.schema import DEFAULT_VERBS, OwnQuestion, columns_of
from depictqa_core.errors import DocumentError, OutOfMemory, StorageError, TaskError
from depictqa_core.images.image import as_image


def make(folder, count, damaged=()):
    os.makedirs(folder, exist_ok=True)
    for n in range(count):
        path = Path(folder) / f"{n}.png"
        Image.fromarray(np.full((40, 48, 3), n % 256, np.uint8)).save(path)
        if n in damaged:
            path.write_bytes(path.read_bytes()[:60])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("pics", 23, damaged=(5,))
    return tmp_path


def plan(**changes):
    return Plan(**{"sources": ["pics"], "folder": Path("out"), "part_rows": 10, **changes})


def judged(some, judge=None, report=lambda progress: None):
    return run.run(judge or FakeJudge(), some, report)


@pytest.mark.slow
@pytest.mark.parametrize("stored", FORMATS)
def test_the_table_has_a_row_for_every_image_in_order(here, stored):
    failures = []
    progress = judged(plan(stored=stored), report=lambda now: failures.extend(now.failures))
    rows = list(read_rows("out"))
    assert [row["image"] for row in rows] == [f"pics/{n}.png" for n in range(23)]
    assert (progress.done, progress.failed, progress.resumed) == (23, 1, 0)
    assert failures == [("pics/5.png", rows[5]["error"])] and "truncated" in rows[5]["error"]
    assert "5.png" not in rows[5]["error"]
    assert all(value is None for name, value in rows[5].items() if name not in ("image", "error"))
    image = as_image("pics/7.png")
    (score,), (found,) = FakeJudge().score([image]), FakeJudge().identify([image])
    assert rows[7]["score"] == score.score and rows[7]["labels"] == list(found.labels) == ["noise"]
    assert rows[7]["content"] == image.key and (rows[7]["width"], rows[7]["height"]) == (48, 40)
    assert set(rows[7]) == {column.name for column in columns_of(DEFAULT_VERBS)}
    assert rows[7]["faults"] == (["banding"] if rows[7]["labels"] else []) and len(rows[7]["fault_probabilities"]) == 15
    assert len(list(Path("out").glob("part-*"))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("stored", FORMATS)
def test_a_run_that_stopped_anywhere_resumes_and_equals_one_that_did_not(here, stored):
    judged(plan(folder=Path("whole"), stored=stored, batch=4))
    expected = list(read_rows("whole"))
    for stop in (1, 3, 6):  # groups after which it is interrupted: within the first part, at its end, later
        reports = []

        def interrupt(progress, stop=stop, reports=reports):
            reports.append(progress.done)
            if len(reports) > stop:
                raise KeyboardInterrupt

        folder = Path(f"out{stop}")
        with pytest.raises(KeyboardInterrupt):
            judged(plan(folder=folder, stored=stored, batch=4), report=interrupt)
        kept = list(read_rows(folder))
        assert kept == expected[: len(kept)] and len(kept) == reports[-1]
        asked = []

        class Counting(FakeJudge):
            def score(self, images, asked=asked, **options):
                asked.extend(images)
                return super().score(images)

        progress = judged(plan(folder=folder, stored=stored, batch=4), Counting())
        assert list(read_rows(folder)) == expected and progress.resumed == len(kept)
        assert len(asked) == sum(row["error"] is None for row in expected[len(kept) :])


CHILD = """
import sys, time
from pathlib import Path
from core.fake_judge import FakeJudge
from depictqa_core.bulk import plan, run
run.STORE_SECONDS = 0.0
class Slow(FakeJudge):
    def score(self, images, **options):
        time.sleep(0.004)
        return super().score(images)
todo = plan.Plan(["pics"], Path(sys.argv[1]), part_rows=10, batch=4)
run.run(Slow(), todo, lambda now: print(now.done, flush=True))
"""


@pytest.mark.slow
def test_kills_lose_and_double_nothing(here):
    make("pics", 200, damaged=(5, 77))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command, chance, kills = [sys.executable, "-c", CHILD, "out"], random.Random(0), 0
    while True:
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        if kills < 4:  # at any moment after some groups of images
            reports = [child.stdout.readline() for _ in range(chance.randint(2, 12))]
            time.sleep(chance.uniform(0, 0.02))
            child.send_signal(signal.SIGKILL)
        child.communicate()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
        kills += 1
        done = [row["image"] for row in read_rows("out")]
        assert done == [f"pics/{n}.png" for n in range(len(done))] and len(done) >= int(reports[-2])
    assert kills == 4
    judged(plan(folder=Path("whole"), batch=4))
    assert list(read_rows("out")) == list(read_rows("whole"))
    assert not list(Path("out").glob(".*.part"))


def test_more_inputs_at_the_end_continue_a_run_and_others_are_refused(here):
    judged(plan())
    make("more", 4)
    progress = judged(plan(sources=["pics", "more"]))
    assert (progress.done, progress.resumed) == (27, 23) and len(list(read_rows("out"))) == 27
    os.remove("pics/3.png")
    with pytest.raises(DocumentError, match=r"has pics/3.png, now it is pics/4.png: the inputs are not those"):
        judged(plan(sources=["pics", "more"]))
    with pytest.raises(DocumentError, match="another verbs"):
        judged(plan(verbs=("score",)))
    Path("other").mkdir()
    Path("other/part-000000.parquet").write_bytes(b"")
    with pytest.raises(DocumentError, match="has parts of a table but no run.json"):
        judged(plan(folder=Path("other")))


def test_two_runs_never_write_to_one_folder(here):
    def second(progress):
        with pytest.raises(StorageError, match="another process writes there"):
            judged(plan())

    judged(plan(), report=second)


def test_a_full_disk_ends_the_run_and_what_was_stored_stays(here, monkeypatch):
    written = []

    def full(path, content):
        if len(written) == 2 and "part-" in path.name:
            raise OSError(28, "No space left on device")
        written.append(path.name)
        write_file(path, content)

    from depictqa_core.bulk import parts

    write_file = parts.write_file
    monkeypatch.setattr(parts, "write_file", full)
    with pytest.raises(StorageError, match="part-000002.*No space left"):
        judged(plan())
    assert len(list(read_rows("out"))) == 20
    monkeypatch.undo()
    os.chdir(here)
    assert judged(plan()).resumed == 20 and len(list(read_rows("out"))) == 23


def test_an_image_that_does_not_fit_into_memory_fails_alone(here):
    class Small(FakeJudge):
        def identify(self, images, **options):
            if any(image.name == "pics/2.png" for image in images):
                raise OutOfMemory("not enough memory for this image")
            return super().identify(images)

    progress = judged(plan(), Small())
    rows = list(read_rows("out"))
    assert progress.failed == 2 and rows[2]["error"] == "not enough memory for this image" and rows[2]["score"] is None
    assert rows[3]["score"] is not None


def test_groups_end_by_number_by_pixels_and_with_their_part():
    def sizes(count, side, start=0, part_rows=1000):
        image = as_image(np.zeros((side, side, 3), np.uint8))
        one = loading.Loaded("x", image)
        return [len(group) for group in loading._groups([one] * count, start, part_rows, 32)]

    assert sizes(70, 8) == [32, 32, 6]
    assert sizes(20, 2048) == [8, 8, 4]  # of 32 megapixels
    assert sizes(20, 8, start=7, part_rows=10) == [3, 10, 7]
    assert sizes(0, 8) == []
    assert sizes(20, 8, start=20) == [12, 8]  # a run that was resumed inside a block


def test_an_own_question_has_its_columns_and_belongs_to_its_run(here):
    asked = {"verbs": ("score", "check"), "own": OwnQuestion("Is it bright?", ("yes", "no", "partly"))}
    judged(plan(**asked))
    row = list(read_rows("out"))[7]
    assert row["answer"] == "no" and row["answer_certainty"] == "self-consistency" and row["answer_coverage"] == 1
    assert row["answer_probabilities"] == pytest.approx([7 / 255, (1 - 7 / 255) / 2, (1 - 7 / 255) / 2])
    assert row["answer_confidence"] == row["answer_probabilities"][1] and "labels" not in row
    with pytest.raises(DocumentError, match="another check"):
        judged(plan(**{**asked, "own": OwnQuestion("Is it dark?", ("yes", "no", "partly"))}))
    with pytest.raises(DocumentError, match="another batch"):
        judged(plan(**asked, batch=4))


@pytest.mark.parametrize(
    ("own", "message"),
    [(None, "check: there is no question"), (OwnQuestion("Is it?", ("yes",)), "answers: give 2 to 32 texts")],
)
def test_a_wrong_question_is_refused_before_anything_is_read_or_written(here, own, message):
    with pytest.raises(TaskError, match=message):
        judged(plan(verbs=("check",), own=own, sources=["gone"]))
    assert not Path("out").exists()


def test_a_run_of_an_earlier_version_is_resumed(here):
    judged(plan())
    facts = json.loads(Path("out/run.json").read_text())
    Path("out/run.json").write_text(json.dumps({key: facts[key] for key in facts if key not in ("check", "batch")}))
    assert judged(plan()).resumed == 23


def test_results_of_another_version_are_not_read(here):
    judged(plan())
    facts = json.loads(Path("out/run.json").read_text())
    Path("out/run.json").write_text(json.dumps({**facts, "schema": 2}))
    with pytest.raises(DocumentError, match="has schema 2, this version reads 1"):
        list(read_rows("out"))
    with pytest.raises(DocumentError, match="name the folder that depictqa judge wrote"):
        list(read_rows("pics"))


def test_a_table_of_an_unknown_format_is_refused(here):
    judged(plan())
    path = Path("out") / "run.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"parquet"', '"csv"').replace('"jsonl"', '"csv"'))
    with pytest.raises(DocumentError, match="format is 'csv'; allowed: parquet, jsonl"):
        list(read_rows("out"))


def test_inputs_that_grow_are_judged_once_and_what_is_gone_keeps_its_row(here):
    growing = plan(grows=True, verbs=("score",))
    judged(growing)
    make("pics", 1)
    Path("pics/3.png").unlink()
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save("pics/2b.png")  # between others, in natural order
    progress = judged(growing)
    assert (progress.resumed, progress.done) == (23, 24)
    rows = [row["image"] for row in read_rows("out")]
    assert rows == [f"pics/{n}.png" for n in range(23)] + ["pics/2b.png"]
    assert judged(growing).done == 24
    with pytest.raises(DocumentError, match="not those of this run"):
        judged(plan(verbs=("score",)))
