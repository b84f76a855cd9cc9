"""Which pairs a study compares, and what each person is shown: balanced, seeded, the same on every run.

The images of a group stand on a circle in random order. One *round* compares each image with the one that stands a
fixed number of places further. So a round shows every image equally often, once on the left and once on the right, and
the first round (the neighbours) connects all images of the group. All rounds together are all pairs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TaskError

ALL_UP_TO = 150
"""Up to this number of pairs, all are compared by default."""
USUAL_PER_IMAGE = 4
"""With more pairs, the default is ``ALL_UP_TO`` or, if that is more, this number for each image: each one is then
compared eight times."""
PAIR, DAMAGED, IDENTICAL = "pair", "damaged", "identical"
"""What a trial is: a pair of the study, or an attention check of one of two kinds."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Trial:
    """What one person is shown at once.

    Attributes:
        left, right: indexes of the images.
        kind: ``PAIR``; ``DAMAGED`` (the same image twice, one of them damaged) or ``IDENTICAL`` (the same image twice).
        damaged: the side of the damaged copy, "left" or "right"; None if there is none.
    """

    left: int
    right: int
    kind: str = PAIR
    damaged: str | None = None


def design_pairs(groups: Sequence[Sequence[int]], most: int | None = None, seed: int = 0) -> list[Pair]:
    """Choose the pairs of a study, in the order in which they are given to people.

    Args:
        groups: indexes of the images that may be compared with each other; groups of one image have no pairs.
        most: maximum number of pairs; None for the larger of ``ALL_UP_TO`` and ``USUAL_PER_IMAGE`` for each
            image.
        seed: of the order of the images.

    Returns:
        pairs (left, right), each two images of one group at most once. Within a group every image is in equally many
        pairs, and as often on the left as on the right if their number is even.

    Raises:
        TaskError: there are no pairs, or ``most`` is too small to compare every image.
    """
    chance = random.Random(f"pairs {seed}")
    rounds = [_rounds(group, chance) for group in groups if len(group) > 1]
    if not rounds:
        raise TaskError("there is nothing to compare: a study needs two images that may be compared with each other")
    sizes = [[len(one) for one in group] for group in rounds]
    if most is None:
        images = sum(len(group) for group in groups if len(group) > 1)
        most = max(ALL_UP_TO, USUAL_PER_IMAGE * images, _pairs_up_to(sizes, 1))
    if most < _pairs_up_to(sizes, 1):
        raise TaskError(
            f"--pairs {most}: {_pairs_up_to(sizes, 1)} pairs are needed so that every image is compared; leave images"
            " out, or allow more pairs"
        )
    count = 1
    while count < max(map(len, sizes)) and _pairs_up_to(sizes, count + 1) <= most:
        count += 1
    found: list[Pair] = []
    for level in range(count):
        of_round = [pair for group in rounds if level < len(group) for pair in group[level]]
        chance.shuffle(of_round)
        found += of_round
    return found


def _pairs_up_to(sizes: Sequence[Sequence[int]], count: int) -> int:
    """Number of pairs in the first ``count`` rounds of all groups."""
    return sum(sum(group[:count]) for group in sizes)


def _rounds(group: Sequence[int], chance: random.Random) -> list[list[Pair]]:
    """All pairs of one group, by the distance of the two images on the circle."""
    circle = list(group)
    chance.shuffle(circle)
    n = len(circle)
    further = list(range(2, n // 2 + 1))
    chance.shuffle(further)
    rounds = []
    for step in [1, *further]:
        pairs = [(circle[i], circle[(i + step) % n]) for i in range(n // 2 if 2 * step == n else n)]
        if 2 * step == n:  # each pair once: an image is on one side only
            pairs = [pair if chance.random() < 0.5 else pair[::-1] for pair in pairs]
        rounds.append(pairs)
    return rounds


def trials_of(
    person: int,
    pairs: Sequence[Pair],
    images: int,
    *,
    per_person: int,
    checks: int,
    both_orders: bool = False,
    ties: bool = True,
    seed: int = 0,
) -> list[Trial]:
    """Lay out what one person is shown.

    Each person continues in the list of pairs where the one before ended. Whenever the list begins again, left and
    right are exchanged. So all pairs are shown equally often, and in both orders, whatever the number of people.

    Args:
        person: number of the person, from 0.
        pairs: of ``design_pairs``.
        images: number of images, for the checks.
        per_person: maximum number of pairs for one person, those in the other order included.
        checks: number of attention checks; they are spread over the session.
        both_orders: show each pair again in the other order, in the second half.
        ties: whether a tie may be answered; identical images are shown only then.
        seed: of the study.
    """
    chance = random.Random(f"person {seed} {person}")
    count = min(len(pairs), max(1, per_person // 2 if both_orders else per_person))
    shown = []
    for place in range(person * count, (person + 1) * count):
        again, index = divmod(place, len(pairs))
        left, right = pairs[index] if again % 2 == 0 else pairs[index][::-1]
        shown.append(Trial(left, right))
    chance.shuffle(shown)
    if both_orders:
        second = [Trial(one.right, one.left) for one in shown]
        chance.shuffle(second)
        shown += second
    total = len(shown)
    for number in reversed(range(checks)):  # from the end, so that places in front stay what they are
        low, high = number * total // checks, max((number + 1) * total // checks, number * total // checks + 1)
        image = chance.randrange(images)
        damaged = None if ties and number % 3 == 2 else chance.choice(["left", "right"])
        check = Trial(image, image, DAMAGED if damaged else IDENTICAL, damaged)
        shown.insert(chance.randrange(low, high), check)
    return shown
