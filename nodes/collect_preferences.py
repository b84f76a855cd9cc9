"""The node that stores preferences as training records for a personal judge."""

import os
import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..depictqa_core.errors import TaskError
from ..depictqa_core.reports.sheets import Judged, quality_sheets
from ..depictqa_core.storage.file_names import below
from ..depictqa_core.storage.preferences import PAIRS, RECORDS, Preference, collect, levels, pairs_of, picked
from .image_outputs import drawn_output, to_batch
from .inputs import (
    advanced,
    checked_images,
    choice,
    flatten,
    one,
    readable_errors,
    schema,
    to_reference,
)
from .passthrough import branch
from .picks import code_of

PICKED, RATINGS, ORDER = "picked", "ratings", "order"
WAYS = [PICKED, RATINGS, ORDER]
MOST_PAIRS = 20_000
PACK = Path(__file__).absolute().parents[1]


class CollectPreferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["rate images", "human feedback", "preference data", "personal judge", "training data", "pick best"],
            node_id="DepictQA_CollectPreferences",
            display_name="Collect Preferences",
            category="DepictQA/train",
            description=(
                "Stores which images you prefer as training records, to fine-tune a personal judge on them. "
                "Nothing is recorded until you pick."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input(
                    "images", tooltip="The images to choose from: a batch, or a list of images of any size."
                ),
                io.Combo.Input(
                    "preference",
                    options=WAYS,
                    default=PICKED,
                    tooltip=(
                        "picked: the numbers in picked. ratings: the linked ratings, higher is better. "
                        "order: the images arrive best first, for example sorted by hand."
                    ),
                ),
                io.String.Input(
                    "picked",
                    default="",
                    tooltip=(
                        "Numbers of the images that you prefer, as shown on the node, best first: 3 or 3,"
                        " 1. All others count as worse. Empty: record nothing. A pick applies to the "
                        "images that the node showed when you made it."
                    ),
                ),
                io.Combo.Input(
                    "pairs",
                    options=list(PAIRS),
                    default=PAIRS[0],
                    tooltip=(
                        "Which pairs become records: all pairs, only the best image against the others, "
                        "or only adjacent images in the order."
                    ),
                ),
                io.Float.Input(
                    "margin",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.5,
                    tooltip="Ratings that differ by no more than this are a tie and make no record.",
                ),
                io.String.Input(
                    "collection",
                    default="preferences",
                    tooltip="Folder of the records, below depictqa in ComfyUI's output folder.",
                ),
                io.Float.Input(
                    "ratings",
                    optional=True,
                    force_input=True,
                    tooltip="Optional: one rating per image, higher is better (stars, points, scores).",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Optional: the undistorted original of all images.",
                ),
                io.String.Input(
                    "picked_on",
                    default="",
                    optional=True,
                    tooltip=(
                        "Identifies the images that you picked from. The node fills it in when you edit "
                        "picked. A pick is recorded only if the same images arrive."
                    ),
                    **advanced(io.String.Input),
                ),
            ],
            outputs=[
                io.Image.Output(
                    "best_images",
                    display_name="best_images",
                    is_output_list=True,
                    tooltip="The most preferred images, unchanged. Blocked while nothing is picked.",
                ),
                io.Int.Output(
                    "new_records", display_name="new_records", tooltip="How many records are new or changed."
                ),
                io.Int.Output(
                    "all_records", display_name="all_records", tooltip="How many records the folder now has."
                ),
                io.String.Output("folder", display_name="folder", tooltip="The folder with the training records."),
                io.String.Output(
                    "command",
                    display_name="command",
                    tooltip=(
                        "The command that fine-tunes a personal judge on this folder. Run it in a "
                        "terminal on this machine."
                    ),
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        images: list[torch.Tensor],
        preference: Sequence[str],
        picked: Sequence[str],
        pairs: Sequence[str],
        margin: Sequence[float],
        collection: Sequence[str],
        ratings: list[float] | None = None,
        reference: list[torch.Tensor] | None = None,
        picked_on: list[str] | None = None,
    ) -> io.NodeOutput:
        with readable_errors():
            singles = flatten(images)
            pictures = checked_images(singles, "image")
            references, notices = to_reference(reference, [tuple(pictures)])
            way = choice(one(preference), WAYS, "preference")
            name = below(one(collection).strip(), "collection")
            if not name:
                raise TaskError("collection: is empty; give a name such as preferences.")
            folder = os.path.join(folder_paths.get_output_directory(), "depictqa", *name.split("/"))
            code = code_of([*pictures, *(references or ())])
            stale = way == PICKED and not _picked_here((cls.hidden.unique_id, folder), one(picked), code, picked_on)
            found = [0] * len(pictures) if stale else _levels(way, one(picked), ratings, one(margin), len(pictures))
            kept, stand, same = _without_copies(pictures, found)
            chosen = pairs_of(stand, choice(one(pairs), list(PAIRS), "pairs"))
            if len(chosen) > MOST_PAIRS:
                raise TaskError(f"pairs: {len(chosen)} are too many for one run; choose neighbours.")
            beside = references and references[0]
            picks = [Preference(pictures[kept[better]], pictures[kept[worse]], beside) for better, worse in chosen]
            result = collect(folder, picks)
        decided = len(set(found)) > 1
        best = [single for single, level in zip(singles, found) if level == 0] if decided else []
        shown = [Judged(picture, _note(level, found)) for picture, level in zip(pictures, found)]
        lines = [
            f"{result.new} new, {result.changed} changed, {result.known} known already; {result.total} in all",
            os.path.join(folder, *RECORDS.split("/")),
        ]
        command = _command(folder)
        if result.total:
            install = f'"{sys.executable}" -m pip install --editable "{PACK}[training]"'
            lines += [
                f"To fine-tune a personal judge, run in a terminal on this machine (the first time, also {install}):",
                command,
            ]
        if stale:
            lines.insert(
                0,
                f"Nothing recorded: picked ({one(picked)}) was made on other images (picked_on {code}). Look at"
                " these images, then enter your pick in 'picked'.",
            )
        elif not decided:
            lines.insert(
                0, "Nothing recorded: no image is picked yet. Enter the numbers of the best images in 'picked'."
            )
        return drawn_output(
            cls,
            branch(best),
            result.new + result.changed,
            result.total,
            folder,
            command,
            images=[to_batch(quality_sheets(shown))],
            text="\n".join([*notices, *same, *lines]),
            depictqa_pick=[{"code": code, "stale": one(picked) if stale else None}],
        )


_shown: OrderedDict[tuple, tuple[str, str | None, str]] = OrderedDict()
"""The last state of each node, for picks without a code: its pick, the code of the images that it was made on, and
the code of the images shown last."""
MOST_SHOWN = 1000


def _picked_here(node: tuple, text: str, code: str, picked_on: list[str] | None) -> bool:
    """Return whether a pick was made on the images of this run.

    The front end sends the code of the images that it showed when the pick was edited. A pick without a code (from a
    link, or from a graph that a program queued) was made on the images that the node showed last before the pick
    changed. If the node has shown none and the graph has no ``picked_on``, the pick applies to the images of this run.

    Args:
        node: the node and its collection.
        text: the pick; an empty text is no pick, and never stale.
        code: the code of the images of this run.
        picked_on: the value of that input, None if the graph does not have it.
    """
    unseen = code if picked_on is None else None
    before = _shown.get(node, (None, unseen, unseen))
    made_on = before[1] if before[0] == text else before[2]
    _shown[node] = text, made_on, code
    _shown.move_to_end(node)
    if len(_shown) > MOST_SHOWN:
        _shown.popitem(last=False)
    return not text.strip() or ((picked_on and one(picked_on).strip()) or made_on) == code


def _levels(way: str, numbers: str, ratings: list[float] | None, margin: float, count: int) -> list[int]:
    """Return one level per image: 0 is best, and images of one level are equally good.

    Raises:
        TaskError: picks or ratings that do not fit the images.
    """
    if way == PICKED:
        return picked(count, numbers)
    if way == ORDER:
        return list(range(count))
    if ratings is None:
        raise TaskError("ratings: nothing is linked; link one rating per image, or choose another preference.")
    if len(ratings) != count:
        raise TaskError(f"ratings: {len(ratings)} values for {count} images; link one per image.")
    return levels(ratings, margin)


def _without_copies(pictures: list, found: list[int]) -> tuple[list[int], list[int], list[str]]:
    """Leave out copies: of equal images only the most preferred one is compared.

    Neither copy is better than the other, and otherwise a third image could be worse than one copy and better than the
    other.

    Returns:
        The indexes of the compared images, their levels without gaps, and a line for each copy left out.
    """
    kept: dict[str, int] = {}
    same = []
    for index in sorted(range(len(found)), key=lambda index: found[index]):
        best = kept.setdefault(pictures[index].key, index)
        if best != index:
            names = pictures[index].name, pictures[best].name
            same.append("{} is the same image as {}: left out, neither can be better".format(*names))
    indexes = sorted(kept.values())
    stand = sorted({found[index] for index in indexes})
    return indexes, [stand.index(found[index]) for index in indexes], same


def _command(folder: str) -> str:
    """Return the command that fine-tunes the bundled judge on the records of a folder.

    It uses the Python and the model folder of this ComfyUI, and the recipe in the folder of this pack.
    """
    output = os.path.join(folder_paths.get_folder_paths("depictqa")[0], "mine")
    recipe = os.path.join(PACK, "training", "recipes", "personal.yaml")
    return (
        f'cd "{PACK}" && "{sys.executable}" -m training train "{recipe}"'
        f' --data "{os.path.abspath(folder)}" --output "{os.path.abspath(output)}"'
    )


def _note(level: int, found: list[int]) -> str:
    """Return the caption of an image on the shown sheet."""
    return f"preferred: {level + 1}" if len(set(found)) > 1 and level < max(found) else ""
