"""An image that equals its reference is the best possible, and no resized copy of the reference is better than it."""

import pytest
from core.judging import alike, fresh, pictures, plain
from golden import SAMPLES
from PIL import Image

from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge


def copy_of(picture, name="copy"):
    return as_image(picture.rgb.copy(), name)


def test_every_verb_finds_an_identical_image_the_best_possible(judge):
    judge = fresh(judge)
    reference, other = pictures(2, 4)
    same = copy_of(reference)
    judge.backend.runner.features = None  # the network cannot be asked
    (found,) = judge.identify(same, reference)
    assert (found.labels, found.text, found.confidence) == ((), "None", 1.0)
    (score,) = judge.score(same, reference)
    assert (score.score, score.spread, score.low, score.high, score.confidence) == (100.0, 0.0, 100.0, 100.0, 1.0)
    (words,) = judge.describe(same, reference)
    assert "identical to the reference" in words.text and words.confidence == 1.0
    for pair, verdict, probability in [
        ((same, other), "A", 1.0),
        ((other, same), "B", 0.0),
        ((same, same), "tie", 0.5),
    ]:
        result = judge.compare(*pair, reference)
        assert (result.verdict, result.probability_a, result.disagreement) == (verdict, probability, 0.0)


@pytest.mark.slow
def test_others_of_the_same_call_are_judged_as_alone(judge):
    reference, *others = pictures(3, 4, [(40, 60)])
    mixed = [others[0], copy_of(reference), others[1]]
    for verb in ("identify", "score"):
        found = getattr(fresh(judge), verb)(mixed, reference)
        alone = [getattr(fresh(judge), verb)(one, reference)[0] for one in mixed]
        assert alike(plain(found), plain(alone))
    seen = {}
    found = judge.describe(mixed, reference, max_new_tokens=4, on_text=lambda i, text: seen.update({i: text}))
    assert [seen[i] for i in range(3)] == [one.text for one in found] and "identical" in found[1].text
    progress = []
    ranked = judge.rank(mixed, reference, progress=lambda done, total: progress.append((done, total)))
    assert ranked.order[0] == 1 and progress[-1][0] == progress[-1][1]


def test_without_a_reference_nothing_is_decided(cnn):
    one = pictures(1, 4)[0]
    assert cnn.score(one)[0].score < 100


# ---------------------------------------------------------------- the included judge

SCALES = {"x1.5": 1.5, "x2": 2, "x4": 4, "half": 0.5, "third": 1 / 3}
FILTERS = ["LANCZOS", "BICUBIC", "NEAREST"]


@pytest.fixture(scope="module")
def bundled():
    return load_judge(device="cpu")


@pytest.fixture(scope="module", params=["balloons", "garage"])
def reference(request):
    image = Image.open(SAMPLES / f"{request.param}_original.jpg").convert("RGB")
    image.thumbnail((320, 320))
    return as_image(image, "reference")


def resized(picture, scale, kind):
    size = round(picture.width * scale), round(picture.height * scale)
    return as_image(Image.fromarray(picture.rgb).resize(size, Image.Resampling[kind]), f"{scale:.2f} {kind}")


@pytest.mark.slow
def test_no_resized_copy_is_better_than_the_reference(bundled, reference):
    copies = [resized(reference, scale, kind) for scale in SCALES.values() for kind in FILTERS]
    for found in bundled.compare_many([(reference, copy) for copy in copies], [reference] * len(copies)):
        assert found.verdict == "A" and found.probability_a == 1.0
    for found in bundled.compare_many([(copy, reference) for copy in copies], [reference] * len(copies)):
        assert found.verdict == "B" and found.probability_a == 0.0
    scores = bundled.score([reference, *copies], reference)
    assert all(one.score <= scores[0].score for one in scores)


@pytest.mark.slow
def test_enlarging_adds_nothing_to_a_distorted_image(bundled, reference):
    blurred = resized(resized(reference, 0.3, "BICUBIC"), 1 / 0.3, "BICUBIC")
    assert (blurred.width, blurred.height) == (reference.width, reference.height)
    for kind in FILTERS:
        enlarged = resized(blurred, 2, kind)
        plain_score, large_score = (one.score for one in bundled.score([blurred, enlarged], reference))
        assert large_score < plain_score + 5
        assert bundled.compare(enlarged, blurred, reference).probability_a < 0.75
