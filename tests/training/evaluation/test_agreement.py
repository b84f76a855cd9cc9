"""Agreement of scores with opinions, and its bootstrap intervals, against SciPy and counting by hand."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import bootstrap, kendalltau, somersd, spearmanr

from training.evaluation.bootstrap import group_numbers, intervals
from training.evaluation.correlation import fit_quality, logistic, logistic_parameters, rank_agreement


def sample(seed=0, count=60, ties=True):
    rng = np.random.default_rng(seed)
    opinions = rng.uniform(1, 5, count)
    scores = 100 / (1 + np.exp(-(opinions - 3))) + rng.normal(0, 8, count)
    return (scores.round(-1), opinions.round(1)) if ties else (scores, opinions)


@pytest.mark.parametrize("seed", range(3))
def test_pair_accuracy_and_krcc_equal_counting(seed):
    scores, opinions = sample(seed)
    right = left = equal_scores = equal_opinions = decided = 0.0
    for i, j in combinations(range(len(scores)), 2):
        lead, true = np.sign(scores[i] - scores[j]), np.sign(opinions[i] - opinions[j])
        right, left = right + (lead * true > 0), left + (lead * true < 0)
        equal_scores, equal_opinions = equal_scores + (lead == 0), equal_opinions + (true == 0)
        decided += true != 0
    found, pairs = rank_agreement(scores, opinions), len(scores) * (len(scores) - 1) / 2
    assert equal_scores and equal_opinions  # the sample has ties on both sides
    assert found["pair_accuracy"] == pytest.approx((right + (decided - right - left) / 2) / decided, abs=1e-12)
    assert found["pair_accuracy"] == pytest.approx((1 + somersd(opinions, scores).statistic) / 2, abs=1e-12)
    tau_b = (right - left) / np.sqrt((pairs - equal_scores) * (pairs - equal_opinions))
    assert found["krcc"] == pytest.approx(tau_b, abs=1e-12)
    assert found["srcc"] == pytest.approx(spearmanr(scores, opinions).statistic, abs=1e-12)


def test_krcc_of_the_example_in_scipys_documents():
    found = rank_agreement(np.array([12.0, 2, 1, 12, 2]), np.array([1.0, 4, 7, 1, 0]))
    assert found["krcc"] == pytest.approx(-0.47140452079103173, abs=1e-12)
    assert found["krcc"] == pytest.approx(kendalltau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]).statistic)


def test_the_logistic_is_recovered_from_its_own_values():
    scores, true = np.linspace(0, 100, 40), (4.6, 1.3, 55.0, 9.0)
    opinions = logistic(scores, *true)
    assert logistic_parameters(scores, opinions) == pytest.approx(true, abs=1e-4)
    assert fit_quality(scores, opinions) == pytest.approx({"plcc": 1.0, "rmse": 0.0}, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_plcc_and_rmse_equal_another_optimiser(seed):
    scores, opinions = sample(seed, ties=False)

    def loss(p):
        return np.sum((logistic(scores, *p) - opinions) ** 2)

    start = [opinions.max(), opinions.min(), scores.mean(), scores.std()]
    best = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 20_000, "xatol": 1e-10, "fatol": 1e-12})
    fitted, found = logistic(scores, *best.x), fit_quality(scores, opinions)
    assert found["rmse"] == pytest.approx(np.sqrt(best.fun / len(scores)), abs=1e-6)
    assert found["plcc"] == pytest.approx(np.corrcoef(fitted, opinions)[0, 1], abs=1e-6)


def test_nothing_is_computed_from_constants():
    flat, rising = np.ones(5), np.arange(5.0)
    assert rank_agreement(flat, rising) == rank_agreement(rising, flat) == fit_quality(rising, flat) == {}


@pytest.mark.slow
def test_intervals_equal_scipys_bootstrap():
    scores, opinions = sample(4, 80, ties=False)

    def statistic(rows, drawn):
        return {"srcc": spearmanr(scores[rows], opinions[rows]).statistic}

    ours = intervals(statistic, np.arange(80), 1000)["srcc"]
    theirs = bootstrap(
        (scores, opinions),
        lambda a, b: spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.02)  # both are samples of 1000


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    hits = np.arange(400) % 4 > 0
    low, high = intervals(lambda rows, drawn: {"accuracy": hits[rows].mean()}, np.arange(400), 1000)["accuracy"]
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.01)


def test_answers_of_one_group_are_resampled_together():
    """Five copies of an answer carry no more information than one; a bootstrap of single answers would be narrower."""
    values = np.random.default_rng(0).normal(size=40)
    copied, groups = np.repeat(values, 5), group_numbers([f"r{i}" for i in range(40) for _ in range(5)])

    def mean_of(data):
        return lambda rows, drawn: {"mean": data[rows].mean()}

    once = intervals(mean_of(values), np.arange(40), 300)
    assert intervals(mean_of(copied), groups, 300)["mean"] == pytest.approx(once["mean"])
    alone = intervals(mean_of(copied), np.arange(200), 300)["mean"]
    assert np.ptp(alone) < 0.6 * np.ptp(once["mean"])


def test_undefined_values_have_no_interval():
    assert intervals(lambda rows, drawn: {"a": None, "b": np.nan, "c": 1.0}, np.arange(10), 50) == {"c": [1.0, 1.0]}
    assert intervals(lambda rows, drawn: {"c": 1.0}, np.arange(90) % 9, 50) == {}  # too few groups
    assert intervals(lambda rows, drawn: {"c": 1.0}, np.arange(10), 0) == {}
