"""Scores by comparison with anchors: the fit, the anchors that ship, a reference's ladder, the judge that uses them."""

import json

import numpy as np
import pytest
from core.judging import give_coverage
from PIL import Image
from tiny import make_tiny_checkpoint

from depictqa_core.calibration import CALIBRATED, SELF_CONSISTENCY
from depictqa_core.errors import ImageError, TaskError
from depictqa_core.images.image import RGBImage
from depictqa_core.images.size_policy import SizePolicy
from depictqa_core.judge import load_judge
from depictqa_core.ranking import anchors
from depictqa_core.ranking.anchors import LADDER_SIZE, load_anchors, place, reference_ladder
from depictqa_core.tasks import LEVEL_SCORES

STANDS = [100, 100, 80, 60, 40, 20, 0, 0]


def wins(position, scale, stands=STANDS):
    return 1 / (1 + np.exp((np.asarray(stands) - position) / scale))


# ---------------------------------------------------------------------- the fit


@pytest.mark.parametrize("scale", [4, 10, 30])
@pytest.mark.parametrize("position", [20, 35, 50, 72])
def test_a_picture_is_found_where_it_stands(position, scale):
    got = place(wins(position, scale), STANDS)
    assert got.low <= position <= got.high
    assert got.mean == pytest.approx(position, abs=9 if scale == 30 else 4)


def test_the_posterior_equals_a_computation_by_sums():
    stands, won = [90.0, 40.0, 10.0], [0.2, 0.6, 0.9]
    mass = []
    for x in anchors.POSITIONS:
        total = 0.0
        for scale in anchors.SCALES:
            p = 1 / (1 + np.exp(-(x - np.array(stands)) / scale))
            total += np.prod(p ** (2 * np.array(won)) * (1 - p) ** (2 - 2 * np.array(won)))
        mass.append(total)
    mass = np.array(mass) / sum(mass)
    mean = float(mass @ anchors.POSITIONS)
    got = place(won, stands)
    assert got.mean == pytest.approx(mean)
    assert got.deviation == pytest.approx(float(np.sqrt(mass @ (anchors.POSITIONS - mean) ** 2)))
    inside = mass[(anchors.POSITIONS >= got.low) & (anchors.POSITIONS <= got.high)].sum()
    assert inside == pytest.approx(0.95, abs=0.02)
    excellent = mass[anchors.POSITIONS > 87.5].sum()  # the half points go to the better level
    assert got.levels[0] == pytest.approx(excellent, abs=0.02) and sum(got.levels) == pytest.approx(1)
    assert len(got.levels) == len(LEVEL_SCORES)


def test_a_judge_that_sees_nothing_says_so():
    blind, sharp = place([0.5] * len(STANDS), STANDS), place(wins(50, 5), STANDS)
    assert blind.mean == pytest.approx(50, abs=3) and blind.high - blind.low > 60
    assert sharp.high - sharp.low < 40


def test_more_wins_never_lower_the_score_and_turned_answers_turn_it():
    means = [place(wins(x, 10), STANDS).mean for x in range(0, 101, 5)]
    assert means == sorted(means) and means[0] < 12 and means[-1] > 88
    won = wins(30, 8)
    turned = place(1 - won, [100 - s for s in STANDS])
    assert turned.mean == pytest.approx(100 - place(won, STANDS).mean)


# ---------------------------------------------------------------------- anchors that ship, and one's own


def test_the_anchors_that_ship_are_documented_and_small():
    content = json.loads((anchors.BUNDLED / anchors.LIST).read_text(encoding="utf-8"))
    shipped = load_anchors()
    assert len(shipped) == len(content["anchors"]) >= 6
    assert {entry["file"] for entry in content["anchors"]} | {anchors.LIST} == {
        p.name for p in anchors.BUNDLED.iterdir()
    }
    assert all(entry["source"] and entry["licence"].startswith("MIT") for entry in content["anchors"])
    assert sum(path.stat().st_size for path in anchors.BUNDLED.iterdir()) < 2**20
    positions = sorted(anchor.position for anchor in shipped)
    assert positions[0] <= 15 and positions[-1] == 100 and np.diff(positions).max() <= 30
    policy = SizePolicy(224, 672, 70, 14)
    assert all(policy.resized(a.picture.height, a.picture.width) == a.picture.rgb.shape[:2] for a in shipped)


