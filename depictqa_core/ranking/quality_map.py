"""Where a picture is bad: scores of overlapping tiles, blended into a map of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import check
from ..errors import TaskError
from ..images.image import Picture

TILE = 160
"""Default side of a tile in pixels: large enough for the judge to see, small enough to point somewhere."""
SMALLEST = 32
MOST_TILES = 400
"""Tiles of one picture; on a larger one the tiles grow."""
LEAST_RANGE = 10.0
"""Points that a relative map stretches over at least, so that an even picture stays even."""


@dataclass(frozen=True)
class Grid:
    """Tiles that cover a picture: every row of ``tops`` with every column of ``lefts``, in pixels; squares of ``side``,
    cut off only where the picture is narrower."""

    height: int
    width: int
    side: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """(left, top, right, bottom) of every tile, line by line."""
        high, wide = min(self.side, self.height), min(self.side, self.width)
        return [(left, top, left + wide, top + high) for top in self.tops for left in self.lefts]


@dataclass(frozen=True, eq=False)
class QualityMap:
    """Where one picture is how good.

    Attributes:
        picture: name of the picture.
        grid: the tiles.
        tiles: score of every tile in points 0..100, float64 ``[rows, columns]``.
        points: the score at every pixel, float32 ``[H, W]``: the mean of the tiles over it, nearer ones counting more.
    """

    picture: str
    grid: Grid
    tiles: np.ndarray
    points: np.ndarray

    def tile(self, best: bool) -> tuple[tuple[int, int, int, int], float]:
        """Box (left, top, right, bottom) and score of the worst tile, or of the best one; the first of equals.

        The best one is looked for among those that do not overlap the worst, if there are any.
        """
        boxes, scores = self.grid.boxes, self.tiles.ravel()
        worst = int(scores.argmin())
        if not best:
            return boxes[worst], float(scores[worst])
        apart = [i for i, box in enumerate(boxes) if not _overlap(box, boxes[worst])] or range(len(boxes))
        index = max(apart, key=lambda i: (scores[i], -i))
        return boxes[index], float(scores[index])

    def badness(self, relative: bool = False) -> np.ndarray:
        """The map as a mask, float32 ``[H, W]`` in 0..1 with 1 = worst.

        Args:
            relative: False: 100 points are 0 and 0 points are 1. True: the best place of this picture is 0 and its
                worst is 1, stretched over at least ``LEAST_RANGE`` points.
        """
        low, high = self.limits(relative)
        return np.clip((high - self.points) / (high - low), 0, 1).astype(np.float32)

    def limits(self, relative: bool) -> tuple[float, float]:
        """The points that are the worst and the best colour."""
        if not relative:
            return 0.0, 100.0
        high = float(self.points.max())
        return min(float(self.points.min()), high - LEAST_RANGE), high

    def to_dict(self) -> dict:
        """The grid, its scores and its worst and best tile, without the pixels."""
        regions = {}
        for name, best in (("worst", False), ("best", True)):
            box, score = self.tile(best)
            regions[name] = {"box": list(box), "score": round(score, 6)}
        return {
            "picture": self.picture,
            "size": [self.grid.width, self.grid.height],
            "tile": self.grid.side,
            "mean": round(float(self.tiles.mean()), 6),
            **regions,
            "tiles": self.tiles.round(2).tolist(),
        }


def grid(height: int, width: int, tile: int = TILE) -> Grid:
    """Tiles that overlap by half or more and cover the whole picture.

    A tile is never larger than half of the shorter side (a picture smaller than two tiles gets smaller tiles), but not
    smaller than ``SMALLEST`` pixels either (a side smaller than that is spanned by one tile); and it is larger than
    asked for where there would be more than ``MOST_TILES``.

    Raises:
        TaskError: a tile below ``SMALLEST`` pixels.
    """
    check(tile=tile)
    if tile < SMALLEST:
        raise TaskError(f"tile: {tile} pixels are too few to see anything in; give {SMALLEST} or more")
    side = max(min(tile, min(height, width) // 2), SMALLEST)
    while _count(height, side) * _count(width, side) > MOST_TILES:
        side = math.ceil(side * 1.1)
    return Grid(height, width, side, _starts(height, side), _starts(width, side))


def cut(picture: Picture, tiles: Grid) -> list[Picture]:
    """The tiles as pictures of their own, line by line, named by their place (from 1)."""
    return [
        Picture(picture.rgb[top:bottom, left:right], f"{picture.name}, tile {number}")
        for number, (left, top, right, bottom) in enumerate(tiles.boxes, start=1)
    ]


def quality_map(picture: Picture, tiles: Grid, scores: Sequence[float]) -> QualityMap:
    """Blend the scores of the tiles (in points, line by line) into a map of the picture."""
    values = np.asarray(scores, np.float64).reshape(len(tiles.tops), len(tiles.lefts))
    down, across = _weights(tiles.height, tiles.tops, tiles.side), _weights(tiles.width, tiles.lefts, tiles.side)
    points = (down.T @ values).astype(np.float32) @ across.astype(np.float32)
    return QualityMap(picture.name, tiles, values, np.clip(points, 0, 100, out=points))


# ---------------------------------------------------------------------- inside


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _count(length: int, side: int) -> int:
    return 1 + math.ceil(2 * max(length - side, 0) / side)


def _starts(length: int, side: int) -> tuple[int, ...]:
    """First pixels of evenly spread tiles that overlap by half or more; the last one ends at the edge."""
    count, last = _count(length, side), max(length - side, 0)
    return tuple(round(i * last / max(count - 1, 1)) for i in range(count))


def _weights(length: int, starts: Sequence[int], side: int) -> np.ndarray:
    """How much every tile counts at every pixel along one axis, ``[tiles, length]``: falling to its edges, sum 1."""
    side = min(side, length)
    pixels = np.arange(length) + 0.5
    middles = np.array(starts)[:, None] + side / 2
    weights = np.clip(1 - np.abs(pixels - middles) / (side / 2), 0, None)
    weights[0, pixels < middles[0]] = 1  # nothing lies beyond the outermost tiles
    weights[-1, pixels > middles[-1]] = 1
    return weights / weights.sum(0)
