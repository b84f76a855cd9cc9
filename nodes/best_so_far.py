"""What a loop of rounds has found so far: the best image, with what belongs to it, and the facts of every round."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from ..depictqa_core.confidence import uncovered
from ..depictqa_core.errors import DepictQAError
from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.results import Score
from . import unfinished
from .inputs import readable
from .ui import Table

Rank = tuple[bool, bool, float]
"""What images are compared by: whether they are good, whether their scores are reliable, their scores."""


def rank_of(score: Score, faults: Sequence[str]) -> Rank:
    """Return the rank of an image; the largest is the best."""
    return not faults, not uncovered(score.coverage), score.score


def best_of_round(number: int, seed: int, scores: Sequence[Score], faults: Sequence[list[str]]) -> dict[str, Any]:
    """Return the facts of the best image of a round, of equal ones the first, as JSON values.

    Args:
        number, seed: of the round.
        scores, faults: per image; without faults it is good.
    """
    ranks = [rank_of(score, lines) for score, lines in zip(scores, faults, strict=True)]
    place = ranks.index(max(ranks))
    return {
        "round": number,
        "seed": seed,
        "image": place + 1,
        "score": scores[place].score,
        "passed": not faults[place],
        "reasons": faults[place],
    }


@dataclass(frozen=True, eq=False)
class Candidate:
    """The best image of one round.

    Attributes:
        rank: what it is compared by, from ``rank_of``.
        image: IMAGE ``[1, H, W, C]``.
        picture: the same, as it was judged.
        facts: from ``best_of_round``.
        followers: its latent, mask and text.
    """

    rank: Rank
    image: torch.Tensor
    picture: RGBImage
    facts: dict[str, Any]
    followers: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Found:
    """What the rounds so far have found.

    Attributes:
        began: when the first round was judged, in the time of ``time.monotonic``.
        rounds: the facts of the best image of each round.
        candidates: the best image of all, once there is one.
        copy: its copy on the disk.
    """

    began: float
    rounds: tuple[dict[str, Any], ...] = ()
    candidates: tuple[Candidate, ...] = ()
    copy: Path | None = None

    @property
    def best(self) -> Candidate:
        """The best image so far; of equal ones the first."""
        return self.candidates[0]

    @property
    def good(self) -> bool:
        """Whether the best image is good."""
        return self.best.rank[0]

    def after(self, candidate: Candidate) -> "Found":
        """Return what is known after one more round."""
        best = max((*self.candidates, candidate), key=lambda one: one.rank)
        return replace(self, rounds=(*self.rounds, candidate.facts), candidates=(best,))

    def values(self) -> list[Any]:
        """Return image, score, seed, latent, mask and text of the best image."""
        best = self.best
        return [best.image, best.facts["score"], best.facts["seed"], *best.followers]

    def spent(self, max_rounds: int, max_minutes: float) -> str:
        """Return which budget is spent, as a sentence; empty if none is.

        Args:
            max_minutes: since the first round was judged; 0 is no limit.
        """
        if len(self.rounds) >= max_rounds:
            return f"max_rounds ({max_rounds}) is spent"
        if max_minutes and time.monotonic() - self.began >= 60 * max_minutes:
            return f"max_minutes ({max_minutes:g}) is spent"
        return ""


def stored(cls: type[io.ComfyNode], state: Found) -> tuple[Found, list[str]]:
    """Return the state with a copy of the best image on the disk, and a line if it cannot be written."""
    best = state.best
    facts = {**best.facts, "prompt": best.followers[2] if isinstance(best.followers[2], str) else None}
    try:
        path = unfinished.store(cls, best.image, best.picture, facts)
    except DepictQAError as error:  # the loop continues without it
        return state, [readable(str(error))]
    if path != state.copy:
        unfinished.remove(state.copy)
    return replace(state, copy=path), []


def removed(state: Found) -> None:
    """Remove the copies on the disk at the end of a loop, also that of a cancelled run which found the same image."""
    unfinished.remove(state.copy, unfinished.path_of(state.best.picture, state.best.facts))


def table_of(state: Found, max_rounds: int, ended: str, notices: Sequence[str]) -> Table:
    """The table of a loop: the best image first, with its image; then the rounds, the last one first.

    Args:
        ended: why there is no further round although no image is good; empty if there is one.
        notices: lines above the table.
    """
    best, number = state.best.facts, len(state.rounds)
    if state.good:
        head = f"Good after {number} {_rounds(number)}: seed {best['seed']}"
    elif ended:
        head = f"Not good after {number} {_rounds(number)}: {ended}. The best has seed {best['seed']}"
    else:
        head = f"Round {number} of at most {max_rounds}: not good yet"
    rows = [_row(best, "best: round"), *(_row(facts, "round") for facts in reversed(state.rounds))]
    pictures = [(state.best.picture,), *[()] * number]
    return Table(["", "score", "seed", "image", ""], rows, pictures, [*notices, head])


def _row(facts: dict[str, Any], word: str) -> list[str]:
    reasons = "; ".join(facts["reasons"]) or "good"
    return [f"{word} {facts['round']}", f"{facts['score']:.1f}", str(facts["seed"]), str(facts["image"]), reasons]


def _rounds(number: int) -> str:
    return "round" if number == 1 else "rounds"
