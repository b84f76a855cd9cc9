"""What a run will take, from its recipe alone: parameters, steps, memory per device and work, without any weights."""

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from depictqa_core.loading.checkpoint_folder import describe_checkpoint
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.model import DepictQAModel
from depictqa_core.network.vision import empty_inputs
from depictqa_core.published.conversion import full_size_config

from .image_features import LiveImages
from .recipe import Recipe
from .recipe_parts import PublishedStart
from .record_files import read_parts
from .start_network import changed_config, own_config, start_folder
from .vlm_cost import vlm_work
from .vlm_examples import single_answers
from .weighted_sampler import WeightedSampler
from .work import ANSWER_TOKENS, TEXT_TOKENS, Work

ADAM_BYTES = 16
"""float32 weight, gradient and two moments of each weight that learns."""


@dataclass(frozen=True)
class RunCost:
    """A run in numbers; bytes are per device.

    Attributes:
        learned, frozen: parameters.
        records: in an epoch, repeats counted; None if the recipe says steps and there are no records to count.
        tokens: of one record with a reference and two images of the largest square size.
        steps: optimiser steps.
        passes: forward passes of one process in each step, if every record were that long.
        weights, learning, activations: bytes of frozen weights, of what learns with its optimiser, and of one pass.
        flops: floating-point operations of one record, forward and backward.
    """

    processes: int
    learned: int
    frozen: int
    records: int | None
    tokens: int
    steps: int | None
    passes: int
    weights: int
    learning: int
    activations: int
    flops: float


def run_cost(recipe: Recipe, processes: int = 1, records: int | None = None) -> RunCost:
    """Count what a run takes.

    Args:
        processes: devices that it will be spread over.
        records: records in an epoch, repeats counted, where the data is not there yet.

    Raises:
        CheckpointError: the checkpoint to start from cannot be read.
    """
    if records is None:
        records = _records(recipe)
    work = _native_work(recipe) if recipe.adapter is None else vlm_work(recipe)
    dtype = getattr(torch, recipe.frozen_precision)
    rows = max(1, recipe.micro_tokens // work.tokens) if recipe.micro_tokens else -(-recipe.batch // processes)
    parts = processes if recipe.sharding == "full" else 1
    steps = recipe.steps
    if steps is None and records:
        steps = recipe.steps_of(-(-records // recipe.batch))
    return RunCost(
        processes,
        work.learned,
        work.frozen,
        records,
        work.tokens,
        steps,
        -(-recipe.batch // (rows * processes)),
        work.frozen * dtype.itemsize // parts,
        work.learned * ADAM_BYTES // parts,
        int(work.saved * rows),
        work.flops,
    )


def lines(found: RunCost, tflops: float) -> list[str]:
    """A run_cost for people; ``tflops`` is what one device does per second, measured and not as advertised."""
    total = found.weights + found.learning + found.activations
    out = [
        f"parameters        {found.learned:,} learn, {found.frozen:,} are frozen",
        f"longest record    about {found.tokens} tokens (reference and two images of the largest square size)",
        f"records           {found.records:,} in an epoch" if found.records else "records           not known",
        f"steps             {found.steps:,}"
        if found.steps is not None
        else "steps             not known without records",
        f"passes            up to {found.passes} a step on each of {found.processes} device(s)",
        f"memory a device   {_gib(total)}: {_gib(found.weights)} frozen weights, {_gib(found.learning)} weights that"
        f" learn with gradients and optimiser, {_gib(found.activations)} activations of one pass",
        f"work              {found.flops / 1e12:.1f} TFLOP a record",
    ]
    if found.records and found.steps:
        seconds = found.flops * found.records / (found.processes * tflops * 1e12)
        out.append(f"time              at most {seconds / 3600:.1f} h an epoch at {tflops:g} TFLOP/s a device")
    return out


def _config(recipe: Recipe) -> DepictQAConfig:
    if recipe.network:
        return own_config(recipe.network, vocab_size=recipe.network["vocabulary"])
    if isinstance(recipe.start, PublishedStart):
        return full_size_config(recipe.start.abstractor)
    folder = start_folder(recipe)
    describe_checkpoint(folder)
    config = DepictQAConfig.from_pretrained(str(folder))
    return changed_config(config, recipe.changes) if recipe.changes else config


def _native_work(recipe: Recipe) -> Work:
    """Count what a record takes of a network of ours."""
    config = _config(recipe)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(recipe.precision, torch.float32)
    with torch.device("meta"):
        model = DepictQAModel(config)
    model.freeze(tuple(recipe.trainable))
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    live = LiveImages(config, ".")
    side = config.size["short"]
    picture = live.count(*live.policy.padded(side, side))
    with FakeTensorMode():
        _pretend(model, half)
        saved, flops = _one_pass(model, recipe, live, side, picture)
    return Work(learned, frozen, 3 * picture + TEXT_TOKENS + ANSWER_TOKENS, saved, flops)


def _records(recipe: Recipe) -> int | None:
    try:
        parts, weights = read_parts(recipe.data, recipe.parts)
    except FileNotFoundError:
        return None
    if recipe.adapter is not None:
        parts = [single_answers(part) for part in parts]
    if recipe.sampling == "shares":
        return recipe.steps_of(1) * recipe.batch
    return int(WeightedSampler([len(part) for part in parts], weights, "repeat", recipe.batch, recipe.seed).ends[-1])


def _pretend(model: DepictQAModel, dtype: torch.dtype) -> None:
    """Put CPU tensors that hold nothing into a model without any: not every library version can compute on meta."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            value = torch.nn.Parameter(torch.empty(parameter.shape, dtype=dtype), parameter.requires_grad)
            setattr(module, name, value)
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def _one_pass(model: DepictQAModel, recipe: Recipe, live: LiveImages, side: int, picture: int) -> tuple[float, float]:
    """Bytes that one record keeps for the backward pass, and its floating-point operations."""
    height, width = live.policy.padded(side, side)
    length = 3 * picture + TEXT_TOKENS + ANSWER_TOKENS
    hidden, kept = model.config.language_config().hidden_size, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[id(tensor)] = tensor
        return tensor

    model.train()
    if "vision" not in recipe.trainable:
        model.vision.eval()
    with FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            pooled = model.connector.pool(model.vision(*empty_inputs(model.config, height, width)))[0]
        seeing = counter.get_total_flops()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            tokens = torch.cat(model.connect([pooled] * 3, others=[None, None, pooled]))
            words = torch.empty(length - len(tokens), hidden, dtype=tokens.dtype)
            embeds = torch.cat([tokens, words])[None]
            # A mask that is ready-made: the libraries look into any other, and there is nothing to look into here.
            mask = torch.zeros(1, 1, length, length, dtype=embeds.dtype)
            logits = model.language(inputs_embeds=embeds, attention_mask=mask, use_cache=False).logits
            logits.float().sum().backward()
    layers = model.config.language_config().num_hidden_layers
    forward_backward = counter.get_total_flops() - seeing
    saved = sum(tensor.nbytes for tensor in kept.values())
    if recipe.gradient_checkpointing:  # each layer keeps its input, and one layer at a time everything
        saved = saved / layers + layers * length * hidden * embeds.itemsize
        forward_backward *= 4 / 3 if "language" in recipe.trainable else 3 / 2
    return saved, 3 * seeing + forward_backward


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
