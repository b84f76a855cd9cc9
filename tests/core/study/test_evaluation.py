"""What a study has found: who is left out, the order of the images, judges, and what is exported."""

import csv
import io
import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from core.study.studies import answer, careless, folder_of, plan_of, started, take_part

from depictqa_core.metrics.registry import Metric
from depictqa_core.study import export
from depictqa_core.study.evaluation import Opinion, check_people, evaluate, table_of
from depictqa_core.study.opinions import of_judge, of_metric, open_images
from depictqa_core.study.votes import EQUAL, LEFT, RIGHT, read_record

HOSTILE = ["a|b.png", "=1+1.png", "<img src=x onerror=alert(1)>.png", "[x](javascript:1)`.png", "e.png"]


@pytest.fixture
def votes(tmp_path):
    folder_of(tmp_path / "pics", HOSTILE)
    return tmp_path / "votes.jsonl"


def run(votes, people, **rules):
    """A study with these people: name -> what they choose (None: the less noisy image)."""
    session = started(votes, plan_of([votes.with_name("pics")], votes, **rules))
    for name, choose in people.items():
        take_part(session, name, *([choose] if choose else []))
    return read_record(votes)


def by_noise(plan):
    """The images from clean to noisy."""
    return [image.name for image in sorted(plan.images, key=lambda image: HOSTILE.index(image.name))]


def careful(plan):
    places = [HOSTILE.index(image.name) for image in plan.images]

    return lambda trial: answer(trial, places.__getitem__)


@pytest.mark.slow
def test_people_who_fail_their_checks_are_left_out_and_counted(votes):
    plan = plan_of([votes.with_name("pics")], votes)
    record = run(votes, {"A": careful(plan), "B": careful(plan), "C": careless(1)})
    people = check_people(record)
    assert [(one.checks, one.passed) for one in people] == [(6, True), (6, True), (6, False)]
    assert people[0].right == 6 and people[2].right < 5
    found = evaluate(record, draws=200)
    assert found["people"] == {
        **{"took_part": 3, "counted": 2, "failed_checks": 1, "without_checks": 0},
        **{"pass_share": 0.75, "checks": 12, "checks_right": 12},
    }
    assert found["votes"]["counted"] == 20 and found["agreement"]["pairwise"][0] == 1
    assert found["agreement"]["alpha"] == [1, 1, 1] and found["agreement"]["one_against_others"][0] == 1
    assert [one["image"] for one in found["images"]] == by_noise(plan)
    assert [one["votes"] for one in found["images"]] == [8] * 5
    assert evaluate(record, pass_share=0, draws=200)["people"]["counted"] == 3
    assert evaluate(record, draws=200) == found
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_both_orders_of_one_person(votes):
    plan = plan_of([votes.with_name("pics")], votes)
    record = run(votes, {"A": careful(plan), "left": lambda trial: LEFT}, both_orders=True, checks=0)
    found = evaluate(record, draws=200)
    assert found["votes"]["equal_in_both_orders"] == [10, 20] and found["people"]["without_checks"] == 2
    table = table_of(record, check_people(record))
    assert (table.shares[1] == 0.5).all() and set(table.shares[0]) == {0, 1}
    assert found["votes"]["chosen_left"][0] == 0.75


