"""What a loop of rounds has found so far: the best image, with what belongs to it, and the facts of every round."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from ..depictqa_core.errors import DepictQAError
from ..depictqa_core.images.image import RGBImage
from . import unfinished
from .inputs import readable
from .ui import Table


@dataclass(frozen=True, eq=False)
class Candidate:
    """The best image of one round.

    Attributes:
        rank: what it is compared by: whether it is good, whether its answers are reliable, its score.
        image: IMAGE ``[1, H, W, C]``.
        picture: the same, as it was judged.
        facts: JSON values: round, seed, image (its place in the round, from 1), score, passed, reasons.
        followers: its latent, mask and text.
    """

    rank: tuple[bool, bool, float]
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

    def spent(self, max_rounds: int, max_minutes: float) -> str:
        """Return which budget is spent; empty if none is.

        Args:
            max_minutes: since the first round was judged; 0 is no limit.
        """
        if len(self.rounds) >= max_rounds:
            return f"max_rounds ({max_rounds})"
        if max_minutes and time.monotonic() - self.began >= 60 * max_minutes:
            return f"max_minutes ({max_minutes:g})"
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
        removed(state)
    return replace(state, copy=path), []


def removed(state: Found) -> None:
    """Remove the copy on the disk."""
    if state.copy is not None:
        with suppress(OSError):
            state.copy.unlink()


def table_of(state: Found, max_rounds: int, spent: str, notices: Sequence[str]) -> Table:
    """The table of a loop: the best image first, with its image; then the rounds, the last one first.

    Args:
        spent: what ``Found.spent`` gives.
        notices: lines above the table.
    """
    best, number = state.best.facts, len(state.rounds)
    if state.good:
        head = f"Good after {number} {_rounds(number)}: seed {best['seed']}"
    elif spent:
        head = f"Not good after {number} {_rounds(number)}: {spent} is spent. The best has seed {best['seed']}"
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
