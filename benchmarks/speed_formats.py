"""Number formats of the language model on the CPU: speed and agreement with float32, weight by weight."""

import copy
import warnings

import torch
from torch import nn

from depictqa_core.engine.compiling import compile_language

GROUP = 32
"""Weights that share one scale in the 4-bit format."""


class Int4Linear(nn.Module):
    """A linear layer with 4-bit weights in groups of ``GROUP`` along the input, in bfloat16 by torch's own kernel."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        outputs, inputs = linear.weight.shape
        groups = linear.weight.detach().float().view(outputs, inputs // GROUP, GROUP)
        low, high = groups.amin(2), groups.amax(2)
        scale = ((high - low) / 15).clamp(min=1e-6)
        levels = ((groups - low[..., None]) / scale[..., None]).round().clamp(0, 15).to(torch.int32)
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.view(outputs, inputs), 2)
        pairs = torch.stack([scale, low + 8 * scale], 2)  # the kernel subtracts 8 before it scales
        self.scales = pairs.transpose(0, 1).contiguous().to(torch.bfloat16)  # [groups, outputs, 2]
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, GROUP, self.scales)
        out = out.view(*x.shape[:-1], -1).to(x.dtype)
        return out if self.bias is None else out + self.bias


def int8(language: nn.Module) -> nn.Module:
    """Every linear layer with 8-bit weights, and activations rounded to 8 bits as they come (torch's own)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that this moves to another package
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(language), {nn.Linear}, torch.qint8)


def int4(language: nn.Module) -> nn.Module:
    """Every linear layer of the decoder with 4-bit weights; the words' layer stays as it is."""
    changed = copy.deepcopy(language)
    for module in list(changed.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and child.out_features % 64 == 0 and child.in_features % GROUP == 0:
                setattr(module, name, Int4Linear(child))
    return changed


def bfloat16(language: nn.Module) -> nn.Module:
    """Everything in bfloat16."""
    return copy.deepcopy(language).to(torch.bfloat16)


def compiled(language: nn.Module) -> nn.Module:
    """In float32, compiled by torch.compile."""
    changed = copy.deepcopy(language)
    compile_language(changed)
    return changed


FORMATS = {
    "float32": lambda language: language,
    "float32 compiled": compiled,
    "bfloat16": bfloat16,
    "int8": int8,
    "int4": int4,
}
