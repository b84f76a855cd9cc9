"""A personal judge: preferences as the nodes write them are learned in a short run, and what was known is kept."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from trees import ROOT

from depictqa_core.judge import load_judge
from depictqa_core.ranking.filtering import Criteria
from training.__main__ import main
from training.distortions import ANSWER, CATEGORIES, apply

SAMPLES = ROOT / "workflows" / "samples"
pytestmark = pytest.mark.slow
QUESTION = "Which image is better? Answer the question using a single word or phrase."


def crops(left, count, rng):
    """Pieces of both sample images, 128 pixels square, all of the left or of the right half."""
    for number in range(count):
        picture = Image.open(SAMPLES / f"{('balloons', 'garage')[number % 2]}_original.jpg").convert("RGB")
        x, y = int(rng.integers(0, 32)) + (0 if left else 160), int(rng.integers(0, 192))
        yield picture.crop((x, y, x + 128, y + 128))


def landscapes(count, rng):
    """Made-up images of soft colours with some texture, each with its own palette."""
    for _ in range(count):
        layers = np.zeros((160, 160, 3))
        for cells, strength in ((3, 60), (9, 30), (40, 12)):
            noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
            layers += strength * (np.asarray(Image.fromarray(noise).resize((160, 160), 3)) / 127.5 - 1)
        yield Image.fromarray(np.clip(rng.uniform(90, 165, 3) + layers, 0, 255).astype(np.uint8))


def pale_and_rich(picture, rng):
    return (ImageEnhance.Color(picture).enhance(factor) for factor in (rng.uniform(0.4, 0.7), rng.uniform(1.3, 1.6)))


@pytest.fixture(scope="module")
def preferences(tmp_path_factory):
    """A folder as Collect Preferences writes it, of a person who always takes the more saturated image."""
    root, rng = tmp_path_factory.mktemp("preferences"), np.random.default_rng(3)
    (root / "records").mkdir()
    (root / "pictures").mkdir()
    records = []
    for number, picture in enumerate([*crops(True, 24, rng), *landscapes(24, rng)]):
        names = []
        for kind, shown in zip("pr", pale_and_rich(picture, rng)):
            names.append(f"pictures/{number}{kind}.png")
            shown.save(root / names[-1])
        for a, b, winner in ((*names, "Image B"), (*names[::-1], "Image A")):
            talk = [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": winner}]
            records.append(
                {"id": f"{number}{winner[-1]}", "task_type": "quality_compare_noref", "image_ref": None}
                | {"image_A": a, "image_B": b, "conversations": talk, "A_better_B": winner == "Image A"}
            )
    (root / "records" / "preferences.json").write_text(json.dumps(records))
    return root


@pytest.fixture(scope="module")
def judges(preferences, tmp_path_factory):
    """The bundled judge and the personal one."""
    torch.set_num_threads(1)  # small matrices: a second thread costs more than it gives
    output = tmp_path_factory.mktemp("personal") / "judge"
    recipe = str(ROOT / "training" / "recipes" / "personal.yaml")
    assert main(["train", recipe, "--data", str(preferences), "--output", str(output), "--steps", "45"]) == 0
    return load_judge(None, "cpu"), load_judge(output, "cpu")


def test_it_prefers_what_the_person_prefers(judges):
    """All made-up images and most crops: clipped colours are damage to the start, and rehearsal keeps that."""
    rng = np.random.default_rng(5)
    unseen = [*crops(False, 8, rng), *landscapes(8, rng)]
    pairs = [tuple(map(np.asarray, pale_and_rich(picture, rng))) for picture in unseen]
    before, after = (np.array([judge.compare(rich, pale).probability_a for pale, rich in pairs]) for judge in judges)
    assert (after > before).mean() >= 0.75 and (after[8:] > before[8:]).all(), (before, after)
    assert before.mean() < 0.65 and after.mean() > 0.65 and np.median(after) > 0.8, (before, after)


def test_it_still_names_distortions(judges):
    rng = np.random.default_rng(7)
    shown = []
    for names, picture in zip(CATEGORIES.items(), crops(False, len(CATEGORIES), rng)):
        shown.append((names[0], apply(names[1][0], np.asarray(picture), 4, rng), np.asarray(picture)))
    for references in ([None] * len(shown), [clean for _, _, clean in shown]):
        share = []
        for judge in judges:
            found = judge.identify([d for _, d, _ in shown], None if references[0] is None else references)
            share.append(np.mean([a.labels == (ANSWER[category],) for (category, _, _), a in zip(shown, found)]))
        assert share[1] >= share[0] - 0.1, share


def test_the_card_says_where_it_comes_from(judges):
    start, personal = judges
    assert personal.info["name"] == "personal" and personal.info["started_from"]["name"] == start.info["name"]


def test_scores_ranks_and_filters_follow_the_person_in_order(judges):
    """Of each image there are three, paler to richer: the start has no such order, the personal judge has it."""
    rng, shown = np.random.default_rng(11), []
    for picture in [*crops(False, 3, rng), *landscapes(3, rng)]:
        shown.append([np.asarray(ImageEnhance.Color(picture).enhance(factor)) for factor in (0.4, 1.0, 1.6)])
    gaps, best = [], []
    for judge in judges:
        scores = np.array([[one.score for one in judge.score(three)] for three in shown])
        gaps.append(scores[:, 2] - scores[:, 0])
        best.append({"pairs": 0, "score": 0})
        for method in best[-1]:
            criteria = Criteria(0, 100, 1, (), 1, 0, method)
            for three in shown:
                order = judge.rank(three, reasons=False, method=method).order
                passed = [not faults for faults in criteria.faults(3, None, None, order)]
                best[-1][method] += order == (2, 1, 0) and passed == [False, False, True]
    assert [judge.score(shown[0][:1])[0].method for judge in judges] == ["levels", "anchors"]
    assert (gaps[1] > 0).sum() >= 5 and (gaps[1] > gaps[0]).sum() >= 5, gaps
    assert all(best[1][method] >= 5 > best[0][method] for method in best[1]), best
