"""Quality maps: scores of overlapping tiles, blended into a map of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import check
from ..errors import TaskError
from ..images.image import RGBImage

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels."""
TILE = 160
"""Default side of a tile in pixels: large enough for a reliable score, small enough to locate damage."""
SMALLEST = 32
MOST_TILES = 400
"""Maximum number of tiles of an image; larger images get larger tiles."""
LEAST_RANGE = 10.0
"""Minimum range of a relative map in points, so that a uniform image stays uniform."""


@dataclass(frozen=True)
class Grid:
    """Tiles that cover an image: every row of ``tops`` with every column of ``lefts``, in pixels; squares of ``side``,
    clipped if the image is narrower."""

    height: int
    width: int
    side: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def boxes(self) -> list[Box]:
        """(left, top, right, bottom) of every tile, row by row."""
        high, wide = min(self.side, self.height), min(self.side, self.width)
        return [(left, top, left + wide, top + high) for top in self.tops for left in self.lefts]


@dataclass(frozen=True, eq=False)
class QualityMap:
    """The quality of one image by location.

    Attributes:
        picture: name of the image.
        grid: the tiles.
        tiles: score of every tile in points 0..100, float64 ``[rows, columns]``.
        points: the score at every pixel, float32 ``[H, W]``: the mean of its tiles, weighted by distance.
    """

    picture: str
    grid: Grid
    tiles: np.ndarray
    points: np.ndarray

    def tile(self, best: bool) -> tuple[tuple[int, int, int, int], float]:
        """Return box (left, top, right, bottom) and score of the worst or best tile; of equal ones the first.

        The best one does not overlap the worst, if possible.
        """
        boxes, scores = self.grid.boxes, self.tiles.ravel()
        worst = int(scores.argmin())
        if not best:
            return boxes[worst], float(scores[worst])
        apart = [i for i, box in enumerate(boxes) if not _overlap(box, boxes[worst])] or range(len(boxes))
        index = max(apart, key=lambda i: (scores[i], -i))
        return boxes[index], float(scores[index])

    def badness(self, relative: bool = False) -> np.ndarray:
        """Return the map as a mask, float32 ``[H, W]`` in 0..1 with 1 = worst.

        Args:
            relative: False: score 100 is 0 and score 0 is 1. True: the best region of this image is 0 and its worst is
                1, over a range of at least ``LEAST_RANGE`` points.
        """
        low, high = self.limits(relative)
        return np.clip((high - self.points) / (high - low), 0, 1).astype(np.float32)

    def limits(self, relative: bool) -> tuple[float, float]:
        """Return the scores of the worst and the best color."""
        if not relative:
            return 0.0, 100.0
        high = float(self.points.max())
        return min(float(self.points.min()), high - LEAST_RANGE), high

    def to_dict(self) -> dict:
        """Return the grid, its scores and its worst and best tile, without the pixels."""
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
    """Return tiles that overlap by half or more and cover the whole image.

    A tile has at most half of the shorter side (an image smaller than two tiles gets smaller tiles) and at least
    ``SMALLEST`` pixels (one tile covers a shorter side). It is larger than requested if there would be more than
    ``MOST_TILES``.

    Raises:
        TaskError: the tile is below ``SMALLEST`` pixels.
    """
    check(tile=tile)
    if tile < SMALLEST:
        raise TaskError(f"tile: {tile} pixels are too few to score a tile; give {SMALLEST} or more")
    side = max(min(tile, min(height, width) // 2), SMALLEST)
    while _count(height, side) * _count(width, side) > MOST_TILES:
        side = math.ceil(side * 1.1)
    return Grid(height, width, side, _starts(height, side), _starts(width, side))


def cut(picture: RGBImage, tiles: Grid) -> list[RGBImage]:
    """Cut an image into its tiles, row by row, with their number (from 1) in the name."""
    return [
        RGBImage(picture.rgb[top:bottom, left:right], f"{picture.name}, tile {number}")
        for number, (left, top, right, bottom) in enumerate(tiles.boxes, start=1)
    ]


def quality_map(picture: RGBImage, tiles: Grid, scores: Sequence[float]) -> QualityMap:
    """Blend the scores of the tiles (in points, row by row) into a map of the image."""
    values = np.asarray(scores, np.float64).reshape(len(tiles.tops), len(tiles.lefts))
    down, across = _weights(tiles.height, tiles.tops, tiles.side), _weights(tiles.width, tiles.lefts, tiles.side)
    points = (down.T @ values).astype(np.float32) @ across.astype(np.float32)
    return QualityMap(picture.name, tiles, values, np.clip(points, 0, 100, out=points))


# ---------------------------------------------------------------------- inside


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _count(length: int, side: int) -> int:
    return 1 + math.ceil(2 * max(length - side, 0) / side)


def _starts(length: int, side: int) -> tuple[int, ...]:
    """Return the first pixels of evenly spread tiles that overlap by half or more; the last one ends at the edge."""
    count, last = _count(length, side), max(length - side, 0)
    return tuple(round(i * last / max(count - 1, 1)) for i in range(count))


def _weights(length: int, starts: Sequence[int], side: int) -> np.ndarray:
    """Return the weight of every tile at every pixel along one axis, ``[tiles, length]``: falling to its edges, sum
    1."""
    side = min(side, length)
    pixels = np.arange(length) + 0.5
    middles = np.array(starts)[:, None] + side / 2
    weights = np.clip(1 - np.abs(pixels - middles) / (side / 2), 0, None)
    weights[0, pixels < middles[0]] = 1  # there is nothing beyond the outermost tiles
    weights[-1, pixels > middles[-1]] = 1
    return weights / weights.sum(0)
