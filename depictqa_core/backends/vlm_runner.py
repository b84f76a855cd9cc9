"""What ``VlmBackend`` needs of whatever runs a vision-language model."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from .vlm_prompts import Prompt

IMAGES, SETS, NOTHING = "images", "sets", "nothing"
"""What prompts share: the KV cache behind every image, that behind all images of a question, or nothing."""
Check = Callable[[], None]


class Runner(Protocol):
    """One loaded model: prompts in, log-probabilities of the next tokens out.

    ``plain`` is the documented way to run the model; ``shared``, ``state`` and ``step`` give the same numbers faster,
    and are used unless ``sharing`` is ``NOTHING``.

    Attributes:
        model: the module whose weights run, with ``dtype``.
    """

    model: Any

    @property
    def device(self) -> torch.device:
        """Where the input of the model goes."""

    @property
    def sharing(self) -> str:
        """What is shared; compared with the plain path when it is first asked for."""

    def ids(self, text: str) -> list[int]:
        """Tokens of a text that follows an image."""

    def open_states(self) -> None:
        """Begin to store what prompts share."""

    def close_states(self) -> None:
        """Drop what was stored."""

    def plain(
        self, prompt: Prompt, rows: Sequence[Sequence[int]], check: Check, columns: Sequence[int] | None = None
    ) -> list[torch.Tensor]:
        """Compute log-probabilities behind a prompt and each token of some continuations, without any sharing.

        Args:
            prompt: the prompt without the tokens that continue it.
            rows: token ids of continuations; an empty one asks for what follows the prompt.
            check: called between calls of the model; what it raises stops the work.
            columns: the tokens whose log-probabilities are needed; None is the whole vocabulary, which is large.

        Returns:
            for each row float32 [len(row) + 1, columns].
        """

    def shared(
        self,
        prompt: Prompt,
        rows: Sequence[Sequence[int]],
        check: Check,
        size: int,
        columns: Sequence[int] | None = None,
    ) -> list[torch.Tensor]:
        """Compute what ``plain`` does, with everything shared that can be; ``size`` rows at most run together."""

    def state(self, prompt: Prompt, check: Check) -> Any:
        """The model behind a whole prompt; its ``log_probabilities`` [vocabulary] are those of the next token."""

    def step(self, state: Any, token: int) -> Any:
        """Append one token to a state that nobody else uses."""
