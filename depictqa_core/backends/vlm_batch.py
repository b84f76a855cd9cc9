"""Runs prompts together that differ only in the content of their images.

Nothing is padded: prompts whose texts or image sizes differ run in different batches, so that every row sees exactly
what it would see alone, also in models with sliding windows, linear attention or three-dimensional positions.
"""

from collections.abc import Hashable, Sequence
from functools import partial

import torch

from ..engine.batching import prefill_budget
from .vlm_agreement import agree, attempt, no_check, sample_answers, sample_images, sample_prompts
from .vlm_cache import nbytes, single, stack
from .vlm_inputs import continued
from .vlm_model import chosen
from .vlm_network import Network, Segment, State
from .vlm_prompts import Prompt
from .vlm_runner import NOTHING, Check

TOGETHER = 8
"""Maximum number of prompts that run together."""


class BatchNetwork(Network):
    """A ``Network`` that runs several prompts at once where the architecture gives the same numbers then."""

    together_allowed: bool | None = None
    """Whether prompts may run together, None before ``batches`` was first asked for."""
    _token_bytes = 1.0  # of the KV cache of one token

    @property
    def batches(self) -> bool:
        """Whether prompts may run together: compared with the plain path when it is first asked for."""
        if self.together_allowed is None:
            self.together_allowed = self.sharing != NOTHING and self._agrees()
        return self.together_allowed

    def capacity(self, prompt: Prompt) -> int:
        """How many prompts like this one run together: their KV caches stay within ``prefill_budget``."""
        tokens = sum(self.inputs(*segment)["input_ids"].shape[1] for segment in self._segments(prompt))
        return max(1, int(prefill_budget(self.device) / (tokens * self._token_bytes)))

    @torch.inference_mode()
    def together(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[Sequence[int]],
        check: Check,
        size: int,
        columns: Sequence[int] | None = None,
    ) -> list[list[torch.Tensor]]:
        """Compute what ``shared`` does for each of the prompts of one group."""
        before = self._before_all(prompts, check)
        last = [self._last_segment(prompt) for prompt in prompts]
        if len(rows) == 1:
            check()
            logits = self.forward(self._behind(before, self._inputs(last, rows[0])), len(rows[0]) + 1, columns)
            return [[table] for table in logits]
        check()
        state = self._all_extended(before, last)
        found: list[list[torch.Tensor]] = [[] for _ in prompts]
        step = max(1, size // len(prompts))
        for start in range(0, len(rows), step):
            check()
            for tables, new in zip(found, self._all_rows(state, rows[start : start + step], columns), strict=True):
                tables += new
        return found

    def _before_all(self, prompts: Sequence[Prompt], check: Check) -> State:
        """``_before_last`` of every prompt, stacked; what several have in common is computed once."""
        pieces = [self._first_segments(prompt) for prompt in prompts]
        found: dict[Hashable, State] = {(): State(torch.empty(0, dtype=torch.int64))}
        done = []
        for _, keys in pieces:
            ends = (
                end for end in range(len(keys), 0, -1) if (stored := self.states.get(tuple(keys[:end]))) is not None
            )
            done.append(next(ends, 0))
            if done[-1]:
                found[tuple(keys[: done[-1]])] = stored
        for level in range(len(pieces[0][0])):
            missing: dict[tuple[Hashable, ...], tuple[State, Segment]] = {}
            for (segments, keys), end in zip(pieces, done, strict=True):
                key = tuple(keys[: level + 1])
                if level >= end and key not in found:
                    missing[key] = found[tuple(keys[:level])], segments[level]
            if missing:
                check()
                parents, read = zip(*missing.values(), strict=True)
                state = self._all_extended(_stacked(parents), read)
                for index, place in enumerate(missing):
                    found[place] = one = _single(state, index)
                    self.states.put(place, one, nbytes(one.cache))
        return _stacked([found[tuple(keys)] for _, keys in pieces])

    def _all_extended(self, state: State, segments: Sequence[Segment]) -> State:
        inputs = self._inputs(segments)
        logits, cache = self.forward_with_cache(self._behind(state, inputs))
        new = inputs.get("image_grid_thw", ())
        grids = [*state.extra.get("image_grid_thw", ()), *new[: len(new) // len(segments)]]
        ids = torch.cat([state.ids, inputs["input_ids"][0]])
        return State(ids, {"image_grid_thw": grids} if grids else {}, cache, logits[:, -1], len(segments))

    def _all_rows(
        self, state: State, rows: Sequence[Sequence[int]], columns: Sequence[int] | None
    ) -> list[list[torch.Tensor]]:
        """``_rows`` of every prompt."""
        longest = max(len(row) for row in rows)
        first = chosen(state.log_probabilities, columns)[:, None]
        if not longest:
            return [[table] * len(rows) for table in first]
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.int64)
        logits = self.forward(self._behind(state, {"input_ids": ids.repeat(state.prompts, 1)}), longest, columns)
        each = logits.unflatten(0, (state.prompts, len(rows)))
        return [
            [torch.cat([front, found[: len(row)].to(front)]) for row, found in zip(rows, some, strict=True)]
            for front, some in zip(first, each, strict=True)
        ]

    def _inputs(self, segments: Sequence[Segment], row: Sequence[int] = ()) -> dict[str, torch.Tensor]:
        """The inputs of one segment of each prompt, with the tokens of an answer behind them."""
        made = [continued(self.inputs(*segment), row) for segment in segments]
        self._current, self._prompts = [image.key for _, images in segments for image in images], len(segments)
        if any(not torch.equal(one["input_ids"], made[0]["input_ids"]) for one in made):
            raise ValueError("the processor makes different tokens for images of one size")
        return {name: torch.cat([one[name] for one in made]) for name in made[0]}

    def _agrees(self) -> bool:
        """Compare with the plain path on small random images."""
        prompts, answers = sample_prompts(self.layout, sample_images(3)), sample_answers(self)
        state = self.state(prompts[0], no_check)
        self._token_bytes = max(1.0, nbytes(state.cache) / len(state.ids))
        for rows in (answers[:1], answers):
            found = attempt(partial(self.together, prompts, rows, no_check, len(rows) * len(prompts)))
            if found is None:
                return False
            wanted = (self.plain(prompt, rows, no_check) for prompt in prompts)
            if not all(agree(*both, self.tolerance) for both in zip(found, wanted, strict=True)):
                return False
        return True


def most_together(network: object) -> int:
    """The maximum number of questions that are asked together."""
    return TOGETHER if isinstance(network, BatchNetwork) and network.together_allowed is not False else 1


def groups(network: object, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Return the indexes of prompts, grouped by which of them the network can run together."""
    if len(prompts) < 2 or not isinstance(network, BatchNetwork) or not network.batches:
        return [[index] for index in range(len(prompts))]
    found: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        found.setdefault((prompt.texts, tuple(image.rgb.shape for image in prompt.images)), []).append(index)
    sizes = [(group, network.capacity(prompts[group[0]]) if len(group) > 1 else 1) for group in found.values()]
    return [group[start : start + size] for group, size in sizes for start in range(0, len(group), size)]


def _stacked(states: Sequence[State]) -> State:
    """States of prompts that have the same tokens, as one."""
    first = states[0]
    cache = None if first.cache is None else stack([state.cache for state in states])
    return State(first.ids, first.extra, cache, prompts=len(states))


def _single(state: State, index: int) -> State:
    cache = single(state.cache, index, state.prompts)
    return State(state.ids, state.extra, cache, state.log_probabilities[index])
