"""Selection of pairs of variants: decided pairs of one scene, and pairs of different images."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from depictqa_core.tasks import NONE
from training.distortions import ANSWER
from training.faults import REGISTRY as FAULTS

from . import labels


@dataclass(frozen=True)
class SceneVariant:
    """A variant of scenes.jsonl with what its scene says about it (scene number, source image, reference file)."""

    scene: int
    source: str
    reference: str
    variant: dict

    @property
    def double(self) -> bool:
        return len(self.variant["distortions"]) == 2

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults that it has, in the words of ``tasks.FAULTS``."""
        return tuple(dict.fromkeys(found["fault"] for found in self.variant.get("faults") or ()))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """What the 13 labels say of it: the names of its distortions and of what its faults look like.

        None where no answer is true: a failed frame has none, and more than two names are no answer.
        """
        names = [ANSWER[found["category"]] for found in self.variant["distortions"]]
        for found in self.variant.get("faults") or ():
            label = FAULTS[found["name"]].label
            if label is None:
                return None
            names += [label] if label != NONE and label not in names else []
        return tuple(names) if len(names) <= 2 else None


Decided = tuple[SceneVariant, SceneVariant, bool]
"""Image A, Image B, and whether A is the better one."""


def decided(shown: list[SceneVariant], most: int, rng: np.random.Generator) -> list[Decided]:
    """Up to ``most`` decided pairs of a scene in random order, each side first in half of the cases."""
    found: list[Decided] = []
    pairs = list(combinations(shown, 2))
    for index in rng.permutation(len(pairs)):
        if len(found) == most:
            break
        a, b = pairs[index] if rng.random() < 0.5 else pairs[index][::-1]
        better = labels.better(a.variant, b.variant)
        if better is not None:
            found.append((a, b, better))
    return found


class CrossPairs:
    """Decided pairs of different images: a variant of the current scene with one of an earlier scene.

    Earlier variants are kept in a reservoir (a uniform sample of all seen), so that memory does not grow with the data.

    Args:
        pool: most variants in the reservoir.
    """

    def __init__(self, pool: int):
        self._most = pool
        self._pool: list[SceneVariant] = []
        self._seen = 0
        self._owed = 0
        self._made: set[frozenset[str]] = set()

    def of(self, shown: list[SceneVariant], count: int, rng: np.random.Generator) -> Iterator[Decided]:
        """Pairs for one scene: ``count`` and what earlier scenes could not give, as far as partners are found."""
        self._owed += count
        yield from self._draw(shown, 10 * self._owed, rng)
        for picture in shown:
            self._seen += 1
            if len(self._pool) < self._most:
                self._pool.append(picture)
            elif (place := int(rng.integers(self._seen))) < self._most:
                self._pool[place] = picture

    def rest(self, rng: np.random.Generator) -> Iterator[Decided]:
        """What is still missing after the last scene, if there are enough images of different sources."""
        yield from self._draw(self._pool, 50 * self._owed, rng)

    def _draw(self, shown: list[SceneVariant], tries: int, rng: np.random.Generator) -> Iterator[Decided]:
        for _ in range(tries if self._pool else 0):
            if not self._owed:
                return
            a, b = shown[int(rng.integers(len(shown)))], self._pool[int(rng.integers(len(self._pool)))]
            key = frozenset((a.variant["image"], b.variant["image"]))
            if a.source == b.source or key in self._made:
                continue
            better = labels.better(a.variant, b.variant)
            if better is None:
                continue
            self._owed -= 1
            self._made.add(key)
            yield (a, b, better) if rng.random() < 0.5 else (b, a, not better)
