"""Agreement against published worked examples, SciPy, and what is known by construction."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from depictqa_core.study import statistics
from depictqa_core.study.statistics import Draws, Estimate, Votes, krippendorff_alpha, resample


def counted(*coders):
    """Units by categories, from one line per coder; * is missing."""
    rows = [[None if word == "*" else int(word) for word in line.split()] for line in coders]
    counts = np.zeros((len(rows[0]), 6))
    for row in rows:
        for unit, value in enumerate(row):
            if value is not None:
                counts[unit, value] += 1
    return counts


FOUR = counted(  # Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, section C
    "1 2 3 3 2 1 4 1 2 * * *",
    "1 2 3 3 2 2 4 1 2 5 * 3",
    "* 3 3 3 2 3 4 2 2 5 1 *",
    "1 2 3 3 2 4 4 1 2 5 1 *",
)
THREE = counted(  # Wikipedia, Krippendorff's alpha, a computational example
    "* * * * * 3 4 1 2 1 1 3 3 * 3",
    "1 * 2 1 3 3 4 3 * * * * * * *",
    "* * 2 1 3 4 4 * 2 1 1 3 3 * 4",
)
SCALE = (np.arange(6.0)[:, None] - np.arange(6.0)) ** 2


@pytest.mark.parametrize(
    ("counts", "differences", "published"),
    [(FOUR, None, 0.743), (FOUR, SCALE, 0.849), (THREE, None, 0.691), (THREE, SCALE, 0.811)],
)
def test_alpha_of_published_examples(counts, differences, published):
    assert krippendorff_alpha(counts, differences) == pytest.approx(published, abs=5e-4)


def test_alpha_where_nothing_can_be_said():
    assert krippendorff_alpha(np.eye(3)) is None
    assert krippendorff_alpha(np.full((4, 1), 2.0)) is None
    assert krippendorff_alpha(np.diag([2.0, 2, 2])) == 1


def votes_of(table):
    """Votes from a table of 1, 0.5, 0 and NaN (no vote)."""
    table = np.array(table, float)
    return Votes(np.nan_to_num(table), np.isfinite(table).astype(float))


def random_votes(people, pairs, seed=0, noise=1.0):
    """Votes of people who agree up to noise, and what the pairs are like."""
    chance = np.random.default_rng(seed)
    margin = chance.normal(0, 1.5, pairs)
    return votes_of((margin + chance.logistic(0, noise, (people, pairs)) > 0).astype(float)), margin


def test_agreement_by_hand():
    found = statistics.agreement(
        votes_of([[1, 1, 0.5, np.nan], [1, 0, 0.5, 1], [0, np.nan, np.nan, 1]]), resample(3, 4)
    )
    assert found["pairwise"].value == pytest.approx((2 + 0 + 2 + 2) / (6 + 2 + 2 + 2))
    ties = 2 / 9
    assert found["by_chance"].value == pytest.approx(ties**2 + 2 * ((1 - ties) / 2) ** 2)
    assert found["pairwise"].low <= found["pairwise"].value <= found["pairwise"].high


def test_alpha_does_not_depend_on_which_image_of_a_pair_is_first():
    votes, _ = random_votes(5, 40)
    turned = Votes(np.where(np.arange(40) % 3 == 0, votes.counts - votes.shares, votes.shares), votes.counts)
    draws = resample(5, 40, 100)
    assert statistics.agreement(votes, draws)["alpha"] == statistics.agreement(turned, draws)["alpha"]


def test_one_against_the_others_by_hand():
    votes = votes_of([[1, 1, 0, 0.5], [1, 1, 0, 1], [1, 0, 1, 1]])
    decided, right = 0, 0
    for person in range(3):
        for pair in range(4):
            others = np.delete(votes.shares[:, pair], person).mean() - 0.5
            own = votes.shares[person, pair] - 0.5
            if others and own:
                decided, right = decided + 1, right + (others * own > 0)
    found = statistics.one_against_the_others(votes, resample(3, 4))
    assert found.value == pytest.approx(right / decided)


def test_a_judge_by_hand():
    votes = votes_of([[1, 1, 0, 0.5], [1, 0, 0, 0.5], [0, np.nan, 0.5, np.nan]])
    p = np.array([0.9, 0.2, 0.5, 0.7])
    found = statistics.judged(votes, p, resample(3, 4))
    assert found["accuracy"].value == pytest.approx((1 + 0.5) / 2)  # the second and the fourth have no majority
    losses = [2 * np.log(0.9) + np.log(0.1), np.log(0.2) + np.log(0.8), 3 * np.log(0.5), np.log(0.7) + np.log(0.3)]
    assert found["log_loss"].value == pytest.approx(-sum(losses) / 10)
    without = statistics.judged(votes, np.array([0.9, np.nan, np.nan, np.nan]), resample(3, 4), with_log_loss=False)
    assert [*without] == ["accuracy"] and without["accuracy"].value == 1
    certain = statistics.judged(votes_of([[0.0]]), np.array([1.0]), resample(1, 1))
    assert certain["log_loss"].value == pytest.approx(-np.log(0.001))


@pytest.mark.slow
def test_intervals_cover_what_they_should():
    """Fresh people and pairs from one population: the interval of the log-loss holds its mean in about 95 %."""
    losses, covered = [], []
    for seed in range(150):
        votes, margin = random_votes(8, 60, seed)
        found = statistics.judged(votes, 1 / (1 + np.exp(-margin)), resample(8, 60, 300, seed))
        losses.append(found["log_loss"])
    truth = np.mean([one.value for one in losses])
    covered = np.mean([one.low <= truth <= one.high for one in losses])
    assert 0.88 <= covered <= 1.0


@pytest.mark.parametrize("seed", range(4))
def test_spearman_is_that_of_scipy(seed):
    chance = np.random.default_rng(seed)
    a, b = chance.integers(0, 6, 20), chance.normal(size=20)
    assert statistics.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert statistics.spearman(np.ones(4), np.arange(4)) is None and statistics.spearman(a[:2], b[:2]) is None


@pytest.mark.slow
def test_rank_correlation_of_judges_who_are_right_and_wrong():
    n = 8
    pairs = np.array([(i, j) for i in range(n) for j in range(i + 1, n)])
    votes = votes_of(np.tile((pairs[:, 0] > pairs[:, 1]).astype(float), (3, 1)))  # the last image is the best
    right = np.where(pairs[:, 0] > pairs[:, 1], 0.8, 0.2)
    judges = [(right, None), (1 - right, None), (right, -np.arange(n, dtype=float)), (np.full(28, np.nan), None)]
    draws = resample(3, len(pairs), 100)
    good, bad, valued, unknown = statistics.rank_correlations(votes, pairs, [np.arange(n)], judges, draws)
    assert (good.value, bad.value, valued.value, unknown.value) == (
        pytest.approx(1),
        pytest.approx(-1),
        pytest.approx(-1),
        None,
    )
    assert 0.6 < good.low < 1 and good.high == pytest.approx(1)
    assert statistics.rank_correlations(votes, pairs, [np.arange(2)], judges[:1], draws) == [Estimate(None)]


def test_pairs_of_groups_without_an_order_leave_rank_correlations_as_they_are():
    """Images 0 to 2 are a group; 3 and 4 are a group of two with higher indexes."""
    pairs, wins = np.array([(0, 1), (0, 2), (1, 2), (3, 4)]), np.array([1.0, 1, 1, 0])
    groups, draws = [np.arange(3), np.array([3, 4])], resample(1, 4, 100)
    some = Draws(draws.people, draws.pairs[:, :3])
    found = statistics.rank_correlations(votes_of(wins[None]), pairs, groups, [(wins * 0.6 + 0.2, None)], draws)
    alone = statistics.rank_correlations(
        votes_of(wins[None, :3]), pairs[:3], groups[:1], [(wins[:3] * 0.6 + 0.2, None)], some
    )
    assert found == alone and found[0].value == pytest.approx(1)


def test_one_person_is_not_resampled():
    draws = resample(1, 5, 20)
    assert (draws.people == 1).all() and (draws.pairs.sum(1) == 5).all()
    votes, margin = random_votes(1, 30)
    assert statistics.judged(votes, margin > 0, resample(1, 30))["accuracy"].low is not None
