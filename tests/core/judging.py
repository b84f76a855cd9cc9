"""What the tests of the judge share: images, references, every verb in one form, answers as plain values."""

import numpy as np
import pytest

from depictqa_core.backends.base import AnswerProbabilities
from depictqa_core.backends.native import NativeBackend
from depictqa_core.images.image import as_image, as_images
from depictqa_core.judge import Judge
from depictqa_core.loading.checkpoint import Checkpoint


def fresh(judge):
    """The same network with empty caches."""
    return Judge(NativeBackend(Checkpoint(judge.model, judge.backend.tokenizer, judge.info)))


SIZES = [(40, 60), (60, 40), (90, 90), (33, 150)]


def pictures(count=4, seed=0, sizes=SIZES):
    rng = np.random.default_rng(seed)
    shapes = [sizes[i % len(sizes)] for i in range(count)]
    return [as_image(rng.integers(0, 256, (*shape, 3), np.uint8), f"p{seed}-{i}") for i, shape in enumerate(shapes)]


REFERENCES = {"no reference": lambda n: None, "one": lambda n: pictures(1, 9)[0], "each": lambda n: pictures(n, 8)}
PAIRS = [(0, 1), (2, 3), (3, 0), (1, 1)]


def compare_pairs(judge, shown, references, **options):
    if references is not None:
        references = as_images(references) * (1 if isinstance(references, list) else len(PAIRS))
    return judge.compare_many([(shown[i], shown[j]) for i, j in PAIRS], references, **options)


VERBS = {
    "identify one": lambda j, p, r, **o: j.identify(p, r, count=1, **o),
    "identify two": lambda j, p, r, **o: j.identify(p, r, count=2, **o),
    "identify any": lambda j, p, r, **o: j.identify(p, r, count=None, **o),
    "describe": lambda j, p, r, **o: j.describe(p, r, max_new_tokens=5, **o),
    "score": lambda j, p, r, **o: j.score(p, r, **o),
    "compare": compare_pairs,
    "rank by pairs": lambda j, p, r, **o: j.rank(p, r, **o),
    "rank by score": lambda j, p, r, **o: j.rank(p, r, method="score", **o),
}
EACH = [name for name in VERBS if "rank" not in name and name != "compare"]


def plain(answer):
    return [a.to_dict() for a in answer] if isinstance(answer, list) else answer.to_dict()


def alike(a, b, tolerance=1e-4):
    """Equal words, and numbers that are equal within a tolerance (points of 0 to 100: ten times), at every depth."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return all(alike(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(alike(x, y, tolerance) for x, y in zip(a, b))
    if not isinstance(a, float):
        return a == b
    return a == pytest.approx(b, rel=1e-5, abs=tolerance if abs(a) <= 1 else 10 * tolerance)


def give_coverage(monkeypatch, judge, coverage):
    """Let all answers of a judge of random weights have this coverage."""
    choose = judge.backend.choose

    def covered(*asked, **options):
        rows = choose(*asked, **options).probabilities
        return AnswerProbabilities(rows, np.full(len(rows), coverage))

    monkeypatch.setattr(judge.backend, "choose", covered)
