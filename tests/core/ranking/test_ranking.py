"""Bradley-Terry strengths against independent computations and closed forms; choosing pairs for simulated judges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import kendalltau

from depictqa_core.ranking.bradley_terry import PRIOR, PRIOR_WEIGHT, bradley_terry, estimate_weight
from depictqa_core.ranking.pair_selection import all_pairs, choose_pairs, default_budget, rank_pairs, top_decided
from depictqa_core.ranking.rank_order import order, ranks, tied, told_apart


def answers_of(strengths, pairs, rng=None, noise=0.0):
    exact = expit([strengths[i] - strengths[j] for i, j in pairs])
    return np.clip(exact + rng.normal(0, noise, len(pairs)), 0, 1) if noise else exact


def random_problem(seed, n=9, m=25):
    rng = np.random.default_rng(seed)
    pairs = [tuple(rng.choice(n, 2, replace=False).tolist()) for _ in range(m)]
    return pairs, rng.random(m), rng.uniform(0.2, 5, m)


def test_all_pairs():
    assert all_pairs(0) == all_pairs(1) == []
    assert all_pairs(3) == [(0, 1), (0, 2), (1, 2)]
    assert len(all_pairs(64)) == 2016


# ---------------------------------------------------------------- the fit


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prior", [1.0, PRIOR])
def test_strengths_and_covariance_equal_scipys(seed, prior):
    n = 9
    pairs, wins, weights = random_problem(seed, n)

    def loss(x):
        total = (np.asarray(x) ** 2).sum() / (2 * prior**2)
        for (i, j), win, weight in zip(pairs, wins, weights, strict=True):
            probability = expit(x[i] - x[j])
            total -= weight * (win * np.log(probability) + (1 - win) * np.log(1 - probability))
        return total

    found = minimize(loss, np.zeros(n), method="BFGS", options={"gtol": 1e-8}).x
    strengths = bradley_terry(n, pairs, wins, weights, prior)
    assert np.allclose(strengths.values, found - found.mean(), atol=2e-5)
    assert abs(strengths.values.sum()) < 1e-12
    step, unit = 1e-3, np.eye(n)
    hessian = [[(loss(found + step * (a + b)) - loss(found + step * (a - b)) - loss(found - step * (a - b))
                 + loss(found - step * (a + b))) / (4 * step**2) for b in unit] for a in unit]  # fmt: skip
    centre = np.eye(n) - 1 / n
    assert np.allclose(strengths.covariance, centre @ np.linalg.inv(hessian) @ centre, atol=1e-3)
    width = 1.96 * np.sqrt(np.diag(strengths.covariance))
    assert np.allclose(strengths.high - strengths.values, width, rtol=1e-4)
    assert np.allclose(strengths.values - strengths.low, width, rtol=1e-4)


@pytest.mark.parametrize("win", [0.0, 0.03, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("weight", [1.0, 20.0])
def test_two_items_in_closed_form(win, weight):
    strengths = bradley_terry(2, [(0, 1)], [win], weight)
    gap = strengths.values[0] - strengths.values[1]
    # where the pull of the answer equals the pull of the prior
    assert weight * (win - expit(gap)) == pytest.approx(gap / (2 * PRIOR**2), abs=1e-9)
    variance = 1 / (weight * expit(gap) * expit(-gap) + 1 / (2 * PRIOR**2))
    cov = strengths.covariance
    assert cov[0, 0] + cov[1, 1] - 2 * cov[0, 1] == pytest.approx(variance, rel=1e-6)

    def loss(d):
        return weight * (np.logaddexp(0, d) - win * d) + d**2 / (4 * PRIOR**2)

    root = math.copysign(math.sqrt(max(0, 2 * (loss(0) - loss(gap)))), gap)
    assert strengths.probability(0, 1) == pytest.approx(0.5 * math.erfc(-root / math.sqrt(2)), abs=1e-7)


def test_without_prior_pull_two_items_give_the_logit():
    strengths = bradley_terry(2, [(0, 1)], [0.8], prior=1e4)
    assert strengths.values[0] - strengths.values[1] == pytest.approx(math.log(4), abs=1e-6)


def test_exact_answers_give_back_the_strengths():
    truth = np.array([2.0, -1.0, 0.5, 0.0, -1.5])
    strengths = bradley_terry(5, all_pairs(5), answers_of(truth, all_pairs(5)), prior=1e3)
    assert np.allclose(strengths.values, truth - truth.mean(), atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(7)), st.integers(0, 1000))
def test_relabelling_and_turning_pairs_change_nothing(new, seed):
    pairs, wins, weights = random_problem(seed, 7, 15)
    before = bradley_terry(7, pairs, wins, weights)
    turned = [(new[j], new[i]) for i, j in pairs][::-1]
    after = bradley_terry(7, turned, 1 - wins[::-1], weights[::-1])
    assert np.allclose(after.values[list(new)], before.values, atol=1e-8)
    assert np.allclose(after.covariance[np.ix_(new, new)], before.covariance, atol=1e-7)
    assert after.probability(new[2], new[5]) == pytest.approx(before.probability(2, 5), abs=1e-5)


def test_weight_is_the_number_of_votes():
    pairs, wins, _ = random_problem(3)
    repeated = bradley_terry(9, pairs * 3, np.tile(wins, 3))
    weighted = bradley_terry(9, pairs, wins, 3)
    assert np.allclose(repeated.values, weighted.values, atol=1e-9)
    assert np.allclose(repeated.covariance, weighted.covariance, atol=1e-9)


@pytest.mark.parametrize("weight", [1.0, 1000.0])
def test_separable_answers_stay_finite_and_in_order(weight):
    strengths = bradley_terry(20, all_pairs(20), np.ones(190), weight)
    assert np.isfinite(strengths.values).all() and np.abs(strengths.values).max() < 60
    assert order(strengths) == list(range(20))
    assert np.isfinite(strengths.covariance).all() and (strengths.deviations > 0).all()
    assert strengths.probability(0, 19) > 0.999


def test_separate_groups_are_told_apart_by_the_prior_only():
    strengths = bradley_terry(5, [(0, 1), (2, 3)], [0.9, 0.9], 50)
    assert strengths.values[0] == pytest.approx(strengths.values[2])
    assert strengths.values[4] == pytest.approx(0, abs=1e-9)
    assert strengths.probability(0, 1) > 0.999 and not tied(strengths, 0, 1)
    assert 0.4 < strengths.probability(0, 3) < 0.8 and tied(strengths, 0, 3) and tied(strengths, 0, 4)
    assert strengths.deviations[4] > 3


def test_no_one_and_two_items():
    nothing = bradley_terry(0, [], [])
    assert nothing.values.shape == (0,) and nothing.covariance.shape == (0, 0) and order(nothing) == []
    one = bradley_terry(1, [], [])
    assert one.values.tolist() == [0] and one.low.tolist() == [0] and order(one) == [0]
    two = bradley_terry(2, [], [])
    assert order(two) == [0, 1] and two.probability(0, 1) == 0.5 and tied(two, 0, 1)
    for n in (0, 1):
        outcome = rank_pairs(n, lambda pairs: pytest.fail("nothing to ask"))
        assert len(outcome.strengths.values) == n and outcome.pairs == outcome.wins == []
        assert choose_pairs(n, [], None, 3) == []
    assert order(rank_pairs(2, lambda pairs: [0.2]).strengths) == [1, 0]


@pytest.mark.parametrize(
    ("pairs", "wins", "options"),
    [
        ([(0, 3)], [0.5], {}),
        ([(-1, 0)], [0.5], {}),
        ([(1, 1)], [0.5], {}),
        ([(0, 1)], [1.1], {}),
        ([(0, 1)], [math.nan], {}),
        ([(0, 1)], [], {}),
        ([(0, 1)], [0.5], {"weight": -1}),
        ([(0, 1)], [0.5], {"weight": math.inf}),
        ([(0, 1)], [0.5], {"prior": 0}),
    ],
)
def test_wrong_input_is_refused(pairs, wins, options):
    with pytest.raises(ValueError):
        bradley_terry(3, pairs, wins, **options)


def test_probability_is_antisymmetric_and_follows_the_order():
    pairs, wins, weights = random_problem(8)
    strengths = bradley_terry(9, pairs, wins, weights)
    for i, j in all_pairs(9):
        assert strengths.probability(i, j) + strengths.probability(j, i) == pytest.approx(1, abs=1e-7)
        assert (strengths.probability(i, j) > 0.5) == (strengths.values[i] > strengths.values[j])
    assert strengths.probability(4, 4) == 0.5


def test_probability_equals_the_posterior_by_sampling():
    strengths = bradley_terry(3, [(0, 1), (1, 2), (0, 2)], [0.9, 0.6, 1.0], 3.0)
    sample = np.random.default_rng(0).normal(0, PRIOR, (400_000, 3))
    d01, d12, d02 = (sample[:, a] - sample[:, b] for a, b in ((0, 1), (1, 2), (0, 2)))
    log = 3 * (0.9 * d01 - np.logaddexp(0, d01) + 0.6 * d12 - np.logaddexp(0, d12) + d02 - np.logaddexp(0, d02))
    weight = np.exp(log - log.max())
    for (i, j), d in (((0, 1), d01), ((1, 2), d12), ((0, 2), d02)):
        assert strengths.probability(i, j) == pytest.approx((weight * (d > 0)).sum() / weight.sum(), abs=0.025)


def test_equal_strengths_stay_in_the_order_of_the_input():
    ring = [(i, (i + 1) % 6) for i in range(6)]
    strengths = bradley_terry(6, ring, np.full(6, 0.7))
    assert order(strengths) == list(range(6))
    assert tied(strengths, 0, 3)


def test_tied_depends_on_the_level():
    strengths = bradley_terry(2, [(0, 1)], [0.9], 4)
    assert 0.9 < strengths.probability(0, 1) < 0.975
    assert tied(strengths, 0, 1) and tied(strengths, 1, 0) and not tied(strengths, 0, 1, level=0.8)


def test_equal_strengths_stand_in_the_order_of_their_scores():
    strengths = bradley_terry(5, [(3, 1)], [0.9])
    assert order(strengths) == [3, 0, 2, 4, 1]
    assert order(strengths, [50.0, 99.0, 70.0, 10.0, 70.0]) == [3, 2, 4, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_told_apart_is_what_is_not_tied(seed, share):
    rng = np.random.default_rng(seed)
    truth, pairs = rng.normal(0, 2, 12), [pair for pair in all_pairs(12) if rng.random() < share]
    strengths = bradley_terry(12, pairs, answers_of(truth, pairs, rng, noise=0.2), 6.0)
    apart = told_apart(strengths)
    exact = np.array([[i != j and not tied(strengths, i, j) for j in range(12)] for i in range(12)])
    assert (apart == apart.T).all() and (apart != exact).sum() <= 2 and 0 < exact.sum() < 132


def test_told_apart_is_as_sure_as_the_answers():
    """Beyond what the curvature says: it is flat for answers near 1."""
    sure, unsure = (told_apart(bradley_terry(2, [(0, 1)], [answer], PRIOR_WEIGHT)) for answer in (0.99, 0.9))
    assert sure[0, 1] and not unsure.any() and not told_apart(bradley_terry(3, [], [])).any()


def test_a_rank_is_one_more_than_how_many_are_surely_better():
    points = [90.0, 89.5, 60.0, 59.2, 58.4, 10.0]
    assert ranks(range(6), lambda i, j: abs(points[i] - points[j]) < 1) == [1, 1, 3, 3, 4, 6]
    steps = [float(number) for number in range(30)]  # no chain of small steps makes all of them one
    assert ranks(range(30), lambda i, j: abs(steps[i] - steps[j]) < 3)[-1] == 28
    assert ranks([], None) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_ranks_never_fall_and_who_shares_one_is_not_told_apart(n, seed):
    certain = np.random.default_rng(seed).random((n, n)) < 0.4
    found = ranks(range(n), lambda i, j: not certain[i, j])
    assert found == sorted(found) and all(rank <= place for place, rank in enumerate(found, start=1))
    assert not any(certain[i, j] for i, j in all_pairs(n) if found[i] == found[j])


def test_who_never_met_is_not_ranked_far_apart():
    """Two of eight pairs: nobody may stand last for being tied with all but the first."""
    strengths = rank_pairs(8, lambda pairs: [0.99] * len(pairs), budget=2).strengths
    places, apart = order(strengths), told_apart(strengths)
    found = ranks(places, lambda i, j: not apart[i, j])
    assert max(found) <= 1 + 2  # no more than the two that won can be surely better


def test_intervals_cover_the_truth_for_votes():
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = rng.normal(0, 1, 12)
        votes = rng.binomial(4, answers_of(truth, all_pairs(12))) / 4
        strengths = bradley_terry(12, all_pairs(12), votes, 4)
        inside.append((strengths.low <= truth - truth.mean()) & (truth - truth.mean() <= strengths.high))
    assert 0.9 <= np.mean(inside) <= 0.99


# ---------------------------------------------------------------- the worth of an answer


def test_a_lone_answer_keeps_about_its_meaning():
    for answer in (0.5, 0.7, 0.9, 0.99):
        strengths = rank_pairs(2, lambda pairs, answer=answer: [answer]).strengths
        assert strengths.weight == pytest.approx(PRIOR_WEIGHT, rel=0.1)
        assert strengths.probability(0, 1) == pytest.approx(answer, abs=0.1)


def test_weight_is_estimated_from_how_well_answers_agree():
    rng = np.random.default_rng(0)
    pairs, truth = all_pairs(16), rng.normal(0, 1, 16)
    exact = answers_of(truth, pairs)
    votes = estimate_weight(16, pairs, rng.binomial(1, exact).astype(float))
    tens = estimate_weight(16, pairs, rng.binomial(10, exact) / 10)
    assert 0.7 < votes < 1.4 and 7 < tens < 14
    assert estimate_weight(16, pairs, exact) > 100
    assert estimate_weight(4, [], []) == PRIOR_WEIGHT


# ---------------------------------------------------------------- the choice of pairs


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(0, 70), st.integers(0, 100))
def test_chosen_pairs_are_new_distinct_and_repeatable(n, batch, seed):
    rng = np.random.default_rng(seed)
    everything = all_pairs(n)
    asked = [pair if rng.random() < 0.5 else pair[::-1] for pair in everything if rng.random() < 0.4]
    strengths = bradley_terry(n, asked, rng.random(len(asked)))
    chosen = choose_pairs(n, asked, strengths, batch)
    assert chosen == choose_pairs(n, asked, strengths, batch)
    assert len(chosen) == len(set(chosen)) == min(batch, len(everything) - len(asked))
    assert set(chosen) <= set(everything) - {tuple(sorted(pair)) for pair in asked}


def test_the_first_batch_is_a_round_of_a_tournament_with_ties_by_index():
    assert choose_pairs(6, [], None, 3) == [(0, 1), (2, 3), (4, 5)]


def test_doubtful_neighbours_are_asked_before_clear_cases():
    truth = np.array([6.0, 5.9, 0.0, -0.1, -6.0, -6.1])
    asked = [(0, 2), (0, 4), (1, 3), (1, 5), (2, 5), (3, 4), (0, 3), (1, 2), (2, 4), (3, 5)]
    strengths = bradley_terry(6, asked, answers_of(truth, asked), 10)
    assert set(choose_pairs(6, asked, strengths, 3)) == {(0, 1), (2, 3), (4, 5)}


@pytest.mark.parametrize("n", [3, 12, 13, 30, 64, 200])
def test_default_budget(n):
    full = n * (n - 1) // 2
    assert default_budget(n) == full if n <= 12 else default_budget(n) < full
    if n == 64:
        assert default_budget(n) <= 0.25 * full


def test_the_loop_asks_all_pairs_of_few_items_and_reports_progress():
    calls, seen = [], []

    def ask(pairs):
        calls.append(list(pairs))
        return [0.6] * len(pairs)

    all_of_them = rank_pairs(12, ask, batch=20, progress=lambda done, total: seen.append((done, total)))
    assert all_of_them.pairs == all_pairs(12) == [pair for call in calls for pair in call]
    assert all_of_them.wins == [0.6] * 66 and all_of_them.stopped == "all pairs"
    assert seen == [(20, 66), (40, 66), (60, 66), (66, 66)]
    assert len(rank_pairs(5, ask, budget=7).pairs) == 7
    assert len(rank_pairs(5, ask, budget=700).pairs) == 10
    assert rank_pairs(5, ask, budget=0).pairs == []


def test_the_loop_never_repeats_a_pair_and_stops_at_its_budget():
    outcome = rank_pairs(20, lambda pairs: answers_of(np.arange(20) / 3, pairs), budget=150, batch=7)
    assert len(outcome.pairs) == len(set(outcome.pairs)) == 150 and outcome.stopped == "budget"


def test_what_the_callbacks_raise_passes_through_and_wrong_answers_are_refused():
    def cancel(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank_pairs(4, lambda pairs: [0.5] * len(pairs), progress=cancel)
    with pytest.raises(KeyboardInterrupt):
        rank_pairs(4, cancel)
    with pytest.raises(ValueError, match="answers were returned"):
        rank_pairs(4, lambda pairs: [0.5])
    with pytest.raises(ValueError):
        rank_pairs(4, lambda pairs: [2.0] * len(pairs))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spread", [1.0, 1.5, 3.0])
def test_a_quarter_of_the_pairs_gives_nearly_the_order_of_the_full_round_robin(seed, spread):
    n, rng = 64, np.random.default_rng(seed)
    truth, pairs = rng.normal(0, spread, n), all_pairs(64)
    judge = dict(zip(pairs, answers_of(truth, pairs, rng, noise=0.05), strict=True))
    full = bradley_terry(n, pairs, list(judge.values()))
    outcome = rank_pairs(n, lambda chosen: [judge[pair] for pair in chosen])
    strengths, asked = outcome.strengths, outcome.pairs
    assert len(asked) <= 0.25 * len(pairs)
    assert kendalltau(strengths.values, full.values)[0] >= 0.95
    assert 0.6 < np.mean((strengths.low <= truth - truth.mean()) & (truth - truth.mean() <= strengths.high))


# ---------------------------------------------------------------- only the best few


def judge_of(truth, rng, noise):
    pairs = all_pairs(len(truth))
    return dict(zip(pairs, answers_of(truth, pairs, rng, noise=noise), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "top"), [(16, 1), (16, 3), (64, 1), (64, 3)])
def test_a_decided_top_saves_pairs_and_is_the_right_one(n, top):
    asked, stopped, right = [], [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = rng.normal(0, 2, n)
        judge = judge_of(truth, rng, 0.05)
        outcome = rank_pairs(n, lambda chosen, judge=judge: [judge[pair] for pair in chosen], top=top)
        asked.append(len(outcome.pairs))
        stopped.append(outcome.stopped == "top-k decided")
        assert stopped[-1] or (len(outcome.pairs), outcome.stopped) == (default_budget(n), "budget")
        right.append(set(order(outcome.strengths)[:top]) == set(np.argsort(-truth)[:top].tolist()))
    right, stopped = np.array(right), np.array(stopped)
    assert stopped.sum() >= 7 and right[stopped].mean() >= 0.95
    assert np.mean(asked) < 0.6 * default_budget(n)


def test_more_confidence_needs_more_pairs():
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 2, 24)
    judge = judge_of(truth, rng, 0.05)
    asked = [
        len(rank_pairs(24, lambda chosen: [judge[p] for p in chosen], top=2, confidence=c, batch=2).pairs)
        for c in (0.6, 0.9, 0.999)
    ]
    assert asked[0] < asked[1] < asked[2]


def test_a_top_of_all_items_is_the_whole_order():
    whole = rank_pairs(6, lambda pairs: [0.6] * len(pairs))
    for top in (6, 7):
        outcome = rank_pairs(6, lambda pairs: [0.6] * len(pairs), top=top)
        assert (outcome.pairs, outcome.stopped) == (whole.pairs, "all pairs")
    with pytest.raises(ValueError, match="top must be at least 1"):
        rank_pairs(6, lambda pairs: [0.6] * len(pairs), top=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_doubt_about_the_top_equals_its_posterior_by_sampling(seed):
    """The union bound never claims more than the posterior does, and not much less."""
    rng = np.random.default_rng(seed)
    truth, pairs = rng.normal(0, 1.5, 5), all_pairs(5)
    strengths = bradley_terry(5, pairs, answers_of(truth, pairs), 6.0)
    sample = rng.normal(0, PRIOR, (400_000, 5))
    first, second, wins, weights, _ = strengths.answers
    gaps = sample[:, first] - sample[:, second]
    log = (weights * (wins * gaps - np.logaddexp(0, gaps))).sum(1)
    weight = np.exp(log - log.max())
    best = order(strengths)[:2]
    inside = sample[:, best].min(1) > np.delete(sample, best, 1).max(1)
    sure = float((weight * inside).sum() / weight.sum())
    decided = [c for c in np.linspace(0.5, 0.999, 200) if top_decided(strengths, 2, c)]
    claimed = max(decided, default=0.5)
    assert claimed <= sure + 0.03 and (sure < 0.75 or claimed > sure - 0.15)


def test_pairs_that_cannot_change_the_top_are_not_asked():
    truth = np.array([8.0, 0.1, 0.0, -0.1, -8.0, -8.1])
    asked = all_pairs(6)[:5] + [(1, 4), (2, 5), (4, 5)]
    strengths = bradley_terry(6, asked, answers_of(truth, asked), 10)
    assert set(choose_pairs(6, asked, strengths, 3, top=2)) <= {(1, 2), (1, 3), (2, 3)}
