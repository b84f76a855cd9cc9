"""Scores by comparison with anchor images, for checkpoints that do not support scores directly.

An anchor is an image with a position from 0 (worst) to 100 (flawless). The judge compares an image with every anchor in
both orders, and a Bradley-Terry model with the anchors at their known positions gives the position of the image. With a
reference, the anchors are the reference itself and degraded copies of it, so only images of the same content are
compared. Idea: the voting of DepictQA-Wild (method.md 8.3), with fixed opponents.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..errors import TaskError
from ..images.image import RGBImage, as_image
from ..images.pillow import open_image
from ..images.size_policy import SizePolicy
from ..storage.documents import named, read_json
from ..storage.rules import Rule, number, problem
from ..tasks import LEVEL_SCORES

BUNDLED = Path(__file__).parents[1] / "anchor_pictures"
LIST = "anchors.json"
MOST = 1000
"""Maximum number of anchors in a folder: an image is compared with each of them, in both orders."""
ANCHOR = {
    "file": Rule(
        "the name of a file in this folder",
        lambda v: isinstance(v, str) and v not in ("", "..") and Path(v).name == v and "\0" not in v,
    ),
    "position": number(0, 100),
}
"""The fields of an entry of the list."""
POSITIONS = np.linspace(0, 100, 201)
SCALES = np.geomspace(2, 200, 41)
"""Scales of the judge, in points per factor e of the odds: from very sensitive to insensitive. The scale of a judge is
unknown, so the prior over them is uniform."""


@dataclass(frozen=True)
class Anchor:
    """An image whose quality is known: ``position`` is 0 (worst) to 100 (flawless)."""

    picture: RGBImage
    position: float


@dataclass(frozen=True)
class Placement:
    """The position of an image among anchors.

    Attributes:
        mean, deviation: mean and standard deviation of the posterior over positions, in points.
        low, high: its central 95 % interval.
        levels: its probability nearest to each of the five rating levels, best first; they sum to 1.
    """

    mean: float
    deviation: float
    low: float
    high: float
    levels: tuple[float, ...]


BEST = Placement(100.0, 0.0, 100.0, 100.0, (1.0, 0.0, 0.0, 0.0, 0.0))
"""The placement of an image that equals its reference."""


def load_anchors(folder: str | Path = BUNDLED) -> tuple[Anchor, ...]:
    """Load a folder of anchor images.

    Args:
        folder: folder with ``anchors.json`` and its images. The file is an object with a list ``anchors``, each with
            ``file`` and ``position`` (0..100); other entries, such as source and licence, are ignored.

    Raises:
        TaskError: the folder or its list is invalid.
        ImageError: an image cannot be read.
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
        raise TaskError(f"anchors '{named(folder)}': give at least two images at different positions")
    return tuple(Anchor(as_image(folder / name, f"anchor {name}"), position) for name, position in entries)


def place(wins: Sequence[float], positions: Sequence[float]) -> Placement:
    """Place an image by its comparisons with anchors.

    The image at position x beats an anchor at s with probability sigmoid((x - s) / scale). The posterior is computed
    on a grid over x (uniform in 0..100) and the scale of the judge (``SCALES``), which is then marginalized. Each
    comparison counts as two votes, one per order.

    Args:
        wins: probability 0..1, mean over both orders, that the image is better than each anchor.
        positions: positions of the anchors, 0..100.
    """
    won = np.asarray(wins, np.float64)
    margin = (POSITIONS[:, None, None] - np.asarray(positions, np.float64)) / SCALES[:, None]  # [..., scales, anchors]
    votes = 2 * (won * -np.logaddexp(0, -margin) + (1 - won) * -np.logaddexp(0, margin))
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
    noise = np.random.default_rng(0).normal(0, deviation, rgb.shape)  # deterministic
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


RUNGS = (82.0, 46.0, 10.0)
"""Positions of severities 1, 3 and 5, as in this project's training data without metrics."""
DEGRADATIONS = {"blur": (_blur, (1, 3, 5)), "JPEG": (_jpeg, (25, 12, 5)), "noise": (_noise, (13, 38, 64))}
"""The distortions of the copies, and their strengths at these severities (method.md 5.1)."""
LADDER_SIZE = 1 + len(DEGRADATIONS) * len(RUNGS)


def reference_ladder(reference: RGBImage, policy: SizePolicy) -> tuple[Anchor, ...]:
    """Return the reference, at 100, and its degraded copies, ``LADDER_SIZE`` anchors in total.

    The copies are made at the input size of the network, so that the strengths are comparable for images of any size.
    """
    height, width = policy.resized(reference.height, reference.width)
    rgb = reference.rgb
    if (height, width) != rgb.shape[:2]:
        rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    anchors = [Anchor(RGBImage(rgb, "the reference"), 100.0)]
    for kind, (degrade, strengths) in DEGRADATIONS.items():
        for position, strength in zip(RUNGS, strengths):
            anchors.append(Anchor(RGBImage(degrade(rgb, strength), f"the reference with {kind} {strength}"), position))
    return tuple(anchors)
