"""A personal judge: preferences as the nodes write them are learned in a short run, and what was known is kept."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from depictqa_core.judge import load_judge
from training.__main__ import main
from training.distortions import ANSWER, CATEGORIES, apply

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "workflows" / "samples"
QUESTION = "Which image is better? Answer the question using a single word or phrase."


def crops(scene, count, rng):
    """Pieces of a sample picture, 160 pixels square."""
    picture = Image.open(SAMPLES / f"{scene}_original.jpg").convert("RGB")
    for _ in range(count):
        x, y = (int(v) for v in rng.integers(0, 160, 2))
        yield picture.crop((x, y, x + 160, y + 160))


def pale_and_rich(picture, rng):
    return (ImageEnhance.Color(picture).enhance(factor) for factor in (rng.uniform(0.4, 0.7), rng.uniform(1.3, 1.6)))


@pytest.fixture(scope="module")
def preferences(tmp_path_factory):
    """A folder as Collect Preferences writes it, of a person who always takes the more saturated picture."""
    root, rng = tmp_path_factory.mktemp("preferences"), np.random.default_rng(3)
    (root / "records").mkdir()
    (root / "pictures").mkdir()
    records = []
    for number, picture in enumerate(crops("balloons", 24, rng)):
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
    output = tmp_path_factory.mktemp("personal") / "judge"
    recipe = str(ROOT / "training" / "recipes" / "personal.yaml")
    assert main(["train", recipe, "--data", str(preferences), "--output", str(output), "--steps", "60"]) == 0
    return load_judge(None, "cpu"), load_judge(output, "cpu")


def test_it_prefers_what_the_person_prefers(judges):
    rng = np.random.default_rng(5)
    pairs = [tuple(map(np.asarray, pale_and_rich(picture, rng))) for picture in crops("garage", 12, rng)]
    before, after = (
        np.mean([judge.compare(rich, pale).probability_a > 0.5 for pale, rich in pairs]) for judge in judges
    )
    assert after >= 0.9 and after > before, (before, after)


def test_it_still_names_distortions(judges):
    rng = np.random.default_rng(7)
    shown = []
    for names, picture in zip(CATEGORIES.items(), crops("garage", len(CATEGORIES), rng)):
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
