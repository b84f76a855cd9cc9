"""Runs a text encoder of ComfyUI on prompts: a ``Runner`` for ``VlmBackend``."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..depictqa_core.backends.vlm_agreement import (
    agree,
    attempt,
    no_check,
    sample_answers,
    sample_images,
    sample_prompts,
)
from ..depictqa_core.backends.vlm_cache import nbytes
from ..depictqa_core.backends.vlm_model import chosen
from ..depictqa_core.backends.vlm_prompts import Prompt
from ..depictqa_core.backends.vlm_runner import NOTHING, SETS, Check
from ..depictqa_core.engine.batching import prefix_budget
from ..depictqa_core.errors import CheckpointError
from .clip_encoder import Cache, ImageFeatures, Piece, TextEncoder

TOLERANCE = 1e-3
"""Largest difference in probability between the two paths that is rounding: weights of any format run in float32."""


class State(NamedTuple):
    """The model behind a prompt: its KV cache, the position of the next token, and its log-probabilities."""

    cache: Cache
    position: int
    log_probabilities: torch.Tensor


class ClipNetwork:
    """One text encoder.

    The fast path runs a prompt once, and its answers together, token by token, behind its KV cache, as ComfyUI's own
    models generate text. Vision features are cached by the content of the image on both paths.

    Args:
        encoder: the text encoder.
        layout: texts of a question about two images, with which the two paths are compared.
    """

    def __init__(self, encoder: TextEncoder, layout: tuple[str, ...]):
        self.encoder, self.layout, self.model = encoder, layout, encoder.model
        self._sharing: str | None = None

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    @property
    def sharing(self) -> str:
        """``SETS`` where the fast path agrees with the plain one, else ``NOTHING``."""
        if self._sharing is None:
            self._sharing = self._compared()
        return self._sharing

    def ids(self, text: str) -> list[int]:
        return self.encoder.ids(text)

    def open_states(self) -> None:
        """Nothing: states do not outlive a question."""

    def close_states(self) -> None:
        """Nothing, as in ``open_states``."""

    # ------------------------------------------------------------------ the two paths

    @torch.inference_mode()
    def plain(
        self, prompt: Prompt, rows: Sequence[Sequence[int]], check: Check, columns: Sequence[int] | None = None
    ) -> list[torch.Tensor]:
        (front, last), found = self._pieces(prompt, check), []
        for row in rows:
            check()
            hidden, _ = self.encoder.whole([*front, [*last, *row]])
            found.append(chosen(self.encoder.log_probabilities(hidden[0, -len(row) - 1 :]), columns))
        return found

    @torch.inference_mode()
    def shared(
        self,
        prompt: Prompt,
        rows: Sequence[Sequence[int]],
        check: Check,
        size: int,
        columns: Sequence[int] | None = None,
    ) -> list[torch.Tensor]:
        state = self.state(prompt, check)
        size = max(1, min(size, prefix_budget(self.device) // max(1, nbytes(state.cache))))
        found: list[torch.Tensor] = []
        for start in range(0, len(rows), size):
            found += self._rows(state, rows[start : start + size], check, columns)
        return found

    def _rows(
        self, state: State, rows: Sequence[Sequence[int]], check: Check, columns: Sequence[int] | None
    ) -> list[torch.Tensor]:
        """Continuations of one state in one batch; what stands behind shorter ones is not looked at."""
        tables = [chosen(state.log_probabilities.expand(len(rows), -1), columns)]
        cache = state.cache
        for place in range(max(len(row) for row in rows)):
            check()
            tokens = [row[place] if place < len(row) else 0 for row in rows]
            hidden, cache = self.encoder.next(tokens, state.position + place, cache)
            tables.append(chosen(self.encoder.log_probabilities(hidden[:, 0]), columns))
        return [torch.stack([table[index] for table in tables[: len(row) + 1]]) for index, row in enumerate(rows)]

    @torch.inference_mode()
    def state(self, prompt: Prompt, check: Check) -> State:
        front, last = self._pieces(prompt, check)
        check()
        hidden, cache = self.encoder.whole([*front, last], self.encoder.empty_cache())
        return State(cache, _next_position([*front, last], hidden), self.encoder.log_probabilities(hidden[:, -1])[0])

    @torch.inference_mode()
    def step(self, state: State, token: int) -> State:
        hidden, cache = self.encoder.next([token], state.position, state.cache)
        return State(cache, state.position + 1, self.encoder.log_probabilities(hidden[:, 0])[0])

    def _pieces(self, prompt: Prompt, check: Check) -> tuple[list[Piece], list[int]]:
        """Split a prompt into what stands before its last text, tokens and images in turn, and the tokens of that."""
        front: list[Piece] = []
        for text, image in zip(prompt.texts, prompt.images):
            check()
            front += [self.ids(text), self.encoder.encode(image)]
        return [self.encoder.start, *front], self.ids(prompt.texts[-1])

    # ------------------------------------------------------------------ agreement

    @torch.inference_mode()
    def _compared(self) -> str:
        """Compare both paths on small random images; refuse a file without vision tower or language head."""
        images = sample_images(2, wider=32)
        (prompt,), rows = sample_prompts(self.layout, images), sample_answers(self)
        wanted = self.plain(prompt, rows, no_check)
        self._require_weights([self.encoder.encode(image).features for image in images], wanted[0])
        found = attempt(lambda: self.shared(prompt, rows, no_check, len(rows)))
        # None: this version of ComfyUI keeps other caches
        return SETS if found is not None and agree(found, wanted, TOLERANCE) else NOTHING

    def _require_weights(self, features: list[torch.Tensor], logs: torch.Tensor) -> None:
        """Refuse a file without the weights of vision tower or language head, which ComfyUI leaves unset."""
        name = f"clip: the file of the text encoder {self.encoder.name}"
        first, second = (one.mean(1) for one in features)
        if not math.isfinite(float(first.sum() + second.sum())) or torch.equal(first, second):
            raise CheckpointError(f"{name} has no weights of the vision tower; load the full text encoder")
        if not torch.isfinite(logs).all() or float(logs.max() - logs.min()) == 0:
            raise CheckpointError(f"{name} has no weights of the language head; load the full text encoder")


def _next_position(pieces: list[Piece], hidden: torch.Tensor) -> int:
    """The position behind a prompt: Qwen counts an image as its longer side."""
    from comfy.text_encoders.qwen_vl import qwen2vl_mrope_position_ids

    infos, behind = [], 0
    for piece in pieces:
        size = piece.features.shape[1] if isinstance(piece, ImageFeatures) else len(piece)
        if isinstance(piece, ImageFeatures) and piece.extra is not None:
            infos.append({"type": "image", "index": behind, "size": size, "extra": piece.extra})
        behind += size
    positions = qwen2vl_mrope_position_ids(infos, behind, hidden.device)
    return behind if positions is None else int(positions.max()) + 1
