"""Agreement of people with each other and with judges: pure functions of votes.

Arrays of votes have one row per person and one column per pair; ``shares`` holds 1 where the first image of the pair
was chosen, 0.5 for a tie and 0 for the second, ``counts`` 1 where there is a vote and 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ranking.bradley_terry import bradley_terry

DRAWS = 1000
LEAST_PROBABILITY = 0.001
"""Probabilities of a judge are cut to 0.001 to 0.999 for the log-loss: one vote cannot make it infinite."""
BRADLEY_TERRY_BUDGET = 3e8
"""Cubed number of images times draws, above which strengths get fewer draws; below ``FEWEST_DRAWS`` no interval."""
FEWEST_DRAWS = 100


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; None where it cannot be computed."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_list(self) -> list[float | None]:
        """Return value, low and high, rounded."""
        return [None if one is None else round(one, 4) for one in (self.value, self.low, self.high)]


@dataclass(frozen=True, eq=False)
class Votes:
    """The votes of a study.

    Attributes:
        shares, counts: float64 [people, pairs], see the module; a share is 0 where there is no vote.
    """

    shares: np.ndarray
    counts: np.ndarray

    @property
    def people(self) -> int:
        """Number of people."""
        return len(self.counts)


@dataclass(frozen=True, eq=False)
class Draws:
    """Weights of people and pairs in each bootstrap resample, [draws, people] and [draws, pairs].

    People and pairs are drawn independently of each other (Owen, The pigeonhole bootstrap, 2007). A single person is
    not resampled: the intervals are then over pairs alone.
    """

    # not training.evaluation.bootstrap: that has one level of groups, and this package may not import training

    people: np.ndarray
    pairs: np.ndarray


def resample(people: int, pairs: int, draws: int = DRAWS, seed: int = 0) -> Draws:
    """Draw the weights of bootstrap resamples; the same for the same arguments."""
    chance = np.random.default_rng(seed)

    def weights(n: int) -> np.ndarray:
        return chance.multinomial(n, np.full(n, 1 / n), draws).astype(np.float64) if n else np.zeros((draws, 0))

    return Draws(weights(people) if people > 1 else np.ones((draws, people)), weights(pairs))


def estimate(value: float | None, resampled: np.ndarray) -> Estimate:
    """Put a value and the central 95 % of its finite resamples together."""
    found = resampled[np.isfinite(resampled)]
    if value is None or not np.isfinite(value):
        return Estimate(None)
    if len(found) < FEWEST_DRAWS:
        return Estimate(float(value))
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def krippendorff_alpha(counts: np.ndarray, differences: np.ndarray | None = None) -> float | None:
    """Compute Krippendorff's alpha.

    Args:
        counts: [units, categories], how many people put each unit into each category; people may be missing anywhere.
        differences: [categories, categories], squared differences of categories; None for nominal ones.

    Returns:
        1 for perfect agreement, 0 for that of chance; None if no unit has two values, or all values are equal.

    Source: K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
    """
    counts = np.asarray(counts, np.float64)
    counts = counts[counts.sum(1) >= 2]
    if not len(counts):
        return None
    apart = 1 - np.eye(counts.shape[1]) if differences is None else np.asarray(differences, np.float64)
    sizes = counts.sum(1)
    observed = (np.einsum("uc,ud,cd->u", counts, counts, apart) / (sizes - 1)).sum()
    totals = counts.sum(0)
    expected = totals @ apart @ totals / (totals.sum() - 1)
    return float(1 - observed / expected) if expected > 0 else None


def categories(votes: Votes) -> np.ndarray:
    """Count the votes for the first image, for a tie and for the second of each pair: [pairs, 3]."""
    given = votes.counts > 0
    share = np.divide(votes.shares, votes.counts, out=np.full(votes.shares.shape, 0.5), where=given)
    return np.stack([(given & kind).sum(0) for kind in (share > 0.5, share == 0.5, share < 0.5)], axis=1).astype(
        np.float64
    )


def agreement(votes: Votes, draws: Draws) -> dict[str, Estimate]:
    """Compute how far people agree with each other; ties are an answer of their own.

    Returns:
        ``pairwise``: share of equal answers among two people about one pair. ``by_chance``: the same for people with
        these shares of ties who answer at random. ``alpha``: Krippendorff's, nominal. Which image of a pair is called
        the first has no meaning, so each pair counts in both directions. Intervals are over pairs: a resampled person
        would agree with itself.
    """
    counts = categories(votes)
    both = np.concatenate([counts, counts[:, ::-1]])

    def pairwise(weights: np.ndarray) -> np.ndarray:
        sizes = counts.sum(1)
        same, all_of_them = (counts * (counts - 1)).sum(1), sizes * (sizes - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ same) / (weights @ all_of_them)

    def alpha(weights: np.ndarray) -> float:
        found = krippendorff_alpha(np.repeat(both, np.tile(weights.astype(int), 2), axis=0))
        return float("nan") if found is None else found

    whole = np.ones((1, len(counts)))
    shares = counts[counts.sum(1) >= 2].sum(0)
    ties = shares[1] / shares.sum() if shares.sum() else 0.0
    return {
        "pairwise": estimate(float(pairwise(whole)[0]), pairwise(draws.pairs)),
        "by_chance": Estimate(float(ties**2 + (1 - ties) ** 2 / 2) if shares.sum() else None),
        "alpha": estimate(krippendorff_alpha(both), np.array([alpha(one) for one in draws.pairs])),
    }


def share(wins: np.ndarray, counts: np.ndarray, draws: Draws) -> Estimate:
    """Estimate ``wins.sum() / counts.sum()`` of two arrays [people, pairs]."""
    total = counts.sum()

    def resampled(values: np.ndarray) -> np.ndarray:
        return ((draws.people @ values) * draws.pairs).sum(1)

    with np.errstate(invalid="ignore", divide="ignore"):
        return estimate(float(wins.sum() / total) if total else None, resampled(wins) / resampled(counts))


def one_against_the_others(votes: Votes, draws: Draws) -> Estimate:
    """Estimate how often one person chooses the image that the majority of the others prefers: what a judge can reach.

    Ties of the person and of the others are left out.
    """
    others = votes.shares.sum(0) - votes.shares
    number = votes.counts.sum(0) - votes.counts
    lean = np.where(number > 0, others - number / 2, 0)
    own = np.where(votes.counts > 0, votes.shares - votes.counts / 2, 0)
    decided = ((lean != 0) & (own != 0)).astype(np.float64)
    return share(decided * (np.sign(lean) == np.sign(own)), decided, draws)


def judged(votes: Votes, probabilities: np.ndarray, draws: Draws, with_log_loss: bool = True) -> dict[str, Estimate]:
    """Compare a judge with people.

    Args:
        probabilities: [pairs], the judge's probability that the first image is better; NaN where it has none.
        with_log_loss: False for preferences (0, 0.5, 1) in place of probabilities.

    Returns:
        ``accuracy``: share of the pairs with a majority in which the judge prefers the same image; a tie of the judge
        counts half. ``log_loss``: mean of all votes, natural logarithm, a tie as half a vote for each; ln 2 = 0.693 is
        that of a coin.
    """
    p = np.asarray(probabilities, np.float64)
    known = np.isfinite(p)
    p = np.where(known, p, 0.5)

    def accuracy(wins: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
        lean = np.sign(np.round(wins - counts / 2, 9))
        decided = weights * known * (lean != 0)
        right = np.where(p == 0.5, 0.5, np.sign(p - 0.5) == lean)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (decided * right).sum(-1) / decided.sum(-1)

    cut = np.clip(p, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)

    def log_loss(wins: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
        losses = -(wins * np.log(cut) + (counts - wins) * np.log(1 - cut)) * known
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights * losses).sum(-1) / (weights * counts * known).sum(-1)

    whole = votes.shares.sum(0), votes.counts.sum(0), np.ones(len(p))
    drawn = draws.people @ votes.shares, draws.people @ votes.counts, draws.pairs
    found = {"accuracy": estimate(float(accuracy(*whole)), accuracy(*drawn))}
    if with_log_loss:
        found["log_loss"] = estimate(float(log_loss(*whole)), log_loss(*drawn))
    return found


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Compute Spearman's rank correlation, with mean ranks for ties; None with fewer than three values, or of a
    constant."""
    if len(a) < 3:
        return None
    ranks = [_ranks(np.asarray(one, np.float64)) for one in (a, b)]
    one, other = (rank - rank.mean() for rank in ranks)
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other / size) if size > 0 else None


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[places.reshape(-1)]


