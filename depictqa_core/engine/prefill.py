"""Prefill: running prompts through the language model, each prefix that prompts share only once.

*Prefill* fills the KV cache with a prompt, before an answer is decoded. Keys and values of a token depend only on the
tokens in front of it, so prompts with a common *prefix* need one pass over it. A prompt is a list of segments; the
prompts of a call form a prefix tree, which is prefilled level by level from its root:

    S R ──┬── A=x ──┬── B=y Q        S: system text, R: reference, A and B: an image in that role, Q: question
          │         └── B=z Q
          └── A=y ──┬── B=x Q        level 1: one row; level 2: two rows; level 3: four rows
                    └── B=z Q

``level_ends`` says where levels end, ``PrefixPrefiller`` runs them, and ``Prefill`` is the state behind a batch of
prompts. docs/architecture.md counts an example. Batches are left-padded and masked, so a batch equals its single runs.
"""

import itertools
import operator
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from ..runtime.byte_cache import ByteCache
from .exact_logits import embedding_weight, keywords
from .kv_cache import KVCache

MIN_BRANCHES = 1.5
"""A level ends where each of its prefixes has at least this many continuations, on average."""
MIN_LEVEL_TOKENS = 16
"""A level of fewer tokens is not worth its own pass through the network: the next level computes them again."""


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt: segments with equal ``key`` have equal ``embeds`` [T, hidden]."""

    key: Hashable
    embeds: torch.Tensor


Prompt = list[Segment]


class Prefill:
    """The state of a language model behind a batch of prompts.

    Args:
        language: a causal language model.
        count: number of prompts in the batch.
        check: called before every pass through the network; what it raises stops the work (this is how Cancel works).

    Attributes:
        cache: keys and values of the prompts.
        mask: bool [B, L], which cached positions are tokens of the prompt; the others are padding.
        last_logits: float [B, K, vocabulary], what follows each of the last K tokens; K is 0 for empty prompts.
    """

    def __init__(self, language: PreTrainedModel, count: int, check: Callable[[], None] = lambda: None) -> None:
        self.language, self.check = language, check
        self.cache = KVCache()
        self.mask = torch.zeros(count, 0, dtype=torch.bool, device=embedding_weight(language).device)
        self.last_logits = torch.zeros(count, 0, 0)

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def logits(self) -> torch.Tensor:
        """Float [B, vocabulary], what follows each prompt."""
        return self.last_logits[:, -1]

    @property
    def lengths(self) -> torch.Tensor:
        """Number of tokens of each prompt, int64 [B]."""
        return self.mask.sum(1)

    @staticmethod
    def gather(rows: Sequence[tuple["Prefill", int]], spare: int = 0) -> "Prefill":
        """Copy rows, each given by its batch and its index there, into one batch; shorter ones are padded in front.

        Args:
            spare: tokens that fit behind without another copy.
        """
        first = rows[0][0]
        gathered = Prefill(first.language, 0, first.check)
        gathered.cache = KVCache.gather([(batch.cache, row) for batch, row in rows], spare)
        longest = max(batch.mask.shape[1] for batch, _ in rows)
        gathered.mask = torch.stack([F.pad(b.mask[row], (longest - b.mask.shape[1], 0)) for b, row in rows])
        if all(batch.last_logits.shape[1] for batch, _ in rows):
            gathered.last_logits = torch.stack([batch.logits[row] for batch, row in rows])[:, None]
        return gathered

    def rows(self, indexes: Sequence[int], spare: int = 0) -> "Prefill":
        """Copy some rows, in any order and number; ``spare`` as in ``gather``."""
        return self.gather([(self, index) for index in indexes], spare)

    def extend(self, texts: list[torch.Tensor], last: int = 1) -> "Prefill":
        """Append to each row its own embeddings [T_i, hidden], T_i from ``last``. Returns itself.

        Args:
            last: number of tokens at the end whose logits go to ``last_logits``, from 1.
        """
        embeds, new = left_pad(texts)
        new = new.to(self.mask.device)
        size = new.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=new.device).tril()
        # Padding sees itself: a row that sees nothing is NaN in half precision, and that would spread.
        among = (causal & new[:, None]) | torch.eye(size, dtype=torch.bool, device=new.device)
        allowed = torch.cat([self.mask[:, None].expand(-1, size, -1), among], 2)
        positions = (self.lengths[:, None] + new.cumsum(1) - 1).clamp(min=0)
        self.last_logits = self.forward(embeds, allowed, positions, last)[:, -last:]
        self.mask = torch.cat([self.mask, new], 1)
        return self

    def forward(
        self, embeds: torch.Tensor, allowed: torch.Tensor, positions: torch.Tensor, last: int = 0
    ) -> torch.Tensor:
        """Run one pass of the network over new tokens and cache their keys and values; ``mask`` stays as it is.

        Args:
            embeds: [B, T, hidden].
            allowed: bool [B, T, cached + T], which positions each new token attends to.
            positions: int64 [B, T].
            last: number of tokens at the end whose logits are needed (those of a whole prompt would be huge); 0 is all.

        Returns:
            logits [B, T, vocabulary], or of the last tokens alone where the language model can leave out the others.
        """
        self.check()
        blocked = torch.zeros(allowed.shape, dtype=embeds.dtype, device=embeds.device)
        blocked = blocked.masked_fill(~allowed, torch.finfo(embeds.dtype).min)[:, None]
        known = keywords(type(self.language).forward)
        keep = {"logits_to_keep": last} if last and "logits_to_keep" in known else {}
        # transformers 5.24 calls it cache
        cache = "cache" if "cache" in known and "past_key_values" not in known else "past_key_values"
        logits: torch.Tensor = self.language(
            inputs_embeds=embeds,
            attention_mask=blocked,
            position_ids=positions,
            use_cache=True,
            **{cache: self.cache},
            **keep,
        ).logits
        return logits


def left_pad(texts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack embeddings [T_i, hidden] to [B, T, hidden] with zeros in front, and their mask bool [B, T]."""
    longest = max(len(text) for text in texts)
    embeds = texts[0].new_zeros(len(texts), longest, texts[0].shape[-1])
    mask = torch.zeros(len(texts), longest, dtype=torch.bool, device=embeds.device)
    for row, text in enumerate(texts):
        embeds[row, longest - len(text) :] = text
        mask[row, longest - len(text) :] = True
    return embeds, mask


