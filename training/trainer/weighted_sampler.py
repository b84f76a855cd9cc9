"""Which records make up every step, and how its batch is cut into forward passes for all processes."""

from functools import lru_cache

import numpy as np


class WeightedSampler:
    """The records of every step: a function of the step alone, the same on every process.

    Args:
        sizes: number of records in each part.
        weights: what each part's weight is.
        sampling: "shares" draws parts by weight and their records uniformly, without end; "repeat" goes through every
            record ``weight`` times per epoch, in newly shuffled order. The last step of an epoch may be smaller.
        batch: records in a step.
        seed: seed of the order.
    """

    def __init__(self, sizes: list[int], weights: list[float], sampling: str, batch: int, seed: int):
        self.sizes, self.batch, self.seed, self.sampling = sizes, batch, seed, sampling
        self.shares = np.array(weights, float) / sum(weights)
        self.ends = np.cumsum([size * int(weight) for size, weight in zip(sizes, weights)])
        self._order = lru_cache(maxsize=2)(
            lambda epoch: np.random.default_rng([seed, epoch]).permutation(self.ends[-1]).astype(np.uint32)
        )

    @property
    def epoch_steps(self) -> int:
        """Steps in one epoch of "repeat"."""
        return -(-int(self.ends[-1]) // self.batch)

    def __call__(self, step: int) -> list[tuple[int, int]]:
        """(part, record in it) of every record of a step."""
        if self.sampling == "shares":
            rng = np.random.default_rng([self.seed, step])
            chosen = rng.choice(len(self.sizes), self.batch, p=self.shares)
            return [(int(part), int(rng.integers(self.sizes[part]))) for part in chosen]
        epoch, place = divmod(step, self.epoch_steps)
        places = self._order(epoch)[place * self.batch : (place + 1) * self.batch]
        parts = np.searchsorted(self.ends, places, side="right")
        starts = np.concatenate([[0], self.ends])[parts]
        return [(int(p), int(i - start) % self.sizes[p]) for p, i, start in zip(parts, places, starts)]


def cut(lengths: list[int], budget: int | None, processes: int) -> list[tuple[list[int], bool]]:
    """Cut a batch into forward passes, as many for one process as for another.

    Args:
        lengths: tokens of each example.
        budget: most tokens of one pass, padding included; one longer example makes a pass of its own. None makes one
            pass for each process.
        processes: passes go to processes in turn; neighbours are about equally long, so nobody waits.

    Returns:
        (indexes of the examples, whether they count). Passes that do not count repeat others, where there are too few.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    if budget is None:
        groups = [order[process::processes] for process in range(processes) if order[process::processes]]
    else:
        groups = [[]]
        for index in order:
            if groups[-1] and (len(groups[-1]) + 1) * lengths[index] > budget:
                groups.append([])
            groups[-1].append(index)
    while len(groups) % processes and max(map(len, groups)) > 1:
        largest = max(groups, key=lambda group: (len(group) > 1, sum(lengths[index] for index in group)))
        place, half = groups.index(largest), len(largest) // 2
        groups[place : place + 1] = [largest[:half], largest[half:]]
    passes = [(group, True) for group in groups]
    return passes + [(groups[0], False)] * (-len(groups) % processes)