def strengths(
    groups: Sequence[np.ndarray],
    pairs: np.ndarray,
    wins: np.ndarray,
    counts: np.ndarray,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Fit Bradley-Terry strengths in each group of images.

    Args:
        groups: indexes of the images of each group.
        pairs: [pairs, 2] images; pairs of images of no group are left out.
        wins, counts: [pairs], votes for the first image (ties count half), and all votes; pairs without votes are left
            out.
        start: [images], strengths near the result.

    Returns:
        [images], logits with mean 0 in each group; NaN for images of no group.
    """
    last = max((int(group.max()) for group in groups), default=-1)
    found = np.full(max(last, int(pairs.max(initial=-1))) + 1, np.nan)  # pairs may have images of no group
    group_of = np.full(len(found), -1)
    place = np.zeros(len(found), np.intp)
    for number, group in enumerate(groups):
        group_of[group], place[group] = number, np.arange(len(group))
    given = counts > 0
    for number, group in enumerate(groups):
        own = given & (group_of[pairs[:, 0]] == number)
        values = bradley_terry(
            len(group),
            place[pairs[own]],
            wins[own] / counts[own],
            counts[own],
            start=None if start is None else start[group],
        ).values
        found[group] = values
    return found


def rank_correlations(
    votes: Votes,
    pairs: np.ndarray,
    groups: Sequence[np.ndarray],
    judges: Sequence[tuple[np.ndarray, np.ndarray | None]],
    draws: Draws,
) -> list[Estimate]:
    """Estimate the rank correlation (SRCC) of people's strengths with those of each judge.

    Args:
        pairs: [pairs, 2] images.
        groups: indexes of the images that are compared with each other; the result is the mean over the groups of
            three or more.
        judges: for each judge its probabilities [pairs] (NaN where it has none), and its values [images] if it rates
            single images: else its strengths are fitted to the probabilities.
    """
    groups = [group for group in groups if len(group) >= 3]
    if not groups or not judges:
        return [Estimate(None) for _ in judges]
    own = []
    for probabilities, values in judges:
        known = np.isfinite(probabilities)
        fitted = strengths(groups, pairs, np.where(known, probabilities, 0), known.astype(np.float64))
        own.append(fitted if values is None else values)

    def correlations(people: np.ndarray) -> list[float]:
        means = []
        for judge in own:
            both = [(people[group], judge[group]) for group in groups]
            found = [spearman(*(one[np.isfinite(pair[1])] for one in pair)) for pair in both]
            known = [one for one in found if one is not None]
            means.append(float(np.mean(known)) if known else float("nan"))
        return means

    whole = strengths(groups, pairs, votes.shares.sum(0), votes.counts.sum(0))
    cost = sum(float(len(group)) ** 3 + 3e4 for group in groups)
    number = int(min(len(draws.pairs), BRADLEY_TERRY_BUDGET / cost))
    resampled = []
    for people, chosen in zip(draws.people[:number], draws.pairs[:number]) if number >= FEWEST_DRAWS else ():
        drawn = strengths(groups, pairs, people @ votes.shares * chosen, people @ votes.counts * chosen, whole)
        resampled.append(correlations(drawn))
    columns = np.array(resampled).reshape(-1, len(own)).T
    return [estimate(value, column) for value, column in zip(correlations(whole), columns)]
