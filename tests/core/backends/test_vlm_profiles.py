"""Every profile with a tiny random model of an architecture that it is for: its prompts, stems and level words."""

import json
import shutil

import numpy as np
import pytest
from tiny_vlms import FAMILIES, make_tiny_vlm

from depictqa_core import tasks
from depictqa_core.backends.profiles import FOLDER
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge

PROFILES = sorted(path.stem for path in FOLDER.glob("*.json"))
CASES = [
    (name, family)
    for name in PROFILES
    for family in json.loads((FOLDER / f"{name}.json").read_text()).get("match", {}).get("model_types", ["llava"])
    if family in FAMILIES
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("profiles")
    return {family: make_tiny_vlm(root / family, family) for family in {family for _, family in CASES}}


def images(count=2):
    rng = np.random.default_rng(4)
    return [as_image(rng.integers(0, 256, (64, 64 + 32 * i, 3), np.uint8), f"i{i}") for i in range(count)]


def asked(monkeypatch, judge):
    """The prompts, up to the answer, of the questions that a judge is asked."""
    seen, original = [], judge.backend.template.prompt

    def prompt(*arguments):
        found = original(*arguments)
        seen.append("".join(found.texts))
        return found

    monkeypatch.setattr(judge.backend.template, "prompt", prompt)
    return seen


def test_every_profile_has_an_architecture_to_be_tested_with():
    assert {name for name, _ in CASES} == set(PROFILES) and len(PROFILES) == 5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family"), CASES)
def test_a_profile_gives_probabilities_in_its_own_words(folders, name, family, tmp_path, monkeypatch):
    content = json.loads((FOLDER / f"{name}.json").read_text())
    generic = json.loads((FOLDER / "generic.json").read_text())
    questions = {**generic["questions"], **content["questions"]}
    part = content.get("match", {}).get("names", ["some"])[0]
    judge = load_judge(shutil.copytree(folders[family], tmp_path / f"My-{part}-7B"), "cpu")
    assert judge.info["profile"] == content["name"] and judge.info["accuracy"] == "not measured here"
    assert "random" in content["tested"] and content["accuracy"] == "not measured here"
    a, b = shown = images()
    seen = asked(monkeypatch, judge)
    for about in ({}, {"criterion": "sharpness"}, {"prompt": "a red car"}):
        suffix = "".join(f"_{kind}" for kind in about)
        text, stem = (
            questions[f"score{suffix}"]
            .get(key, "")
            .replace("{criterion}", "sharpness")
            .replace("{prompt}", "a red car")
            for key in ("text", "stem")
        )
        seen.clear()
        for score in judge.score(shown, **about):
            chances = [level.probability for level in score.levels]
            assert sum(chances) == pytest.approx(1) and min(chances) > 0 and 0 < score.coverage < 1
            assert [level.label for level in score.levels] == list(tasks.LEVELS)
            assert score.score == pytest.approx(float(np.dot(chances, tasks.LEVEL_SCORES)), abs=1e-3)
        assert seen and all(text in one and one.rstrip().endswith(stem or "") for one in seen)
        assert all(one.rfind("<think>") <= one.rfind("</think>") for one in seen)
        assert 0 < judge.compare(a, b, **about).probability_a < 1


@pytest.mark.parametrize("name", ["q_insight", "visualquality_r1"])
def test_numbers_are_an_expectation_over_their_tokens(folders, name, tmp_path):
    """Straight from the network: the five numbers behind the generation prompt, 5 worth 100 and 1 worth 0."""
    content = json.loads((FOLDER / f"{name}.json").read_text())
    assert content["levels"] == ["5", "4", "3", "2", "1"]
    part = content["match"]["names"][0]
    judge, (image, _) = load_judge(shutil.copytree(folders["qwen2_5_vl"], tmp_path / part), "cpu"), images()
    run, template = judge.backend.run, judge.backend.template
    prompt = template.prompt(content["questions"]["score"]["text"], (image, None))
    (logs,) = run.plain(prompt, [[]], lambda: None)
    ids = [run.ids(template.spacing + number) for number in content["levels"]]
    assert {len(one) for one in ids} == {1}
    chances = logs[0][[one[0] for one in ids]].softmax(-1).double().numpy()
    (score,) = judge.score([image])
    assert [level.probability for level in score.levels] == pytest.approx(chances, abs=1e-5)
    assert score.score == pytest.approx(25 * (float(chances @ [5, 4, 3, 2, 1]) - 1), abs=1e-3)


def test_a_file_in_the_folder_overrides_the_profile(folders, tmp_path, monkeypatch):
    folder = shutil.copytree(folders["qwen2_5_vl"], tmp_path / "q-insight")
    own = {"name": "mine", "levels": ["great", "good", "fair", "bad", "awful"], "system": "You judge."}
    own["questions"] = {"score": {"text": "Grade it.", "stem": "It is"}}
    (folder / "depictqa_profile.json").write_text(json.dumps(own))
    judge = load_judge(folder, "cpu")
    seen = asked(monkeypatch, judge)
    (score,) = judge.score(images(1))
    assert judge.info["profile"] == "mine" and sum(level.probability for level in score.levels) == pytest.approx(1)
    assert "You judge." in seen[0] and "Grade it." in seen[0] and seen[0].endswith("It is")


def test_images_stand_behind_the_question_where_the_profile_says_so(folders, tmp_path, monkeypatch):
    folder = shutil.copytree(folders["qwen2_5_vl"], tmp_path / "turned")
    (folder / "depictqa_profile.json").write_text(json.dumps({"images_first": False}))
    judge = load_judge(folder, "cpu")
    seen, plain = asked(monkeypatch, judge), load_judge(folders["qwen2_5_vl"], "cpu")
    one, other = judge.score(images(2)), plain.score(images(2))
    assert "How would you rate the quality of the image?<|vision_start|>" in seen[0]
    assert [score.score for score in one] != pytest.approx([score.score for score in other], abs=1e-3)
    assert one == [judge.score([image])[0] for image in images(2)]
