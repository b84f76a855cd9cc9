"""What a study has found: people who passed the checks, how they agree, the order of the images, and judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ranking.bradley_terry import bradley_terry
from .design import IDENTICAL, PAIR
from .statistics import (
    DRAWS,
    Draws,
    Estimate,
    Votes,
    agreement,
    judged,
    one_against_the_others,
    rank_correlations,
    resample,
    share,
)
from .votes import EQUAL, LEFT, RIGHT, Record, Vote

PASS_SHARE = 0.75
"""People who answer fewer of their attention checks right are left out."""


@dataclass(frozen=True)
class Person:
    """A person of a study.

    Attributes:
        number: of the person.
        votes: number of pairs answered.
        checks, right: number of attention checks answered, and answered right.
        passed: whether the votes count.
    """

    number: int
    votes: int
    checks: int
    right: int
    passed: bool


@dataclass(frozen=True, eq=False)
class Opinion:
    """What one judge or metric says of the pairs of a study.

    Attributes:
        name: as tables show it.
        probabilities: [pairs], that the first image is better; NaN where it has none. A metric prefers: 0, 0.5 or 1.
        values: [images], where single images are rated, larger is better; else None, and these are probabilities.
    """

    name: str
    probabilities: np.ndarray
    values: np.ndarray | None = None


def check_people(record: Record, pass_share: float = PASS_SHARE) -> list[Person]:
    """Find out who answered the attention checks. Who saw none passes."""
    people = []
    for number in range(len(record.people)):
        own = [vote for vote in record.votes if vote.person == number]
        checks = [vote for vote in own if vote.kind != PAIR]
        right = sum(map(_right, checks))
        passed = not checks or right >= pass_share * len(checks)
        people.append(Person(number, len(own) - len(checks), len(checks), right, passed))
    return people


def _right(vote: Vote) -> bool:
    if vote.kind == IDENTICAL:
        return vote.choice == EQUAL
    return vote.choice == (RIGHT if vote.damaged == LEFT else LEFT)


def table_of(record: Record, people: Sequence[Person]) -> Votes:
    """Arrange the votes of the people who passed; two votes of a person on a pair, in both orders, become their mean.

    Columns are the pairs of the plan, first image first.
    """
    rows = {person.number: row for row, person in enumerate(one for one in people if one.passed)}
    columns = {frozenset(pair): column for column, pair in enumerate(record.plan.pairs)}
    wins, counts = np.zeros((2, len(rows), len(columns)))
    for vote in record.votes:
        column = columns.get(frozenset((vote.left, vote.right)))
        if vote.kind != PAIR or vote.person not in rows or column is None:
            continue
        first = record.plan.pairs[column][0]
        chosen = {LEFT: vote.left, RIGHT: vote.right}.get(vote.choice)
        wins[rows[vote.person], column] += 0.5 if chosen is None else float(chosen == first)
        counts[rows[vote.person], column] += 1
    given = counts > 0
    return Votes(np.divide(wins, counts, out=np.zeros_like(wins), where=given), given.astype(np.float64))


def evaluate(
    record: Record,
    opinions: Sequence[Opinion] = (),
    pass_share: float = PASS_SHARE,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate a study.

    Args:
        record: the study.
        opinions: of the judges to compare with people.
        pass_share: minimum share of right attention checks.
        draws: number of bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        plain values for JSON; numbers with an interval are lists (value, low, high).
    """
    plan, people = record.plan, check_people(record, pass_share)
    votes = table_of(record, people)
    chance = resample(votes.people, len(plan.pairs), draws, seed)
    counted = {person.number for person in people if person.passed}
    shown = [vote for vote in record.votes if vote.kind == PAIR and vote.person in counted]
    groups = _groups(record)
    correlated = rank_correlations(
        votes, np.array(plan.pairs), groups, [(one.probabilities, one.values) for one in opinions], chance
    )
    judges = []
    for opinion, correlation in zip(opinions, correlated):
        found: dict[str, Estimate] = judged(votes, opinion.probabilities, chance, opinion.values is None)
        judges.append({"judge": opinion.name, **_lists({**found, "srcc": correlation})})
    seconds = [vote.seconds for vote in shown if vote.seconds is not None]
    both = _both_orders(shown)
    return {
        "study": {
            "version": plan.version,
            "question": plan.question,
            "images": len(plan.images),
            "references": len(plan.references),
            "groups": len(groups),
            "pairs": len(plan.pairs),
            "ties_allowed": plan.ties,
            "both_orders": plan.both_orders,
            "seed": plan.seed,
        },
        "people": {
            "took_part": len(people),
            "counted": len(counted),
            "failed_checks": sum(not one.passed for one in people),
            "without_checks": sum(one.passed and not one.checks for one in people),
            "pass_share": pass_share,
            "checks": sum(one.checks for one in people if one.passed),
            "checks_right": sum(one.right for one in people if one.passed),
        },
        "votes": {
            "counted": len(shown),
            "pairs_with_votes": int((votes.counts.sum(0) > 0).sum()),
            "ties": sum(vote.choice == EQUAL for vote in shown),
            "median_seconds": round(float(np.median(seconds)), 2) if seconds else None,
            "chosen_left": _left(shown, votes, people, chance).to_list(),
            "equal_in_both_orders": both,
            "incomplete_lines": record.torn,
        },
        "agreement": _lists({**agreement(votes, chance), "one_against_others": one_against_the_others(votes, chance)}),
        "judges": judges,
        "labels": _labels(record, votes, chance),
        "images": _images(record, votes, groups),
        "bootstrap": {"draws": draws, "seed": seed},
    }


