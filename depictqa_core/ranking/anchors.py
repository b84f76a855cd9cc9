"""Scores by comparison, for judges that were never taught numbers: where a picture stands among anchor pictures.

An anchor is a picture with a position from 0 (worst) to 100 (flawless). The judge compares a picture with every anchor
in both orders, and a Bradley-Terry model whose anchors stand at their known positions says where the picture stands.
With a reference, the anchors are the reference itself and copies of it that are degraded here, so only like is compared
with like. Idea: the voting of DepictQA-Wild (facts 8.3), with fixed opponents.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..errors import TaskError
from ..images.image import Picture, SizePolicy, as_picture
from ..images.pillow import open_image
from ..storage.documents import named, read_json
from ..storage.rules import Rule, number, problem
from ..tasks import LEVEL_SCORES

BUNDLED = Path(__file__).parents[1] / "anchor_pictures"
LIST = "anchors.json"
MOST = 1000
"""Anchors in a folder: an image is compared with each of them, in both orders."""
ANCHOR = {
    "file": Rule(
        "the name of a file in this folder",
        lambda v: isinstance(v, str) and v not in ("", "..") and Path(v).name == v and "\0" not in v,
    ),
    "position": number(0, 100),
}
"""What an entry of the list holds."""
POSITIONS = np.linspace(0, 100, 201)
SCALES = np.geomspace(2, 200, 41)
"""Points that raise the odds of winning by a factor e: from a judge that sees every small difference to one that sees
none. The scale of the judge at hand is not known; every one is thought equally likely before the answers."""


@dataclass(frozen=True)
class Anchor:
    """A picture whose quality is known: ``position`` is 0 (worst) to 100 (flawless)."""

    picture: Picture
    position: float


@dataclass(frozen=True)
class Placement:
    """Where a picture stands among anchors.

    Attributes:
        mean, deviation: of the posterior over positions, in points.
        low, high: the middle 95 % of it.
        levels: share of it nearest to each of the five rating levels, best first; sums to 1.
    """

    mean: float
    deviation: float
    low: float
    high: float
    levels: tuple[float, ...]


BEST = Placement(100.0, 0.0, 100.0, 100.0, (1.0, 0.0, 0.0, 0.0, 0.0))
"""Where an image stands that equals its reference."""


def load_anchors(folder: str | Path = BUNDLED) -> tuple[Anchor, ...]:
    """Read a folder of anchor pictures.

    Args:
        folder: holds ``anchors.json`` and the pictures that it names. The file is an object with a list ``anchors``,
            each with ``file`` and ``position`` (0..100); other entries, such as source and licence, are for people.

    Raises:
        TaskError: the folder or its list cannot be used.
        ImageError: a picture of it cannot be read.
    """
    folder = Path(folder)
    where = f"anchors '{named(folder)}'"
    content = read_json(
        folder / LIST, where=f"{where}: {LIST}", remedy="see docs/published_weights.md", error=TaskError
    )
    listed = content.get("anchors")
    if not isinstance(listed, list):
        raise TaskError(f"{where}: {LIST} needs a list 'anchors' of objects with 'file' and 'position'")
    if len(listed) > MOST:
        raise TaskError(f"{where}: {LIST} lists {len(listed)} anchors; give at most {MOST}")
    entries = []
    for place_in_list, entry in enumerate(listed, 1):
        entry = entry if isinstance(entry, dict) else {"entry": entry}
        if missing := [name for name in ANCHOR if name not in entry]:
            raise TaskError(
                f"{where}: entry {place_in_list} of {LIST} has no {missing[0]}: {ANCHOR[missing[0]].allowed}"
            )
        if wrong := problem(entry, ANCHOR):
            raise TaskError(f"{where}: entry {place_in_list} of {LIST}: {wrong}")
        entries.append((entry["file"], float(entry["position"])))
    if len({position for _, position in entries}) < 2:
        raise TaskError(f"anchors '{named(folder)}': give at least two pictures at different positions")
    return tuple(Anchor(as_picture(folder / name, f"anchor {name}"), position) for name, position in entries)


def place(wins: Sequence[float], positions: Sequence[float]) -> Placement:
    """Place a picture by its comparisons with anchors.

    The picture at position x beats an anchor at s with probability sigmoid((x - s) / scale). The posterior is computed
    on a grid over x (uniform in 0..100) and the scale of the judge (``SCALES``), which is then summed out. Each
    comparison counts as two votes, one for each order of asking.

    Args:
        wins: probability 0..1, averaged over both orders, that the picture is better than each anchor.
        positions: where the anchors stand, 0..100.
    """
    wins, positions = np.asarray(wins, np.float64), np.asarray(positions, np.float64)
    margin = (POSITIONS[:, None, None] - positions) / SCALES[:, None]  # [positions, scales, anchors]
    votes = 2 * (wins * -np.logaddexp(0, -margin) + (1 - wins) * -np.logaddexp(0, margin))
    likelihood = votes.sum(-1)
    posterior = np.exp(likelihood - likelihood.max()).sum(1)
    posterior /= posterior.sum()
    mean = float(posterior @ POSITIONS)
    deviation = float(np.sqrt(posterior @ (POSITIONS - mean) ** 2))
    low, high = np.interp((0.025, 0.975), posterior.cumsum() - posterior / 2, POSITIONS)
    nearest = np.abs(POSITIONS[:, None] - np.asarray(LEVEL_SCORES)).argmin(1)
    levels = np.bincount(nearest, posterior, len(LEVEL_SCORES))
    return Placement(mean, deviation, float(low), float(high), tuple(levels.tolist()))


# ---------------------------------------------------------------------- a reference's own anchors


def _blur(rgb: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma)))


def _jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    return np.asarray(open_image(file).convert("RGB"))


def _noise(rgb: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, rgb.shape)  # the same every time, as the answers must be
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


RUNGS = (82.0, 46.0, 10.0)
"""Positions of severities 1, 3 and 5: what this project's training data gives them before any metric is asked."""
DEGRADATIONS = {"blur": (_blur, (1, 3, 5)), "JPEG": (_jpeg, (25, 12, 5)), "noise": (_noise, (13, 38, 64))}
"""What makes the copies, and its strength at these severities (facts 5.1)."""
LADDER_SIZE = 1 + len(DEGRADATIONS) * len(RUNGS)


def reference_ladder(reference: Picture, policy: SizePolicy) -> tuple[Anchor, ...]:
    """The reference, at 100, and its degraded copies, ``LADDER_SIZE`` anchors in all.

    They are made at the size at which the judge sees the reference, so that the strengths mean the same for pictures of
    any size.
    """
    height, width = policy.resized(reference.height, reference.width)
    rgb = reference.rgb
    if (height, width) != rgb.shape[:2]:
        rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    anchors = [Anchor(Picture(rgb, "the reference"), 100.0)]
    for kind, (degrade, strengths) in DEGRADATIONS.items():
        for position, strength in zip(RUNGS, strengths):
            anchors.append(Anchor(Picture(degrade(rgb, strength), f"the reference with {kind} {strength}"), position))
    return tuple(anchors)
