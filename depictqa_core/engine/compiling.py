"""The language model compiled by ``torch.compile``: about a minute of preparation, faster answers afterwards."""

import torch
from transformers import PreTrainedModel

from ..errors import CheckpointError, quoted
from .exact_logits import embedding_weight


def compile_language(language: PreTrainedModel) -> None:
    """Have a language model compiled at its first questions, once for prompts and batches of any size.

    Raises:
        CheckpointError: nothing can be compiled here, for want of a compiler or of support for the device.
    """
    weight = embedding_weight(language)
    try:
        torch.compile(_trial)(weight[:2, :2])
    except Exception as error:  # every backend has errors of its own
        raise CheckpointError(
            f"torch.compile does not work here ({quoted(error)}); install a C++ compiler (CPU) or Triton (GPU), or"
            " do not compile"
        ) from error
    language.compile(dynamic=True)


@torch.inference_mode()
def _trial(x: torch.Tensor) -> torch.Tensor:
    return (x * 2).relu()