def _lists(estimates: Mapping[str, Estimate]) -> dict[str, list[float | None]]:
    return {name: one.to_list() for name, one in estimates.items()}


def _groups(record: Record) -> list[np.ndarray]:
    """The images that are compared with each other, by the pairs of the plan."""
    compared = {index for pair in record.plan.pairs for index in pair}
    groups: dict[str, list[int]] = {}
    for index, image in enumerate(record.plan.images):
        if index in compared:
            groups.setdefault(image.group, []).append(index)
    return [np.array(group) for group in groups.values()]


def _left(shown: Sequence[Vote], votes: Votes, people: Sequence[Person], draws: Draws) -> Estimate:
    """Share of answers for the left image, ties left out: 0.5 without a position bias."""
    rows = {person.number: row for row, person in enumerate(one for one in people if one.passed)}
    left, all_of_them = np.zeros((2, *votes.counts.shape))
    columns: dict[frozenset[int], int] = {}
    for vote in shown:
        column = columns.setdefault(frozenset((vote.left, vote.right)), len(columns))
        if vote.choice != EQUAL and column < votes.counts.shape[1]:
            left[rows[vote.person], column] += vote.choice == LEFT
            all_of_them[rows[vote.person], column] += 1
    return share(left, all_of_them, draws)


def _both_orders(shown: Sequence[Vote]) -> list[int] | None:
    """How many pairs that a person saw in both orders got the same answer, of how many; None if there are none."""
    answers: dict[tuple[int, frozenset[int]], list[int | None]] = {}
    for vote in shown:
        chosen = {LEFT: vote.left, RIGHT: vote.right}.get(vote.choice)
        answers.setdefault((vote.person, frozenset((vote.left, vote.right))), []).append(chosen)
    twice = [found for found in answers.values() if len(found) == 2]
    return [sum(one == other for one, other in twice), len(twice)] if twice else None


def _labels(record: Record, votes: Votes, draws: Draws) -> list[dict[str, Any]]:
    """Where folders are compared: the share of votes that the images of each folder won, ties half."""
    images = record.plan.images
    found = []
    for label in dict.fromkeys(image.label for image in images if image.label):
        first, second = (
            np.array([images[pair[side]].label == label for pair in record.plan.pairs], float) for side in (0, 1)
        )
        wins = votes.shares * first + (votes.counts - votes.shares) * second
        one = share(wins, votes.counts * (first + second), draws)
        found.append({"label": label, "won": one.to_list(), "votes": int((votes.counts * (first + second)).sum())})
    return sorted(found, key=lambda one: -(one["won"][0] or 0))


def _images(record: Record, votes: Votes, groups: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Strength of each image in its group, best first, with the 95 % interval of the fit."""
    pairs, wins, counts = np.array(record.plan.pairs), votes.shares.sum(0), votes.counts.sum(0)
    rows: list[dict[str, Any]] = []
    for group in groups:
        place = {int(image): number for number, image in enumerate(group)}
        own = np.array([int(pair[0]) in place for pair in pairs]) & (counts > 0)
        inside = [(place[int(a)], place[int(b)]) for a, b in pairs[own]]
        fit = bradley_terry(len(group), inside, wins[own] / counts[own], counts[own])
        compared = np.bincount(np.array(inside, np.intp).reshape(-1), np.repeat(counts[own], 2), len(group))
        for number in sorted(range(len(group)), key=lambda number: -fit.values[number]):
            interval = [round(float(one[number]), 3) for one in (fit.values, fit.low, fit.high)]
            image = record.plan.images[group[number]]
            rows.append(
                {"image": image.name, "group": image.group, "strength": interval, "votes": int(compared[number])}
            )
    return rows
