"""What all nodes share between sockets and the judge: pictures in and out, checked widgets, reports, errors."""

import json
from contextlib import contextmanager

import torch
from comfy_api.latest import io, ui
from server import PromptServer

from ..depictqa_core.errors import DepictQAError, ImageError, TaskError
from ..depictqa_core.images import Picture, as_picture

DepictQAModel = io.Custom("DEPICTQA_MODEL")

MODEL_TOOLTIP = "The judge, from a Load DepictQA Model node."
IMAGES_TOOLTIP = "The pictures to judge: one, a batch, or a list of pictures of any sizes."
REFERENCE_TOOLTIP = (
    "Optional: the undistorted original. One picture for all, or one per picture in the same order. "
    "Leave it unlinked to judge without a reference."
)
REPORT_TOOLTIP = "Everything in one JSON text, one entry per answer."


def flatten(images: list[torch.Tensor] | None) -> list[torch.Tensor]:
    """All pictures of a list input one by one.

    Args:
        images: what an ``is_input_list`` node gets: batches ``[B, H, W, C]`` of any sizes, or None when unlinked.

    Returns:
        Views ``[1, H, W, C]`` in the order of the input; the pixels are the caller's own and must not be written to.
    """
    singles = []
    for item in images or []:
        if item is not None:
            batch = item if item.ndim == 4 else item[None]
            singles += batch.split(1)
    return singles


def to_pictures(singles: list[torch.Tensor], name: str, number: bool = True) -> list[Picture]:
    """Check the pictures of one input and name them "name 1", "name 2", ... (or just "name").

    Raises:
        ImageError: no picture arrived, or one cannot be judged; the message names it.
    """
    if not singles:
        raise ImageError(f"{name}: no picture arrived; link at least one.")
    return [as_picture(single, f"{name} {i}" if number else name) for i, single in enumerate(singles, start=1)]


def to_reference(images: list[torch.Tensor] | None, count: int) -> list[Picture] | None:
    """The checked pictures of a ``reference`` input for ``count`` judged ones; None when it is not linked.

    Raises:
        TaskError: neither one picture for all nor one per judged picture.
        ImageError: a picture cannot be judged.
    """
    singles = flatten(images)
    if not singles:
        return None
    if len(singles) not in (1, count):
        raise TaskError(
            f"reference: {len(singles)} pictures arrived for {count} to judge; link one for all, or one per picture."
        )
    return to_pictures(singles, "reference", number=len(singles) > 1)


def one(values: list):
    """The value of a widget of an ``is_input_list`` node, where every input arrives as a list."""
    return values[0]


def choice(value: str, options: list[str], name: str) -> str:
    """``value`` if it is one of ``options``; ComfyUI does not check the combo values of a graph itself.

    Raises:
        TaskError: it is none of them.
    """
    if value not in options:
        raise TaskError(f"{name}: {value!r} is not known; choose one of: {', '.join(options)}.")
    return value


def report(task: str, model, results: list[dict], **facts) -> str:
    """The JSON text of a ``report`` output: the task, the checkpoint's name, any further facts, and the answers."""
    content = {"task": task, "checkpoint": model.info.get("name"), **facts, "results": results}
    return json.dumps(content, indent=2, ensure_ascii=False)


def node_output(cls, *values, text: str) -> io.NodeOutput:
    """The node's output, with ``text`` shown under the node: at once by message, and kept in the run's history."""
    PromptServer.instance.send_progress_text(text, cls.hidden.unique_id)
    return io.NodeOutput(*values, ui=ui.PreviewText(text))


@contextmanager
def readable_errors():
    """Lets what the judge refuses appear at the node as its one line, without the inner workings below it."""
    try:
        yield
    except DepictQAError as error:
        raise ValueError(str(error)) from None
