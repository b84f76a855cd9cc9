"""Own questions, criteria and prompts: answers of a vision-language model, refusals of the bundled one."""

import numpy as np
import pytest
from core.judging import plain
from tiny_vlms import make_tiny_vlm

from depictqa_core.calibration import Calibration
from depictqa_core.cli.commands import main
from depictqa_core.errors import TaskError
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge

HANDS = "Are the hands anatomically correct?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny-qwen", "qwen2_5_vl")


@pytest.fixture(scope="module")
def judge(folder):
    return load_judge(folder, "cpu")


def images(count=3):
    rng = np.random.default_rng(2)
    return [as_image(rng.integers(0, 256, (56, 56 + 28 * i, 3), np.uint8), f"i{i}") for i in range(count)]


def test_every_answer_has_its_probability_in_the_order_given(judge):
    for found, image in zip(judge.check(images(), HANDS, ("yes", "no", "cannot tell")), images()):
        assert [one.label for one in found.probabilities] == ["yes", "no", "cannot tell"]
        assert sum(one.probability for one in found.probabilities) == pytest.approx(1)
        assert found.confidence == found.probability(found.answer) == max(p.probability for p in found.probabilities)
        assert (found.picture, found.question, found.passed) == (image.name, HANDS, None)
        assert 0 < found.coverage < 1 and found.certainty == "self-consistency"


def test_both_orders_of_the_answers_are_asked(judge):
    (one,), (other,) = judge.check(images(1), HANDS, ("yes", "no")), judge.check(images(1), HANDS, ("no", "yes"))
    assert one.probability("yes") == pytest.approx(other.probability("yes"), abs=1e-6)


def test_an_image_passes_by_the_probability_of_its_answer(judge):
    found = judge.check(images(), HANDS, accept="Yes")
    assert [one.passed for one in found] == [one.probability("yes") >= 0.5 for one in found]
    least = min(one.probability("yes") for one in found)
    assert all(one.passed for one in judge.check(images(), HANDS, accept="yes", threshold=least))
    assert not any(one.passed for one in judge.check(images(), HANDS, accept="yes", threshold=1.0))


@pytest.mark.parametrize(
    "about", [{"criterion": "sharpness of the eyes"}, {"prompt": "a red car {options} in the rain"}]
)
def test_criteria_and_prompts_are_judged_in_place_of_quality(judge, about):
    shown = images()
    quality, other = judge.score(shown), judge.score(shown, **about)
    assert [one.score for one in other] != pytest.approx([one.score for one in quality], abs=1e-3)
    assert judge.compare(*shown[:2], **about).probability_a != judge.compare(*shown[:2]).probability_a
    ranking = judge.rank(shown, **about)
    assert all(place.labels is None for place in ranking.pictures)
    assert [round(place.score, 6) for place in sorted(ranking.pictures, key=lambda place: place.index)] == [
        round(one.score, 6) for one in other
    ]
    assert judge.score(shown[:1], shown[0], **about)[0].confidence < 1  # its reference need not be the best by it


def test_the_prior_of_clean_images_holds_for_quality_alone(judge, monkeypatch):
    def scores():
        return judge.score(images())[0].score, judge.score(images(), criterion="sharpness of the eyes")[0].score

    quality, eyes = scores()
    monkeypatch.setattr(judge.backend, "calibration", Calibration({"none_score_nr": -8.0}))
    shifted, same = scores()
    assert shifted < quality - 5 and same == pytest.approx(eyes, abs=1e-4)


def test_what_makes_no_sense_is_refused(judge):
    a, b, _ = images()
    for ask, words in (
        (lambda: judge.score([a], criterion="x", prompt="y"), "criterion and prompt: give one"),
        (lambda: judge.compare(a, b, criterion="x", explain=True), "leave these out"),
        (lambda: judge.check([a], HANDS, ("yes",)), "2 to 32"),
        (lambda: judge.check([a], HANDS, "yes"), "2 to 32"),
        (lambda: judge.check([a], HANDS, ("yes", "Yes")), "are equal"),
        (lambda: judge.check([a], " "), "question: it is empty"),
        (lambda: judge.check([a], HANDS, accept="maybe"), "'maybe' is none of the answers yes, no"),
        (lambda: judge.check([a], HANDS, threshold=2), "threshold"),
    ):
        with pytest.raises(TaskError, match=words):
            ask()


@pytest.mark.slow
def test_the_bundled_checkpoint_refuses_in_one_line():
    bundled, (a, b, _) = load_judge(device="cpu"), images()
    for ask, words in (
        (lambda: bundled.check([a], HANDS), "own questions are not supported by depictqa-mini"),
        (lambda: bundled.score([a], criterion="eyes"), "criterion is not supported by depictqa-mini"),
        (lambda: bundled.compare(a, b, prompt="a car"), "prompt is not supported by depictqa-mini"),
        (lambda: bundled.rank([a, b], prompt="a car"), "prompt is not supported by depictqa-mini"),
    ):
        with pytest.raises(TaskError, match=words) as refused:
            ask()
        assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_the_command_line_checks(folder, judge, tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for image in images(2):
        Image.fromarray(image.rgb).save(f"{image.name}.png")
    words = ["check", "i0.png", "i1.png", "--checkpoint", str(folder), "--device", "cpu", "--question", HANDS]
    assert (
        main([*words, "--accept", "yes", "--threshold", "0.25", "--json", "a.json", "--csv", "a.csv", "--quiet"]) == 0
    )
    assert main([*words, "--accept", "yes", "--threshold", "0.25", "--json", "b.json", "--quiet"]) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    import json

    rows = json.loads((tmp_path / "a.json").read_text())["results"]
    wanted = [plain(one) for one in judge.check(images(2), HANDS, accept="yes", threshold=0.25)]
    assert [row["passed"] for row in rows] == [one["passed"] for one in wanted]
    assert "answer" in (tmp_path / "a.csv").read_text().splitlines()[0]
    assert main([*words]) == 0 and "i1.png" in capsys.readouterr().out
    for verb in (["score", "i0.png"], ["rank", "i0.png", "i1.png"], ["compare", "i0.png", "i1.png"]):
        assert main([*verb, "--checkpoint", str(folder), "--device", "cpu", "--criterion", "sharpness", "--quiet"]) == 0
        assert main([*verb, "--criterion", "sharpness"]) == 1  # the bundled model
        assert "criterion is not supported" in capsys.readouterr().err
