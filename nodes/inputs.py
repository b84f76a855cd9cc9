"""Inputs that nodes share: types, tooltips, images, references, checked widgets, readable errors."""

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import folder_paths
import torch
from comfy_api.latest import io

from ..depictqa_core.errors import DepictQAError, ImageError, TaskError
from ..depictqa_core.images.image import RGBImage, as_image
from ..depictqa_core.images.references import Fitted
from .ui import Table, plain

_Value = TypeVar("_Value")
DepictQAModel = io.Custom("DEPICTQA_MODEL")
MARKDOWN, JSON = "markdown", "json"
FOR_PROGRAMS = (JSON,)
"""The format of a report where a graph says nothing of it."""

MODEL_TOOLTIP = "The judge, from a Load DepictQA Model node."
IMAGES_TOOLTIP = "The images to judge: one image, a batch, or a list of images of any size."
REFERENCE_TOOLTIP = (
    "Optional: the undistorted original. One image for all, or one per image in the same order. "
    "Leave it unlinked to judge without a reference."
)
CRITERION_TOOLTIP = (
    "Judge by this, such as 'sharpness of the eyes'. Needs a vision-language model. Empty: image quality."
)
PROMPT_TOOLTIP = "Judge how well the images show this. Needs a vision-language model. Empty: image quality."
NAMES_TOOLTIP = "Optional: names of the images for tables, reports and errors, such as their file names. One per image."


def schema(search_aliases: list[str], **fields: Any) -> io.Schema:
    """Return a node's schema, with search aliases on ComfyUI versions that support them."""
    if "search_aliases" in io.Schema.__dataclass_fields__:
        fields["search_aliases"] = search_aliases
    return io.Schema(**fields)


def flatten(images: list[torch.Tensor] | None) -> list[torch.Tensor]:
    """Split the batches of a list input into single images.

    Args:
        images: the input of an ``is_input_list`` node: batches ``[B, H, W, C]`` of any size, or None if unlinked.

    Returns:
        Views ``[1, H, W, C]`` in the order of the input. Do not write to them: they share memory with the input.
    """
    singles = []
    for item in images or []:
        if item is not None:
            batch = item if item.ndim == 4 else item[None]
            singles += [batch[i : i + 1] for i in range(len(batch))]  # split() makes one of none
    return singles


def model_input() -> Any:
    """The input ``model``, which every judging node has first."""
    return DepictQAModel.Input("model", tooltip=MODEL_TOOLTIP)


def images_input() -> io.Image.Input:
    """The input ``images``, what is judged."""
    return io.Image.Input("images", tooltip=IMAGES_TOOLTIP)


def reference_input() -> io.Image.Input:
    """The optional input ``reference``, the undistorted originals."""
    return io.Image.Input("reference", optional=True, tooltip=REFERENCE_TOOLTIP)


def names_input() -> io.String.Input:
    """Return the optional input ``names`` with the names of the images."""
    return io.String.Input("names", optional=True, force_input=True, tooltip=NAMES_TOOLTIP)


def criterion_inputs() -> list:
    """The optional inputs ``criterion`` and ``prompt``: what images are judged by in place of their quality."""
    return [
        io.String.Input("criterion", default="", optional=True, tooltip=CRITERION_TOOLTIP),
        io.String.Input("prompt", default="", multiline=True, optional=True, tooltip=PROMPT_TOOLTIP),
    ]


def criterion_options(criterion: Sequence[str] | None, prompt: Sequence[str] | None) -> dict[str, str]:
    """The values of ``criterion_inputs`` as arguments of the judge; empty ones are left out."""
    given = {"criterion": criterion, "prompt": prompt}
    texts = {name: (one(value) or "").strip() for name, value in given.items() if value}
    return {name: text for name, text in texts.items() if text}


def report_format_input() -> io.Combo.Input:
    """The optional input ``report_format``; a graph without it gets what it got before there was one."""
    return io.Combo.Input(
        "report_format",
        options=[MARKDOWN, JSON],
        default=MARKDOWN,
        optional=True,
        tooltip="What report is: a table to read (markdown), or all answers for a program (json).",
        **advanced(io.Combo.Input),
    )


def in_format(report_format: Sequence[str], report: str, table: Table) -> str:
    """The value of a ``report`` output.

    Args:
        report_format: what an ``is_input_list`` node gets from ``report_format_input``.
        report: all answers as JSON.
        table: the same to read.

    Raises:
        ValueError: an unknown format.
    """
    with readable_errors():
        return report if choice(one(report_format), [MARKDOWN, JSON], "report_format") == JSON else table.to_markdown()