def level_ends(
    prompts: Sequence[Sequence[Hashable]], tokens: Sequence[int], combined: bool = False, questions: bool = False
) -> list[int]:
    """Find where to cut prompts of equally many segments into levels.

    Args:
        prompts: the keys of all prompts of a call.
        tokens: about how many tokens each segment has.
        combined: whether later calls will ask for other combinations of the same segments.
        questions: whether later calls will only have another last segment.

    Returns:
        ends of the levels as numbers of segments, rising; the last one is the whole prompt.
    """
    depth = len(tokens)
    if combined:  # as if every combination came now
        choices = [len({prompt[place] for prompt in prompts}) for place in range(depth)]
        branches = list(itertools.accumulate(choices, operator.mul))
    else:
        branches = [len({tuple(prompt[:end]) for prompt in prompts}) for end in range(1, depth + 1)]
    if questions and branches:
        branches[-1] *= 2
    ends, start = [], 0
    for end in range(1, depth):
        if branches[end] >= MIN_BRANCHES * branches[end - 1] and sum(tokens[start:end]) >= MIN_LEVEL_TOKENS:
            ends.append(end)
            start = end
    return [*ends, depth]


class PrefixPrefiller:
    """Prefills the prompts of a call batch after batch; a prefix that two batches share is computed once.

    Prompts should come in an order in which equal prefixes are neighbours: between batches one row of every level is
    remembered, so memory does not grow with the number of prompts. Others are remembered only in ``prefixes``.

    Args:
        language: a causal language model.
        ends: from ``level_ends``.
        check: as in ``Prefill``.
        prefixes: states behind prefixes, by their keys, which several prefillers of one language model may share.
    """

    def __init__(
        self,
        language: PreTrainedModel,
        ends: Sequence[int],
        check: Callable[[], None] = lambda: None,
        prefixes: ByteCache | None = None,
    ) -> None:
        self.language, self.ends, self.check = language, list(ends), check
        self.prefixes = ByteCache(0) if prefixes is None else prefixes
        self._previous: dict[tuple, Prefill] = {}  # the last prefix of every level but the last, and its state

    @torch.inference_mode()
    def prefill(self, prompts: list[Prompt], forced: torch.Tensor | None = None) -> Prefill:
        """Compute the state behind each prompt, in order.

        Args:
            prompts: lists of segments, all of one number.
            forced: embeddings [T, hidden] that follow every prompt. ``last_logits`` then holds the logits before each
                of them, and those of what follows.
        """
        # by prefix: a batch, and the row there
        parents: dict[tuple, tuple[Prefill, int]] = {(): (Prefill(self.language, 1, self.check), 0)}
        previous: dict[tuple, Prefill] = {}
        start = 0
        for end in self.ends[:-1]:
            branches = {_prefix(prompt, end): prompt for prompt in prompts}
            known = {prefix: self._previous.get(prefix) or self.prefixes.get(prefix) for prefix in branches}
            states = {prefix: (state, 0) for prefix, state in known.items() if state is not None}
            if fresh := [prefix for prefix in branches if prefix not in states]:
                texts = [_embeds(branches[prefix][start:end]) for prefix in fresh]
                level = Prefill.gather([parents[prefix[:start]] for prefix in fresh], _longest(texts)).extend(texts)
                states |= {prefix: (level, row) for row, prefix in enumerate(fresh)}
                self._store(fresh, level)
            prefix = _prefix(prompts[-1], end)
            previous[prefix] = Prefill.gather([states[prefix]])
            parents, start = states, end
        self._previous = previous
        texts = [_embeds(prompt[start:], forced) for prompt in prompts]
        rows = [parents[_prefix(prompt, start)] for prompt in prompts]
        return Prefill.gather(rows, _longest(texts)).extend(texts, 1 + (0 if forced is None else len(forced)))

    def _store(self, prefixes: list[tuple], level: Prefill) -> None:
        """Store the states behind prefixes, each by itself: the longer ones of a batch must not hold the others."""
        if self.prefixes.budget:
            for row, prefix in enumerate(prefixes):
                state = level.rows([row])
                self.prefixes.put(prefix, state, state.cache.nbytes)


def _prefix(prompt: list[Segment], end: int) -> tuple:
    return tuple(segment.key for segment in prompt[:end])


def _embeds(segments: list[Segment], forced: torch.Tensor | None = None) -> torch.Tensor:
    return torch.cat([segment.embeds for segment in segments] + ([] if forced is None else [forced]))


def _longest(texts: list[torch.Tensor]) -> int:
    return max(len(text) for text in texts)
