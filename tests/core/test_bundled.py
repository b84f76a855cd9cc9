"""The bundled checkpoint: golden answers, and the behaviour that people rely on."""

import itertools
import json
import re

import numpy as np
import pytest
from golden import GOLDEN, SAMPLES, answers
from PIL import Image

from benchmarks.ladders import LADDERS, kendall_distance, ladder
from depictqa_core import tasks
from depictqa_core.cli.commands import main
from depictqa_core.errors import TaskError
from depictqa_core.judge import load_judge
from depictqa_core.loading.checkpoint_folder import BUNDLED, verify_checkpoint

LADDER_PICTURE = SAMPLES / "balloons_original.jpg"


@pytest.fixture(scope="module")
def judge():
    return load_judge(device="cpu")


def test_it_is_whole_and_small_enough_for_a_clone():
    card = verify_checkpoint(BUNDLED)
    assert card["name"] == "depictqa-mini" and card["license"] == "Apache-2.0" and card["trained_on"]
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*")) < 60e6


@pytest.mark.slow
def test_golden_answers(judge):
    """Made by ``python tests/golden.py``; scores to 0.5 points, probabilities to 0.01, words and order exactly."""
    found, golden = answers(judge), json.loads(GOLDEN.read_text())
    assert found["order"] == golden["order"]
    assert found["verdict"] == golden["verdict"]
    assert found["descriptions"] == golden["descriptions"]
    assert found["better of two"] == pytest.approx(golden["better of two"], abs=0.01)
    for name, expected in golden["pictures"].items():
        assert found["pictures"][name]["labels"] == expected["labels"], name
        assert found["pictures"][name]["score"] == pytest.approx(expected["score"], abs=0.5), name
        assert found["pictures"][name]["probability"] == pytest.approx(expected["probability"], abs=0.01), name


@pytest.mark.slow
def test_ladders_of_distortions_it_never_saw_come_in_order(judge):
    """At most one pair in fifty the wrong way round over both sample scenes, five ladders of six wholly in order.

    The last step of "colour down" is left out: an image without any colour is a clean look. Measured (1.2.0): garage
    10 of 12 with 3 of 175 pairs wrong, balloons 11 of 12 with 1. ``benchmarks/ladders.py`` measures how often it holds
    for a single image.
    """
    wrong = {}
    for path in SAMPLES.glob("*_original.jpg"):
        image = Image.open(path).convert("RGB")
        for name in LADDERS:
            steps = ladder(image, name)[: 5 if name == "colour down" else 6]
            shuffled = [step for step in (4, 1, 5, 0, 3, 2) if step < len(steps)]
            ranking = judge.rank([steps[i] for i in shuffled], reasons=False)
            wrong[path.name, name] = kendall_distance(tuple(shuffled[i] for i in ranking.order))
    assert len(wrong) == 24 and sum(wrong.values()) <= 7, wrong  # of 350 pairs
    assert sum(distance == 0 for distance in wrong.values()) >= 20, wrong


LABELLED = {
    "box blur": "blur",
    "uniform noise": "noise",
    "webp": "compression",
    "nearest mosaic": "pixelation",
    "posterize": "color quantization",
    "brightness up": "overly high brightness",
    "brightness down": "insufficient brightness",
    "colour down": "insufficient saturation",
    "fade to grey": "insufficient contrast",
}


@pytest.fixture(scope="module")
def labelled():
    """One strongly distorted image for each label that the ladders have."""
    image = Image.open(LADDER_PICTURE).convert("RGB")
    return [(LABELLED[name], ladder(image, name)[4]) for name in LABELLED]


@pytest.mark.slow
def test_without_the_picture_it_knows_nothing(judge, labelled):
    """The vision tower must matter: behind black images of the same sizes the answers fall to chance."""
    labels = [(label,) for label, _ in labelled]
    seen = judge.identify([image for _, image in labelled])
    blank = judge.identify([Image.new("RGB", image.size) for _, image in labelled])
    assert sum(found.labels == label for found, label in zip(seen, labels)) >= 6
    assert sum(found.labels == label for found, label in zip(blank, labels)) <= 1


@pytest.mark.slow
def test_network_features_matter_beside_the_statistics(judge, labelled, monkeypatch):
    images = [image for _, image in labelled]
    whole = judge.identify(images)
    half_blind = load_judge(device="cpu")
    forward = type(half_blind.model.vision).forward

    def without_maps(self, pixels, statistics, native=None):
        features = forward(self, pixels, statistics, native)
        features.maps = [m * 0 for m in features.maps]
        return features

    monkeypatch.setattr(type(half_blind.model.vision), "forward", without_maps)
    changed = half_blind.identify(images)
    assert max(abs(a.confidence - b.confidence) for a, b in zip(whole, changed)) > 0.1


@pytest.mark.slow
def test_two_runs_write_the_same_bytes(capsys):
    written = []
    for _ in range(2):
        assert main(["rank", str(SAMPLES), "--json", "--quiet"]) == 0
        written.append(capsys.readouterr().out)
    assert written[0] == written[1] and json.loads(written[0])


def test_a_picture_beside_itself_as_reference_is_pristine(judge):
    rng = np.random.default_rng(0)
    picture = np.asarray(Image.open(SAMPLES / "garage_original.jpg").convert("RGB"))
    noisy = np.clip(picture + rng.normal(0, 30, picture.shape), 0, 255).astype(np.uint8)
    same, damaged = judge.identify([picture, noisy], picture)
    assert same.labels == () and damaged.labels == ("noise",)


@pytest.mark.slow
def test_words_agree_with_verdicts_grades_and_levels(judge):
    """No explanation names another winner, none a winner of a tie; no description another name, grade or level."""
    files = sorted(SAMPLES.glob("*.jpg"))
    pairs = [*itertools.combinations(files, 2), *((file, file) for file in files)]
    for answer in judge.compare_many(pairs, explain=True):
        winners = set(re.findall(r"Image ([AB]) (?:is|looks|has) [^.]*better[^.]* than Image [AB]", answer.text))
        assert winners == ({answer.verdict} - {"tie"}), answer.text
    found = zip(judge.describe(files), judge.identify(files, count=None), judge.score(files))
    for said, seen, rated in found:
        first, *_, last = said.text.lower().split(". ")
        assert tuple(re.findall("|".join(tasks.DISTORTIONS), said.text.lower())) == seen.labels, said.text
        grades = [tasks.GRADES[round(severity) - 1] for severity in seen.severities]
        assert re.findall("|".join(tasks.GRADES), first) == grades, said.text
        level = max(rated.levels, key=lambda item: item.probability).label
        assert re.findall("|".join(tasks.LEVELS), last) == [level], said.text


def test_its_answers_are_covered(judge):
    assert min(judge.self_test().values()) > 0.97
    for answer in judge.identify(sorted(SAMPLES.glob("*.jpg"))):
        assert answer.coverage > 0.9 and min(answer.severity_coverage, default=1.0) > 0.9


@pytest.mark.parametrize(
    "question", ["Is there a cat?", "How many people are in the image?", "What is the weather like?"]
)
def test_it_refuses_what_it_never_learned(judge, question):
    with pytest.raises(TaskError, match="not supported by depictqa-mini"):
        judge.describe(LADDER_PICTURE, question=question)
