"""Work in batches that become smaller when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from ..errors import CheckpointError, DepictQAError, OutOfMemory
from ..images.image import RGBImage

if TYPE_CHECKING:
    import torch

_Member = TypeVar("_Member")
PREFILL_BYTES = 2**30
"""Memory for the keys and values of prompts that run together where the free memory is not known."""


def run_in_batches(
    members: list[_Member],
    size: int,
    run: Callable[[list[_Member]], None],
    too_large: Callable[[_Member], DepictQAError],
    release: Callable[[], None] = lambda: None,
) -> list[DepictQAError]:
    """``run(batch)`` over all members in order; a batch that does not fit into memory is halved and tried again.

    Args:
        members: what to work on.
        size: maximum members of a batch.
        run: does the work of one batch.
        too_large: makes the error for a member that does not fit even alone.
        release: called when a batch did not fit, to drop what is stored only to save time.

    Returns:
        the errors of batches that failed, each raised as DepictQAError or out of memory; other errors pass through.
    """
    failures: list[DepictQAError] = []
    start = 0
    while start < len(members):
        batch = members[start : start + size]
        fits = True
        try:
            run(batch)
        except DepictQAError as error:
            failures.append(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            fits = False
        if not fits:  # only here, behind the except block, are the tensors of the failed run free
            release()
            release_memory()
            if len(batch) > 1:
                size = (len(batch) + 1) // 2
                continue
            failures.append(too_large(batch[0]))
        start += len(batch)
    return failures


def out_of_memory(images: Iterable[RGBImage | None], device: torch.device, smaller: str) -> OutOfMemory:
    """Build the error for one question that does not fit into memory; ``smaller`` says how to load the model."""
    return OutOfMemory(
        f"{names_of(images)}: not enough memory on {device} even for this question alone; free some, or load {smaller}"
    )


def not_finite(images: Iterable[RGBImage | None], name: str, wider: str) -> CheckpointError:
    """Build the error for NaN or Inf as probabilities, from which an answer would be made up.

    Args:
        name: of the judge.
        wider: the dtypes in which it may work.
    """
    return CheckpointError(
        f"{names_of(images)}: {name} gave NaN or Inf as probabilities: its weights are damaged, or too large for half"
        f" precision (then load it as {wider})"
    )


def names_of(images: Iterable[RGBImage | None]) -> str:
    """The names of the images of one question, for messages."""
    return ", ".join(image.name for image in images if image is not None)


def prefill_budget(device: torch.device) -> int:
    """Bytes for the keys and values of prompts that run together: half of what is free on a CUDA device."""
    import torch

    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else PREFILL_BYTES


def prefix_budget(device: torch.device) -> int:
    """Bytes for the keys and values of prompts' prefixes that are stored while a verb lasts."""
    return prefill_budget(device) // 4


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the CPU or on any accelerator."""
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)


def release_memory() -> None:
    """Give back the memory that the allocators of torch hold in reserve."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
