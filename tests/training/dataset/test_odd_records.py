"""Files of records of any shape: every reader takes them or says what is wrong, and raises nothing else."""

import json
import random

import pytest

from depictqa_core.errors import DepictQAError
from training.dataset.readers.published_records import read_published
from training.evaluation.sets import read_set
from training.evaluation.voting import read_truth
from training.trainer.record_files import read_parts

IMAGES = {"image_ref": "r.png", "image_A": "a.png", "image_B": "b.png"}
TURNS = [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "Image A"}]
GOOD = (
    [{"id": "1", "task_type": "quality_compare", **IMAGES, "conversations": TURNS}] * 3,
    [
        {
            "id": "1",
            **IMAGES,
            "query": "Which is better? Answer the question using a single word or phrase.",
            "answer": "A",
        }
    ],
    {"r.png": {"dist_paths": ["a.png", "b.png"], "mos_list": [1.0, 2.0]}},
)
ODD = (
    *(None, True, 7, 1.5, -1, float("nan"), 10**400, "", [], {}, ["x"], {"a": 1}, [[[]]]),
    *("\ud800", "../x", "/etc/passwd", "a\0b", "x" * 5000),
)
RAW = (
    *(b"", b"\xff", b"[", b"[" * 100_000, b'{"a":' * 50_000, b"null", b"1" * 9999, b"\xef\xbb\xbf[]"),
    b'[{"id": 1, "id": 2}]',
)


def changed(value, rng):
    """The value with a part of it exchanged or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        if rng.random() < 0.2:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], changed(value[place], rng), *value[place + 1 :]]
    return rng.choice(ODD)


def readings(root, file):
    def evaluated():
        found = read_set(file, root)
        return found.stamp(), found.tasks, found.readable(range(len(found.records)))

    yield lambda: read_parts(root, {file.name: 1})
    for form in ("train", "test"):
        yield lambda form=form: [list(part.joined()) for part in read_published(root, form=form)]
    yield evaluated
    yield lambda: read_truth(file)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_readers_raise_only_errors_that_say_what_is_wrong(seed, tmp_path):
    rng, file = random.Random(seed), tmp_path / "records.json"
    for raw in [*RAW, *[None] * 150]:
        content = rng.choice(GOOD)
        for _ in range(rng.randint(1, 3)):
            content = changed(content, rng)
        file.write_bytes(json.dumps(content).encode() if raw is None else raw)
        for read in readings(tmp_path, file):
            try:
                read()
            except (DepictQAError, ValueError) as error:
                assert isinstance(error, DepictQAError) or str(tmp_path) in str(error), (error, content)
