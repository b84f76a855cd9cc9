"""The worst mistakes of an evaluation, and how the report shows them."""

import numpy as np
import pytest
from PIL import Image

from training.evaluation.metrics import wilson
from training.evaluation.mistakes import LISTED, worst
from training.evaluation.report_mistakes import mistakes
from training.evaluation.scoring import score
from training.evaluation.sets import TestSet

ONE = "Which ONE is the most critical quality issue? Answer the question using a single word or phrase."
BETTER = "Which image is better, Image A or Image B? Answer the question using a single word or phrase."
WHY = "Compare the overall quality of Image A with Image B and provide a comprehensive explanation."


def set_of(root, query, truths, pair=False):
    kind = "quality_compare_noref" if pair else "quality_single_A_noref"
    records = [
        {"id": str(i), "task_type": kind, "image_ref": None, "image_A": "a.png", "image_B": "b.png" if pair else None}
        | {"query": query, "answer": truth}
        for i, truth in enumerate(truths)
    ]
    return TestSet("some", root, records, [kind] * len(records))


def answers(texts, confidences=None):
    confidences = confidences or [None] * len(texts)
    return [{"id": str(i), "text": t, "confidence": c} for i, (t, c) in enumerate(zip(texts, confidences))]


def test_wrong_brief_answers_are_listed_most_confident_first(tmp_path):
    count = LISTED + 3
    test_set = set_of(tmp_path, ONE, ["Blur"] * count + ["Noise"])
    given = answers(["Noise"] * (count + 1), [i / 20 for i in range(count)] + [1.0])
    found = worst(test_set, given)
    assert [entry["id"] for entry in found] == [str(i) for i in range(count - 1, count - 1 - LISTED, -1)]
    assert found[0]["truth"] == "Blur" and found[0]["images"] == {"A": "a.png"}


def test_a_right_answer_in_other_words_is_no_mistake(tmp_path):
    two = "What are the two most critical issues? Answer the question using a single word or phrase."
    test_set = set_of(tmp_path, two, ["Noise and blur"] * 3)
    found = worst(test_set, answers(["Blur and noise", "Noise", "noise and blur"], [0.9, 0.8, 0.7]))
    assert [entry["id"] for entry in found] == ["1"]


def test_detailed_answers_are_judged_by_names_and_winner_or_by_their_scores(tmp_path):
    truth = "Image A has slight blur. Image B has serious noise. Image A is better than Image B."
    said = [
        truth,
        "Image A has slight blur. Image B has serious blur. Image A is better than Image B.",
        "Image A has slight blur. Image B has serious noise. Image B is better than Image A.",
        "Both are fine.",
    ]
    test_set = set_of(tmp_path, WHY, [truth] * 4, pair=True)
    found = worst(test_set, answers(said))
    assert [entry["id"] for entry in found] == ["3", "2", "1"]
    assert found[0]["why"] == "leaves out blur; leaves out noise; names no image as better"
    assert found[1]["why"] == "names Image B as better" and found[2]["why"] == "leaves out noise"
    graded = worst(test_set, answers(said), {"0": 3.0, "1": 9.0, "2": None, "3": 5.0})
    assert [entry["id"] for entry in graded] == ["0", "3", "1"] and graded[0]["why"] == "score 3"


def test_the_report_shows_images_and_escapes_texts(tmp_path):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "a.png")
    found = worst(set_of(tmp_path, ONE, ["Blur"]), answers(["<script>alert(1)</script>"], [0.9]))
    page = mistakes(found, tmp_path)
    assert "data:image/jpeg;base64," in page and "<script>" not in page and "&lt;script&gt;" in page
    (tmp_path / "a.png").write_bytes(b"no image")
    assert "a.png cannot be read" in mistakes(found, tmp_path)
    assert mistakes([], tmp_path) == "" and "a.png" in mistakes(found, None)


def test_accuracies_have_intervals_and_chance_and_pairs_both_orders(tmp_path):
    found = score(set_of(tmp_path, ONE, ["Blur"] * 4), answers(["Blur", "Blur", "Blur", "Noise"]))["metrics"]
    one = found["identification"]
    assert (one["low"], one["high"]) == pytest.approx(wilson(0.75, 4)) and one["chance"] == pytest.approx(
        1 / 13, abs=1e-3
    )
    test_set = set_of(tmp_path, BETTER, ["Image A"] * 3, pair=True)
    rows = [(0.9, 0.8), (0.6, 0.1), (0.2, 0.9)]  # p(A better), A shown first and second
    given = [
        {"id": str(i), "text": "Image A" if p >= 0.5 else "Image B", "confidence": max(p, 1 - p)}
        | {"probabilities": {"Image A": p, "Image B": 1 - p}, "swapped": {"Image A": q, "Image B": 1 - q}}
        for i, (p, q) in enumerate(rows)
    ]
    rating = score(test_set, given)["metrics"]["rating"]
    swap = rating["order_swap"]
    assert rating["chance"] == 0.5 and swap["accuracy_of_one"] == pytest.approx(2 / 3, abs=1e-6)
    assert swap["accuracy_of_both"] == pytest.approx(2 / 3, abs=1e-6) and swap["low"] < 2 / 3 < swap["high"]