def advanced(kind: type) -> dict[str, bool]:
    """The mark of an input that few need, for those ComfyUI versions that fold such inputs away."""
    return {"advanced": True} if "advanced" in inspect.signature(kind).parameters else {}


def checked_images(
    singles: list[torch.Tensor], name: str, number: bool = True, names: list[str] | None = None
) -> list[RGBImage]:
    """Check the images of one input and name them "name 1", "name 2", ... (or just "name", or by ``names``).

    Raises:
        ImageError: there is no image, or one cannot be judged; the message names it.
        TaskError: the number of ``names`` differs from the number of images.
    """
    if not singles:
        raise ImageError(f"{name}: no image arrived; link at least one.")
    if names is None:
        names = [f"{name} {i}" if number else name for i in range(1, len(singles) + 1)]
    if len(names) != len(singles):
        raise TaskError(f"names: {len(names)} values for {len(singles)} images; link one per image.")
    return [as_image(single, str(called)) for single, called in zip(singles, names, strict=True)]


def to_reference(
    images: list[torch.Tensor] | None, judged: list[RGBImage | tuple[RGBImage, ...]]
) -> tuple[list[RGBImage] | None, list[str]]:
    """Check the images of a ``reference`` input and resize them to the sizes of the judged images.

    Args:
        images: the value of the input, None if it is not linked.
        judged: the images, or pairs of images, that need one reference each.

    Returns:
        One reference per entry of ``judged`` (None if not linked), and lines on references that were resized or that
        seem to show another scene.

    Raises:
        TaskError: there is neither one reference for all nor one per judged image.
        ImageError: a reference cannot be judged, or has another aspect ratio than its image.
    """
    singles = flatten(images)
    if not singles:
        return None, []
    if len(singles) not in (1, len(judged)):
        raise TaskError(
            f"reference: {len(singles)} references for {len(judged)} images; link one for all, or one per image."
        )
    given = repeat(checked_images(singles, "reference", number=len(singles) > 1), len(judged))
    references: list[RGBImage] = []
    fitted: dict[str, Fitted] = {}
    for reference, pictures in zip(given, judged, strict=True):
        pictures = pictures if isinstance(pictures, tuple) else (pictures,)
        one = fitted.setdefault(reference.key, Fitted(reference))  # a reference for a whole batch is resized once
        references.append(one.beside(*pictures))
    return references, [notice for one in fitted.values() for notice in one.notices]


def repeat(items: list[_Value], count: int) -> list[_Value]:
    """Repeat a single item ``count`` times; return a list of ``count`` items as it is."""
    return items if len(items) == count else items * count


def per_image(name: str, values: list[_Value], count: int) -> list[_Value]:
    """Return one value for each of ``count`` images; a single one stands for all.

    Raises:
        TaskError: there are neither ``count`` values nor one; ``name`` is the input.
    """
    if len(values) not in (1, count):
        raise TaskError(f"{name}: {len(values)} values for {count} images; link one per image, or one for all.")
    return repeat(values, count)


def one(values: Sequence[_Value]) -> _Value:
    """Return the value of a widget of an ``is_input_list`` node, which gets every input as a list."""
    return values[0]


def choice(value: str, options: list[str], name: str) -> str:
    """Return ``value`` if it is one of ``options``; ComfyUI does not check the combo values of a graph.

    Raises:
        TaskError: it is not an option.
    """
    if value not in options:
        raise TaskError(f"{name}: {value!r} is not known; choose one of: {', '.join(options)}.")
    return value


@contextmanager
def readable_errors() -> Iterator[None]:
    """Show errors of the judge at the node as one line, without a traceback."""
    try:
        yield
    except DepictQAError as error:
        raise ValueError(readable(str(error))) from None


def readable(message: str) -> str:
    """Make a message readable at the node: plain text, with paths relative to ComfyUI's folders (``input/a.png``)."""
    roots = {
        folder_paths.get_input_directory(): "input",
        folder_paths.get_output_directory(): "output",
        folder_paths.get_temp_directory(): "temp",
    }
    for root in sorted(roots, key=len, reverse=True):  # one may be inside another
        for folder in (root, os.path.realpath(root)):
            start = os.path.join(folder, "")
            for written in (start, repr(start)[1:-1]):  # as it is, and quoted with doubled backslashes
                message = message.replace(written, f"{roots[root]}/")
    return plain(message)