@pytest.mark.slow
def test_judges_and_metrics(votes):
    plan = plan_of([votes.with_name("pics")], votes)
    record = run(votes, {name: careful(plan) for name in "ABC"})
    images, references = open_images(plan, votes)
    asked = []

    class Judge:
        def compare_many(self, pairs, of_pairs, progress):
            asked.extend(pairs)
            return [SimpleNamespace(probability_a=0.9 if a.rgb.std() < b.rgb.std() else 0.1) for a, b in pairs]

    judge = of_judge(Judge(), "good", plan, images, references, lambda *_: None)
    assert [(images.index(a), images.index(b)) for a, b in asked] == list(plan.pairs)
    clean = Metric("Clean", False, -1, lambda image, _: float(image.std()))
    unable = Metric("Odd", False, 1, lambda image, _: float("nan") if image.std() > 45 else float(image.std()))
    metrics = [of_metric(one, plan, images, references, lambda *_: None) for one in (clean, unable)]
    blind = Opinion("coin", np.full(10, 0.5))
    good, measured, odd, coin = evaluate(record, [judge, *metrics, blind], draws=200)["judges"]
    assert good["accuracy"][0] == measured["accuracy"][0] == 1 and good["srcc"][0] == measured["srcc"][0] == 1
    assert good["log_loss"] == [0.1054] * 3 and "log_loss" not in measured
    assert np.isnan(metrics[1].probabilities).any() and odd["accuracy"][0] == 0
    assert coin["accuracy"][0] == 0.5 and coin["log_loss"][0] == 0.6931 and coin["srcc"] == [None] * 3


def test_folders_are_compared_as_a_whole(tmp_path, votes):
    names = ["a.png", "b.png", "c.png"]
    one, two = folder_of(tmp_path / "one", names), folder_of(tmp_path / "two", names[::-1])
    session = started(votes, plan_of([one, two], votes))
    for name in ("A", "B"):
        take_part(session, name, lambda trial: LEFT if session.plan.images[trial.left].label.endswith("one") else RIGHT)
    record = read_record(votes)
    found = evaluate(record, pass_share=0, draws=200)
    assert [(one["label"].split("/")[-1], one["won"][0], one["votes"]) for one in found["labels"]] == [
        ("one", 1, 4),  # b.png is the same image in both
        ("two", 0, 4),
    ]
    assert "one " in export.text(found, None)


@pytest.mark.slow
def test_exports_hold_no_names_of_people_and_nothing_that_runs(votes):
    plan = plan_of([votes.with_name("pics")], votes)
    record = run(votes, {"Anna <b>": careful(plan), "=cmd": lambda trial: EQUAL})
    people = check_people(record)
    rows = list(csv.DictReader(io.StringIO(export.votes_csv(record, people))))
    assert [*rows[0]] == list(export.COLUMNS) and len(rows) == 32
    assert {row["person"] for row in rows} == {"1", "2"} and {
        row["counted"] for row in rows if row["person"] == "2"
    } == {"0"}
    assert "'=1+1.png" in {row["left"] for row in rows} | {row["right"] for row in rows}
    found = evaluate(record, draws=200)
    page = export.markdown(found)
    assert "<img" not in page and "a\\|b.png" in page and "\\[x\\](javascript:1)\\`.png" in page
    for text in (page, export.votes_csv(record, people), export.text(found, 80), json.dumps(found)):
        assert "Anna" not in text and "=cmd" not in text
    assert (
        "1 people compared 10 pairs of 5 images" in page and "1 of 2 people gave the expected answer to fewer" in page
    )
    assert "@software{depictqa" in page


@pytest.mark.slow
def test_preferences_of_the_majority_become_training_records(votes, tmp_path):
    plan = plan_of([votes.with_name("pics")], votes)
    choose = careful(plan)

    def torn(trial):
        return EQUAL if {trial.left, trial.right} == set(plan.pairs[0]) else choose(trial)

    record = run(votes, {"A": torn, "B": torn})
    people, images = check_people(record), open_images(plan, votes)
    assert asdict(export.store_preferences(tmp_path / "mine", record, people, *images)) == {
        "new": 9,
        "known": 0,
        "changed": 0,
        "total": 9,
    }
    records = json.loads((tmp_path / "mine/records/preferences.json").read_text())
    keys = {image.key: HOSTILE.index(image.name) for image in plan.images}
    for one in records:
        a, b = (keys[one[f"image_{side}"].split("/")[1].removesuffix(".png")] for side in "AB")
        assert one["A_better_B"] == (a < b)
    assert export.store_preferences(tmp_path / "mine", record, people, *images).known == 9
