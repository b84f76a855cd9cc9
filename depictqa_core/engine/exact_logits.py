"""What language models take and give: their keywords, word embeddings, and logits in float32 in half precision too."""

import functools
import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

HEAD_ROWS = 4096
"""Rows of an output layer that are converted to float32 at a time."""


@functools.cache
def keywords(function: Callable[..., object]) -> frozenset[str]:
    """Return the names of what a function takes, such as the forward method of a network."""
    return frozenset(inspect.signature(function).parameters)


def embedding_weight(language: PreTrainedModel) -> torch.Tensor:
    """Return the word embeddings [vocabulary, hidden] of a language model."""
    return next(language.get_input_embeddings().parameters())


def token_embeddings(language: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Embeddings [T, hidden] of tokens."""
    embedding = language.get_input_embeddings()
    tokens = torch.tensor(ids, dtype=torch.int64, device=embedding_weight(language).device)
    embeds: torch.Tensor = embedding(tokens)
    return embeds


def compute_logits_in_float32(language: PreTrainedModel) -> None:
    """Have a language model compute its logits in float32 while its weights are in half precision.

    Logits of about 20 are rounded to steps of 0.125 in bfloat16, and of 0.016 in float16, which moves probabilities by
    several hundredths. An output layer that is quantised, or offloaded, is left alone.
    """
    head = language.get_output_embeddings()
    if type(head) is torch.nn.Linear and _exact_product not in head._forward_hooks.values():
        head.register_forward_hook(_exact_product)


def _exact_product(head: torch.nn.Linear, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
    (hidden,) = inputs
    weight = head.weight  # of a layer that was quantised in place, a function
    if not isinstance(weight, torch.Tensor) or weight.dtype == torch.float32:
        return output
    if weight.is_meta or weight.device != hidden.device:
        return output
    hidden = hidden.float()
    rows = [F.linear(hidden, part.float()) for part in weight.split(HEAD_ROWS)]  # never all of it in float32
    logits = torch.cat(rows, -1)
    return logits if head.bias is None else logits + head.bias.float()
