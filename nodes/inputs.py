"""What all nodes share on their input side: types, tooltips, pictures, references, checked widgets, readable errors."""

import os
from contextlib import contextmanager

import folder_paths
import torch
from comfy_api.latest import io

from ..depictqa_core.errors import DepictQAError, ImageError, TaskError
from ..depictqa_core.images.image import Picture, as_picture
from ..depictqa_core.images.references import Fitted
from .ui import plain

DepictQAModel = io.Custom("DEPICTQA_MODEL")

MODEL_TOOLTIP = "The judge, from a Load DepictQA Model node."
IMAGES_TOOLTIP = "The pictures to judge: one, a batch, or a list of pictures of any sizes."
REFERENCE_TOOLTIP = (
    "Optional: the undistorted original. One picture for all, or one per picture in the same order. "
    "Leave it unlinked to judge without a reference."
)
NAMES_TOOLTIP = "Optional: what to call the pictures in tables, reports and errors, such as their file names; one each."


def schema(search_aliases: list[str], **fields) -> io.Schema:
    """A node's schema; other words to find the node by are given to those ComfyUI versions that know of them."""
    if "search_aliases" in io.Schema.__dataclass_fields__:
        fields["search_aliases"] = search_aliases
    return io.Schema(**fields)


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
            singles += [batch[i : i + 1] for i in range(len(batch))]  # split() makes one of none
    return singles


def names_input() -> io.String.Input:
    """The optional input ``names``, what the pictures are called."""
    return io.String.Input("names", optional=True, force_input=True, tooltip=NAMES_TOOLTIP)


def to_pictures(
    singles: list[torch.Tensor], name: str, number: bool = True, names: list[str] | None = None
) -> list[Picture]:
    """Check the pictures of one input and name them "name 1", "name 2", ... (or just "name", or by ``names``).

    Raises:
        ImageError: no picture arrived, or one cannot be judged; the message names it.
        TaskError: not one of ``names`` per picture.
    """
    if not singles:
        raise ImageError(f"{name}: no picture arrived; link at least one.")
    if names is None:
        names = [f"{name} {i}" if number else name for i in range(1, len(singles) + 1)]
    if len(names) != len(singles):
        raise TaskError(f"names: {len(names)} arrived for {len(singles)} pictures; link one per picture.")
    return [as_picture(single, str(called)) for single, called in zip(singles, names, strict=True)]


def to_reference(
    images: list[torch.Tensor] | None, judged: list[Picture | tuple[Picture, ...]]
) -> tuple[list[Picture] | None, list[str]]:
    """The checked pictures of a ``reference`` input, at the sizes of the pictures that they stand beside.

    Args:
        images: what arrived, None when the input is not linked.
        judged: the pictures, or the pairs of them, that one reference each is for.

    Returns:
        one reference per entry of ``judged`` (None when not linked), and lines on those that were resized and on those
        that seem to show another scene.

    Raises:
        TaskError: neither one picture for all nor one per judged picture.
        ImageError: a picture cannot be judged, or has another shape than the one that it is the reference of.
    """
    singles = flatten(images)
    if not singles:
        return None, []
    if len(singles) not in (1, len(judged)):
        raise TaskError(
            f"reference: {len(singles)} pictures arrived for {len(judged)} to judge; "
            "link one for all, or one per picture."
        )
    given = repeat(to_pictures(singles, "reference", number=len(singles) > 1), len(judged))
    references, fitted = [], {}
    for reference, pictures in zip(given, judged, strict=True):
        pictures = pictures if isinstance(pictures, tuple) else (pictures,)
        one = fitted.setdefault(reference.key, Fitted(reference))  # one for a whole batch is resized once
        references.append(one.beside(*pictures))
    return references, [notice for one in fitted.values() for notice in one.notices]


def repeat(items: list, count: int) -> list:
    """As many items as asked for, from as many or from one for all."""
    return items if len(items) == count else items * count


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


@contextmanager
def readable_errors():
    """Lets what the judge refuses appear at the node as its one line, without the inner workings below it."""
    try:
        yield
    except DepictQAError as error:
        raise ValueError(readable(str(error))) from None


def readable(message: str) -> str:
    """Write a message for the person at the node: plain text, its files named from ComfyUI's folders on
    (``input/a.png``), because where the server keeps these folders does not help."""
    roots = {
        folder_paths.get_input_directory(): "input",
        folder_paths.get_output_directory(): "output",
        folder_paths.get_temp_directory(): "temp",
    }
    for root in sorted(roots, key=len, reverse=True):  # one may lie in another
        for folder in (root, os.path.realpath(root)):
            start = os.path.join(folder, "")
            for written in (start, repr(start)[1:-1]):  # as it is, and with the doubled backslashes of a quoted one
                message = message.replace(written, f"{roots[root]}/")
    return plain(message)
