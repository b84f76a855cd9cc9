"""The node that shows images, waits, and passes on those that were clicked."""

import math
from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..depictqa_core.images.image import RGBImage
from . import picks
from .inputs import (
    advanced,
    checked_images,
    choice,
    flatten,
    names_input,
    one,
    per_image,
    readable_errors,
    schema,
    to_reference,
)
from .passthrough import TYPES, Followers, branch, follower_inputs, follower_outputs
from .ui import Table, node_output, preview_files

PAGE, ALWAYS, NEVER = "for the page", "always", "never"
WAITS = [PAGE, ALWAYS, NEVER]
BEST, FIRST, ALL, NONE = "best by score", "first", "all", "none"
FALLBACKS = [BEST, FIRST, ALL, NONE]
FOLLOWING = tuple(TYPES)
FACTS = {
    "scores": (io.Float, "Optional: one score per image, higher is better. Shown with it, and used by the fallback."),
    "ranks": (io.Int, "Optional: one rank per image, 1 is best. Shown with it, and used where no scores are linked."),
}


class PickImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["choose images", "image picker", "image chooser", "select images", "preview chooser", "pause"],
            node_id="DepictQA_PickImages",
            display_name="Pick Images",
            category="DepictQA/select",
            description=(
                "Shows images on the node, pauses the run, and passes on those that you click. If nobody answers in "
                "time, or the run does not come from the page, it picks by score."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The images to pick from: a batch, or a list of any sizes."),
                io.Int.Input("most", default=0, min=0, max=100_000, tooltip="How many may be picked; 0 is any number."),
                io.Combo.Input(
                    "wait",
                    options=WAITS,
                    default=PAGE,
                    tooltip="for the page: wait in runs that were queued in ComfyUI's page; other runs use the "
                    "fallback at once. always: also wait in runs of programs, which answer over HTTP. never: always "
                    "use the fallback.",
                ),
                io.Int.Input(
                    "timeout",
                    default=600,
                    min=0,
                    max=604_800,
                    tooltip="How many seconds to wait before the fallback picks; 0 waits without end.",
                ),
                io.Combo.Input(
                    "fallback",
                    options=FALLBACKS,
                    default=BEST,
                    tooltip="What is picked when nobody answers. best by score: the images with the highest scores, "
                    "or the lowest ranks where no scores are linked. none: the branch stops silently.",
                ),
                io.Int.Input(
                    "fallback_count", default=1, min=1, max=100_000, tooltip="How many images the fallback picks."
                ),
                *(
                    kind.Input(name, optional=True, force_input=True, tooltip=tooltip)
                    for name, (kind, tooltip) in FACTS.items()
                ),
                *follower_inputs(FOLLOWING),
                names_input(),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Optional: the undistorted original. Link it here if it is linked to Collect Preferences.",
                ),
                io.Int.Input(
                    "again",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    optional=True,
                    tooltip="Another number asks again for images that you have picked from; the button Pick again "
                    "counts it up.",
                    **advanced(io.Int.Input),
                ),
            ],
            outputs=[
                io.Image.Output(
                    "picked_images",
                    display_name="picked_images",
                    is_output_list=True,
                    tooltip="The picked images, untouched, in the order in which you clicked them.",
                ),
                io.Int.Output(
                    "picked_indexes",
                    display_name="picked_indexes",
                    is_output_list=True,
                    tooltip="Position of each picked image in the input, from 0.",
                ),
                *follower_outputs("picked", FOLLOWING),
                io.Float.Output(
                    "picked_scores",
                    display_name="picked_scores",
                    is_output_list=True,
                    tooltip="What was linked to scores, in the order of picked_images.",
                ),
                io.String.Output(
                    "picked_names",
                    display_name="picked_names",
                    is_output_list=True,
                    tooltip="The names of the picked images.",
                ),
                io.Int.Output("picked_count", display_name="picked_count", tooltip="How many images were picked."),
                io.Boolean.Output(
                    "by_hand", display_name="by_hand", tooltip="True if somebody picked, False if the fallback did."
                ),
                io.String.Output(
                    "picked",
                    display_name="picked",
                    tooltip="The numbers of the picked images from 1, for picked of Collect Preferences; empty if the "
                    "fallback picked.",
                ),
                io.String.Output(
                    "picked_on",
                    display_name="picked_on",
                    tooltip="The code of the images that were shown, for picked_on of Collect Preferences.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        )

    @classmethod
    async def execute(
        cls,
        images: list[torch.Tensor],
        most: Sequence[int],
        wait: Sequence[str],
        timeout: Sequence[float],
        fallback: Sequence[str],
        fallback_count: Sequence[int],
        scores: list[float] | None = None,
        ranks: list[float] | None = None,
        names: list[str] | None = None,
        reference: list[torch.Tensor] | None = None,
        again: Sequence[object] | None = None,
        **following: list | None,
    ) -> io.NodeOutput:
        with readable_errors():
            singles = flatten(images)
            pictures = checked_images(singles, "image", names=names)
            count = len(pictures)
            points, places = _numbers("scores", scores, count), _numbers("ranks", ranks, count)
            followers = Followers(count, **{name: following.get(name) for name in FOLLOWING})
            references, notices = to_reference(reference, [tuple(pictures)])
            waits = choice(one(wait), WAITS, "wait")
            otherwise = _fallback(
                choice(one(fallback), FALLBACKS, "fallback"), one(fallback_count), count, points, places
            )
        workflow = (cls.hidden.extra_pnginfo or {}).get("workflow")
        files = preview_files(pictures)
        picked = None
        if waits == ALWAYS or (waits == PAGE and workflow):
            shown = [
                {"file": file, "name": picture.name, "score": score, "rank": rank}
                for file, picture, score, rank in zip(
                    files, pictures, points or [None] * count, places or [None] * count
                )
            ]
            place = {"node": cls.hidden.unique_id, "workflow": workflow and workflow.get("id"), "images": shown}
            picked = await picks.ask(count, one(most), one(timeout), place)
            late = "Nobody answered in time: the fallback picked"
        else:
            late = "Not waited for a pick: the fallback picked"
        by_hand, chosen = picked is not None, otherwise if picked is None else picked
        head = f"{'You picked' if by_hand else late} {len(chosen)} of {count} images"
        return node_output(
            cls,
            branch([singles[index] for index in chosen]),
            branch(chosen),
            *followers.choose(chosen),
            *Followers(count, scores=points).choose(chosen),
            branch([pictures[index].name for index in chosen]),
            len(chosen),
            by_hand,
            ", ".join(str(index + 1) for index in chosen) if by_hand else "",
            picks.code_of([*pictures, *(references or ())]),
            table=_table(pictures, chosen, points, places, [*notices, head]),
        )


def _numbers(name: str, values: list[float] | None, count: int) -> list[float | None] | None:
    """One value per image, None for one that is not a number; None where nothing is linked."""
    if values is None:
        return None
    return [None if math.isnan(value) else value for value in per_image(name, values, count)]


def _fallback(
    way: str, number: int, count: int, scores: list[float | None] | None, ranks: list[float | None] | None
) -> list[int]:
    """The indexes that are picked when nobody answers; equal images in the order of the input."""
    if way == NONE:
        return []
    order = list(range(count))
    if way == ALL:
        return order
    worth = scores or [None if rank is None else -rank for rank in ranks or ()]
    if way == BEST and worth:
        order.sort(key=lambda index: _or_least(worth[index]), reverse=True)
    return order[:number]


def _or_least(value: float | None) -> float:
    return -math.inf if value is None else value


def _table(
    pictures: Sequence[RGBImage],
    chosen: Sequence[int],
    scores: Sequence[float | None] | None,
    ranks: Sequence[float | None] | None,
    notes: Sequence[str],
) -> Table:
    rows = [
        [
            f"{chosen.index(index) + 1}" if index in chosen else "",
            picture.name,
            _shown(scores, index, ".1f"),
            _shown(ranks, index, ""),
        ]
        for index, picture in enumerate(pictures)
    ]
    return Table(["picked", "image", "score", "rank"], rows, [(picture,) for picture in pictures], notes, name=1)


def _shown(values: Sequence[float | None] | None, index: int, format_spec: str) -> str:
    value = None if values is None else values[index]
    return "" if value is None else format(value, format_spec)