def own(folder, entries, picture=True):
    folder.mkdir()
    for name in ("good.png", "bad.png") if picture else ():
        Image.new("RGB", (40, 50), "green" if name == "good.png" else "grey").save(folder / name)
    (folder / anchors.LIST).write_text(json.dumps({"anchors": entries}) if isinstance(entries, list) else entries)
    return folder


GOOD, BAD = {"file": "good.png", "position": 90}, {"file": "bad.png", "position": 10}


@pytest.mark.parametrize(
    "entries, said",
    [
        ("{", "anchors.json is not valid JSON"),
        ("[" * 10**5, "nested more than"),
        ("[]", "must hold an object"),
        ('{"anchors": 3}', "needs a list"),
        ([{"file": "good.png"}, BAD], "entry 1 of anchors.json has no position"),
        ([GOOD, "bad.png"], "entry 2 of anchors.json has no file"),
        ([GOOD, {**BAD, "position": True}], "position is True; allowed: a number from 0 to 100"),
        ([GOOD] * 2000, "at most 1000"),
        ([GOOD], "at least two"),
        ([GOOD, {**BAD, "position": 90}], "at least two"),
        ([GOOD, {**BAD, "position": 101}], "position is 101; allowed: a number from 0 to 100"),
        ([GOOD, {**BAD, "position": float("nan")}], "NaN is not a finite number"),
        ([GOOD, {**BAD, "file": "../bad.png"}], "allowed: the name of a file in this folder"),
        ([GOOD, {**BAD, "file": ".."}], "allowed: the name of a file in this folder"),
        ([GOOD, {**BAD, "file": ""}], "allowed: the name of a file in this folder"),
        ([GOOD, {**BAD, "file": "a\0b"}], "allowed: the name of a file in this folder"),
        ([GOOD, {**BAD, "file": "gone.png"}], "no such file"),
    ],
)
def test_anchors_of_ones_own_are_checked(tmp_path, entries, said):
    with pytest.raises((TaskError, ImageError), match=said):
        load_anchors(own(tmp_path / "own", entries))
    with pytest.raises(TaskError, match="anchors.json cannot be read"):
        load_anchors(tmp_path / "nowhere")


# ---------------------------------------------------------------------- a reference's ladder


def test_the_ladder_is_made_at_the_size_of_the_judge_and_gets_worse():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:448, 0:600]
    waves = 128 + 60 * np.sin(x / 15)[..., None] + 40 * np.cos(y / 9)[..., None] + rng.normal(0, 6, (448, 600, 3))
    reference = RGBImage(np.uint8(np.clip(waves, 0, 255)), "r")
    ladder = reference_ladder(reference, SizePolicy(224, 672, 70, 14))
    assert len(ladder) == LADDER_SIZE and {a.picture.rgb.shape for a in ladder} == {(224, 300, 3)}
    clean = ladder[0].picture.rgb.astype(float)
    assert ladder[0].position == 100
    for first in range(1, LADDER_SIZE, 3):
        errors = [((a.picture.rgb - clean) ** 2).mean() for a in ladder[first : first + 3]]
        assert 0 < errors[0] < errors[1] < errors[2]
        assert [a.position for a in ladder[first : first + 3]] == list(anchors.RUNGS)
    again = reference_ladder(reference, SizePolicy(224, 672, 70, 14))
    assert [a.picture.key for a in again] == [a.picture.key for a in ladder]


# ---------------------------------------------------------------------- the judge


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = make_tiny_checkpoint(tmp_path_factory.mktemp("anchors") / "c", "clip", tasks=("identification", "rating"))
    return load_judge(folder, "cpu")


