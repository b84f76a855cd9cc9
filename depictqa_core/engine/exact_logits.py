"""Logits in float32 from language models in half precision."""

import torch
import torch.nn.functional as F

HEAD_ROWS = 4096
"""Rows of an output layer that are converted to float32 at a time."""


def compute_logits_in_float32(language) -> None:
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
