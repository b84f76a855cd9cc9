"""Reading prompts with a causal language model: in batches of any lengths, and what prompts share only once.

A prompt is a list of segments. Prompts that begin with the same segments share the keys and values of that beginning:
the prompts of a call form a tree, which is read floor by floor from the root. Batches are left-padded and masked, so a
batch equals its single runs.
"""

import functools
import inspect
import itertools
import operator
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import DynamicCache

from ..runtime.byte_cache import ByteCache

SHARED = 1.5
"""A floor ends where the prompts split at least into this many branches each, on average."""
SHORT_FLOOR = 16
"""Fewer tokens than this are read again rather than shared: a pass through the network costs more."""
HEAD_ROWS = 4096
"""Rows of an output layer that are converted to float32 at a time."""
ROOM = 16
"""Tokens that at least fit behind a prompt before its keys and values must move."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a prompt: segments with equal ``key`` have equal ``embeds`` [T, hidden]."""

    key: Hashable
    embeds: torch.Tensor


class KeyValues(DynamicCache):
    """Keys and values of every layer with room behind them: new ones are written in place, not concatenated.

    Does not build on how transformers 4 or 5 keep theirs: the models of both only call the methods below.
    """

    def __init__(self, room: int = 0):
        super().__init__()
        self._room = max(room, ROOM)
        self._buffers: list[list[torch.Tensor]] = []  # per layer, keys and values [B, heads, capacity, head width]
        self._lengths: list[int] = []

    def update(self, key_states, value_states, layer_idx: int, *args, **kwargs):
        """Append [B, heads, T, head width] to one layer and return all of its keys and values."""
        if layer_idx == len(self._buffers):
            self._buffers.append([key_states[:, :, :0], value_states[:, :, :0]])
            self._lengths.append(0)
        start = self._lengths[layer_idx]
        stop = self._lengths[layer_idx] = start + key_states.shape[2]
        buffers = self._buffers[layer_idx]
        for place, new in enumerate((key_states, value_states)):
            old = buffers[place]
            if stop > old.shape[2]:
                shape = (*new.shape[:2], stop + max(self._room, stop // 4), new.shape[3])
                buffers[place] = new.new_empty(shape)
                buffers[place][:, :, :start] = old[:, :, :start]
            buffers[place][:, :, start:stop] = new
        return tuple(buffer[:, :, :stop] for buffer in buffers)

    def get_seq_length(self, layer_idx: int = 0, *args, **kwargs) -> int:
        return self._lengths[layer_idx] if layer_idx < len(self._lengths) else 0

    @property
    def nbytes(self) -> int:
        """Memory that the keys and values take, with the room behind them."""
        return sum(buffer.nbytes for pair in self._buffers for buffer in pair)

    @staticmethod
    def gather(places: Sequence[tuple["KeyValues", int]], room: int = 0) -> "KeyValues":
        """A batch of copied rows, each given by its cache and its row in it; shorter ones get zeros in front.

        Args:
            room: so many tokens fit behind without another copy.
        """
        gathered, longest = KeyValues(room), max(cache.get_seq_length() for cache, _ in places)
        first, alike = places[0][0], all(cache is places[0][0] for cache, _ in places)
        for layer, pair in enumerate(first._buffers):
            gathered._lengths.append(longest)
            gathered._buffers.append([])
            for kind, like in enumerate(pair):
                batch = like.new_empty(len(places), like.shape[1], longest + gathered._room, like.shape[3])
                gathered._buffers[layer].append(batch)
                if alike:
                    rows = torch.tensor([row for _, row in places], device=like.device)
                    batch[:, :, :longest] = like[:, :, :longest].index_select(0, rows)
                    continue
                for place, (cache, row) in enumerate(places):
                    start = longest - cache._lengths[layer]
                    batch[place, :, :start] = 0
                    batch[place, :, start:longest] = cache._buffers[layer][kind][row, :, : longest - start]
        return gathered


class Reading:
    """How far a language model has read each prompt of a batch.

    Args:
        language: a causal language model.
        count: prompts in the batch.
        check: called before every pass through the network; what it raises stops the work (this is how Cancel works).

    Attributes:
        mask: bool [B, L], which of the kept positions are tokens of the prompt (the others are padding).
        recent: float [B, K, vocabulary], what followed each of the last K tokens; None before anything is read.
    """

    def __init__(self, language, count: int, check: Callable[[], None] = lambda: None):
        self.language, self.check = language, check
        self.cache = KeyValues()
        self.mask = torch.zeros(count, 0, dtype=torch.bool, device=language.get_input_embeddings().weight.device)
        self.recent: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def logits(self) -> torch.Tensor:
        """Float [B, vocabulary] of what follows."""
        return self.recent[:, -1]

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each prompt so far, int64 [B]."""
        return self.mask.sum(1)

    @staticmethod
    def gather(places: Sequence[tuple["Reading", int]], room: int = 0) -> "Reading":
        """A batch of copied rows, each given by its reading and its row in it; shorter ones get padding in front.

        Args:
            room: so many tokens fit behind without another copy.
        """
        first = places[0][0]
        gathered = Reading(first.language, 0, first.check)
        gathered.cache = KeyValues.gather([(reading.cache, row) for reading, row in places], room)
        longest = max(reading.mask.shape[1] for reading, _ in places)
        gathered.mask = torch.stack([F.pad(r.mask[row], (longest - r.mask.shape[1], 0)) for r, row in places])
        if all(reading.recent is not None for reading, _ in places):
            gathered.recent = torch.stack([reading.logits[row] for reading, row in places])[:, None]
        return gathered

    def rows(self, indexes: Sequence[int], room: int = 0) -> "Reading":
        """A copy of some rows, in any order and number, with room for so many more tokens."""
        return self.gather([(self, index) for index in indexes], room)

    def read(self, texts: list[torch.Tensor], last: int = 1) -> "Reading":
        """Read on, each row its own embeddings [T_i, hidden], T_i from ``last``. Returns itself.

        Args:
            last: number of tokens at the end whose logits go to ``recent``, from 1.
        """
        embeds, new = left_pad(texts)
        new = new.to(self.mask.device)
        size = new.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=new.device).tril()
        # Padding sees itself: a row that sees nothing is NaN in half precision, and that would spread.
        among = (causal & new[:, None]) | torch.eye(size, dtype=torch.bool, device=new.device)
        allowed = torch.cat([self.mask[:, None].expand(-1, size, -1), among], 2)
        positions = (self.lengths[:, None] + new.cumsum(1) - 1).clamp(min=0)
        self.recent = self.feed(embeds, allowed, positions, last)[:, -last:]
        self.mask = torch.cat([self.mask, new], 1)
        return self

    def feed(self, embeds, allowed, positions, last: int = 0) -> torch.Tensor:
        """One pass of the network over new tokens, whose keys and values are kept; ``mask`` stays as it is.

        Args:
            embeds: [B, T, hidden].
            allowed: bool [B, T, kept + T], which positions each new token sees.
            positions: int64 [B, T].
            last: number of tokens at the end whose logits are needed (those of a whole prompt would be huge); 0 is all.

        Returns:
            logits [B, T, vocabulary], or of the last tokens alone where the language model can leave out the others.
        """
        self.check()
        blocked = torch.zeros(allowed.shape, dtype=embeds.dtype, device=embeds.device)
        blocked = blocked.masked_fill(~allowed, torch.finfo(embeds.dtype).min)[:, None]
        known = _keywords(type(self.language))
        keep = {"logits_to_keep": last} if last and "logits_to_keep" in known else {}
        # transformers 5.24 calls it cache
        cache = "cache" if "cache" in known and "past_key_values" not in known else "past_key_values"
        return self.language(
            inputs_embeds=embeds,
            attention_mask=blocked,
            position_ids=positions,
            use_cache=True,
            **{cache: self.cache},
            **keep,
        ).logits


def left_pad(texts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack embeddings [T_i, hidden] to [B, T, hidden] with zeros in front, and their mask bool [B, T]."""
    longest = max(len(text) for text in texts)
    embeds = texts[0].new_zeros(len(texts), longest, texts[0].shape[-1])
    mask = torch.zeros(len(texts), longest, dtype=torch.bool, device=embeds.device)
    for row, text in enumerate(texts):
        embeds[row, longest - len(text) :] = text
        mask[row, longest - len(text) :] = True
    return embeds, mask


def floors(prompts: Sequence[Sequence[Hashable]], tokens: Sequence[int], combined: bool = False) -> list[int]:
    """Where prompts of equally many segments are cut, so that what they share is read once.

    Args:
        prompts: the keys of all prompts of a call.
        tokens: about how many tokens each segment has.
        combined: whether later calls will ask for other combinations of the same segments.

    Returns:
        ends of the floors as numbers of segments, rising; the last one is the whole prompt.
    """
    depth = len(tokens)
    if combined:  # as if every combination came now
        choices = [len({prompt[place] for prompt in prompts}) for place in range(depth)]
        branches = list(itertools.accumulate(choices, operator.mul))
    else:
        branches = [len({tuple(prompt[:end]) for prompt in prompts}) for end in range(1, depth + 1)]
    ends, start = [], 0
    for end in range(1, depth):
        if branches[end] >= SHARED * branches[end - 1] and sum(tokens[start:end]) >= SHORT_FLOOR:
            ends.append(end)
            start = end
    return [*ends, depth]


class PromptReader:
    """Reads the prompts of a call batch after batch; what a batch shares with the one before is not read again.

    Prompts should come in an order in which equal beginnings are neighbours: between batches one row of every floor is
    remembered, so the memory does not grow with the number of prompts. Others are remembered only in ``kept``.

    Args:
        language: a causal language model.
        ends: from ``floors``.
        check: as in ``Reading``.
        kept: the states behind beginnings, by their keys, which several readers of one language model may share.
    """

    def __init__(
        self, language, ends: Sequence[int], check: Callable[[], None] = lambda: None, kept: ByteCache | None = None
    ):
        self.language, self.ends, self.check = language, list(ends), check
        self.kept = ByteCache(0) if kept is None else kept
        self._last: dict[tuple, Reading] = {}  # the last beginning of every floor but the last, and the state behind it

    @torch.inference_mode()
    def read(self, prompts: list[list[Segment]], forced: torch.Tensor | None = None) -> Reading:
        """The state behind each prompt, in order.

        Args:
            prompts: lists of segments, all of one number.
            forced: embeddings [T, hidden] that follow every prompt. ``recent`` then has the logits before each of them,
                and those of what follows.
        """
        behind = {(): (Reading(self.language, 1, self.check), 0)}  # for each beginning a state, and its row there
        last, start = {}, 0
        for end in self.ends[:-1]:
            branches = {tuple(s.key for s in prompt[:end]): prompt for prompt in prompts}
            known = {key: self._last.get(key) or self.kept.get(key) for key in branches}
            found = {key: (state, 0) for key, state in known.items() if state is not None}
            if fresh := [key for key in branches if key not in found]:
                texts = [_text(branches[key][start:end]) for key in fresh]
                state = Reading.gather([behind[key[:start]] for key in fresh], _longest(texts)).read(texts)
                found |= {key: (state, row) for row, key in enumerate(fresh)}
                self._keep(fresh, state)
            key = tuple(s.key for s in prompts[-1][:end])
            last[key] = Reading.gather([found[key]])
            behind, start = found, end
        self._last = last
        texts = [_text(prompt[start:], forced) for prompt in prompts]
        parents = [behind[tuple(s.key for s in prompt[:start])] for prompt in prompts]
        return Reading.gather(parents, _longest(texts)).read(texts, 1 + (0 if forced is None else len(forced)))

    def _keep(self, beginnings: list[tuple], state: Reading) -> None:
        """Keep the states behind beginnings, each by itself: the longer ones of a batch must not hold the others."""
        if self.kept.budget:
            for row, beginning in enumerate(beginnings):
                one = state.rows([row])
                self.kept.put(beginning, one, one.cache.nbytes)


def bytes_per_token(language) -> int:
    """What the keys and values of one token take."""
    config = language.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * language.get_input_embeddings().weight.element_size()


def keep_logits_exact(language) -> None:
    """Have a language model compute its logits in float32 while its weights are in half precision.

    Logits of about 20 are rounded to steps of 0.125 in bfloat16, and of 0.016 in float16, which moves probabilities by
    several hundredths. An output layer that is quantised, or offloaded, is left alone.
    """
    head = language.get_output_embeddings()
    if type(head) is torch.nn.Linear and _exact_product not in head._forward_hooks.values():
        head.register_forward_hook(_exact_product)


def _exact_product(head: torch.nn.Linear, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
    (hidden,) = inputs
    if head.weight.dtype == torch.float32 or head.weight.is_meta or head.weight.device != hidden.device:
        return output
    hidden = hidden.float()
    rows = [F.linear(hidden, part.float()) for part in head.weight.split(HEAD_ROWS)]  # never all of it in float32
    logits = torch.cat(rows, -1)
    return logits if head.bias is None else logits + head.bias.float()


@functools.cache
def _keywords(kind: type) -> frozenset[str]:
    """What the forward method of a network takes."""
    return frozenset(inspect.signature(kind.forward).parameters)


def _text(segments: list[Segment], forced: torch.Tensor | None = None) -> torch.Tensor:
    rows = [segment.embeds for segment in segments] + ([] if forced is None else [forced])
    return torch.cat(rows)


def _longest(texts: list[torch.Tensor]) -> int:
    return max(len(text) for text in texts)