def pictures(count):
    rng = np.random.default_rng(1)
    return [RGBImage(rng.integers(0, 256, (60 + 9 * i, 80, 3), dtype=np.uint8), f"p{i}") for i in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("reference", [False, True])
def test_a_judge_without_levels_scores_by_its_comparisons_in_both_orders(judge, reference):
    shown = pictures(3)
    beside = pictures(4)[3] if reference else None
    seen = []
    got = judge.score(shown, beside, progress=lambda done, total: seen.append((done, total)))
    used = reference_ladder(beside, SizePolicy(**judge.model.config.size)) if reference else load_anchors()
    for picture, one in zip(shown, got):
        won = [judge.compare(picture, anchor.picture, beside).probability_a for anchor in used]
        wanted = place(won, [anchor.position for anchor in used])
        assert one.method == "anchors" and one.picture == picture.name
        assert (one.score, one.low, one.high) == pytest.approx((wanted.mean, wanted.low, wanted.high), abs=1e-3)
        assert one.low <= one.score <= one.high and 0 <= one.confidence <= 1
    assert seen[-1] == (2 * len(used) * 3,) * 2 and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_ranking_by_anchored_scores(judge):
    got = judge.rank(pictures(3), method="score")
    scores = {one.picture: one for one in judge.score(pictures(3))}
    assert [p.score for p in got.pictures] == sorted((s.score for s in scores.values()), reverse=True)
    assert all((p.low, p.high) == (scores[p.picture].low, scores[p.picture].high) for p in got.pictures)
    assert judge.rank(pictures(3)).pictures[0].score is None


def test_own_anchors_take_the_place_of_those_that_ship(judge, tmp_path):
    folder = own(tmp_path / "own", [GOOD, BAD])
    mine = make_tiny_checkpoint(tmp_path / "c", "clip", tasks=("identification", "rating"))
    got = load_judge(mine, "cpu", anchors=folder).score(pictures(1))[0]
    used = load_anchors(folder)
    won = [judge.compare(pictures(1)[0], anchor.picture).probability_a for anchor in used]
    assert got.score == pytest.approx(place(won, [90, 10]).mean, abs=1e-3)


@pytest.mark.slow
def test_a_calibration_is_of_the_anchors_that_ship(tmp_path, monkeypatch):
    error = {"method": "anchors", "within": [1, 0, 0, 0], "centre": [0] * 4, "log_scale": [0] * 4, "ends": [-3, 3]}
    known = {"score_error_nr": error, "score_error_fr": error}
    mine = make_tiny_checkpoint(tmp_path / "c", "clip", tasks=("identification", "rating"), calibration=known)
    judge = load_judge(mine, "cpu")
    give_coverage(monkeypatch, judge, 1.0)
    one = judge.score(pictures(1))[0]
    assert one.certainty == CALIBRATED and one.confidence == pytest.approx(1 / (1 + np.exp(-1)))
    assert one.high - one.low <= 6 + 1e-6
    judge = load_judge(mine, "cpu", anchors=own(tmp_path / "own", [GOOD, BAD]))
    give_coverage(monkeypatch, judge, 1.0)
    assert judge.score(pictures(1))[0].certainty == SELF_CONSISTENCY
    assert judge.score(pictures(1), pictures(2)[1])[0].certainty == CALIBRATED  # by copies of the reference


def test_a_judge_with_levels_uses_them(tmp_path):
    judge = load_judge(make_tiny_checkpoint(tmp_path / "c"), "cpu")
    one = judge.score(pictures(1))[0]
    assert one.method == "levels" and judge.anchors is None
    assert one.low <= one.score <= one.high and one.certainty == SELF_CONSISTENCY


def test_copies_of_a_reference_do_not_depend_on_limits_of_the_process(monkeypatch):
    reference = RGBImage(np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8), "reference")
    wanted = [anchor.picture.key for anchor in reference_ladder(reference, SizePolicy())]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert [anchor.picture.key for anchor in reference_ladder(reference, SizePolicy())] == wanted
