"""The node that compares models, LoRAs, samplers or prompts by their images."""

from collections import Counter
from collections.abc import Sequence
from string import ascii_uppercase

import torch
from comfy_api.latest import io

from ..depictqa_core.errors import NothingToCompare, TaskError
from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.ranking.leaderboard import FairPair, fair_pairs, leaderboard, unpaired
from ..depictqa_core.reports import json_csv
from ..depictqa_core.reports import text as reports
from ..depictqa_core.reports.charts import leaderboard_chart
from ..depictqa_core.results import Leaderboard
from .image_outputs import drawn_output, to_image
from .inputs import (
    FOR_PROGRAMS,
    checked_images,
    flatten,
    in_format,
    model_input,
    one,
    readable_errors,
    report_format_input,
    schema,
    to_reference,
)
from .loaded_judge import LoadedJudge
from .ui import Table, percent, report

MORE = ("images_2", "images_3", "images_4")


class CompareModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["leaderboard", "model comparison", "LoRA comparison", "sampler comparison", "Bradley-Terry", "XY plot"],
            node_id="DepictQA_CompareModels",
            display_name="Compare Models",
            category="DepictQA/assess",
            description=(
                "Finds out which model, LoRA, sampler or prompt makes the better images. Compares only images"
                " of the same prompt and seed, in both orders, and makes a leaderboard with 95 % intervals."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                io.Image.Input("images", tooltip="Images of the first model, or of all models: a batch, or a list."),
                io.String.Input(
                    "labels",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip=(
                        "Names of the models, one per line (or a linked list): one label per linked image"
                        " input, or one per image. Empty: A, B, ... for the linked image inputs."
                    ),
                ),
                *(io.Image.Input(name, optional=True, tooltip="Optional: images of another model.") for name in MORE),
                io.String.Input(
                    "groups",
                    optional=True,
                    force_input=True,
                    tooltip=(
                        "Optional: what each image was made from (prompt, seed, file name), one per "
                        "image. Only images of the same group are compared. Unlinked: the first image of "
                        "a label is compared with the first image of every other label, the second with "
                        "the second, and so on."
                    ),
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Optional: the undistorted originals. One for all, one per prompt, or one per image.",
                ),
                report_format_input(),
            ],
            outputs=[
                io.String.Output("best_label", display_name="best_label", tooltip="The label in first place."),
                io.String.Output(
                    "ranked_labels", display_name="ranked_labels", is_output_list=True, tooltip="Labels, best first."
                ),
                io.Float.Output(
                    "strengths",
                    display_name="strengths",
                    is_output_list=True,
                    tooltip="Bradley-Terry strength of each ranked label, in log odds, mean 0.",
                ),
                io.Image.Output("chart", display_name="chart", tooltip="The leaderboard as an image."),
                io.String.Output("table", display_name="table", tooltip="The leaderboard as text."),
                io.String.Output("csv", display_name="csv", tooltip="The leaderboard as CSV."),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="The leaderboard as a Markdown table; as JSON also the win rates of all pairs of labels "
                    "and every comparison (report_format).",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        labels: Sequence[str] = (),
        groups: list[str] | None = None,
        reference: list[torch.Tensor] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
        **more: list[torch.Tensor] | None,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            linked = [given for given in (images, *(more.get(key) for key in MORE)) if given]
            singles = [single for given in linked for single in flatten(given)]
            pictures = checked_images(singles, "image")
            named = _labels(labels, linked, len(singles))
            pairs = _pairs(named, groups)
            asked = [(pictures[pair.a], pictures[pair.b]) for pair in pairs]
            references, notices = to_reference(_per_pair(reference, pairs, len(singles)), asked)
            answers = judge.ask("compare_many", asked, references)
            board = leaderboard(named, pairs, answers, calibration=judge.order_calibration(references is not None))
        notices = [*notices, *judge.doubts(answers), *_notices(named, groups, pairs, pictures)]
        facts = board.to_dict()
        comparisons = [
            {"group": pair.group, "label_a": named[pair.a], "label_b": named[pair.b], **answer.to_dict()}
            for pair, answer in zip(pairs, answers, strict=True)
        ]
        chart = to_image(leaderboard_chart(board))
        table = reports.leaderboard_table(board)
        standings = facts.pop("standings")
        ranked = [standing for standing in board.standings if standing.rank is not None]
        shown = _table(board, named, pictures, notices)
        written = report("compare_models", judge, standings, notices, **facts, pairs=comparisons)
        return drawn_output(
            cls,
            ranked[0].label,
            [standing.label for standing in ranked],
            [standing.strength for standing in ranked],
            chart,
            table,
            json_csv.csv_text(standings),
            in_format(report_format, written, shown),
            images=[chart],
            text="\n".join([*notices, table]),
            table=shown,
        )


def _labels(labels: Sequence[str], linked: list[list], count: int) -> list[str]:
    """Return one label per image, from one label per image, per linked input or per batch.

    Args:
        labels: the texts of the input, with any number of lines each.
        linked: the batches of every linked image input.
        count: the total number of images.

    Raises:
        TaskError: the number of labels fits none of them.
    """
    lines = [line.strip() for text in labels for line in str(text).splitlines() if line.strip()]
    if not lines and len(linked) > 1:
        lines = list(ascii_uppercase[: len(linked)])
    if len(lines) == count:
        return lines
    inputs = [len(flatten(batches)) for batches in linked]
    for sizes in (inputs, [len(flatten([batch])) for batches in linked for batch in batches]):
        if len(lines) == len(sizes) > 1:
            return [label for label, size in zip(lines, sizes, strict=True) for _ in range(size)]
    per_input = f", or {len(inputs)}, one per linked input of images" if len(inputs) > 1 else ""
    raise TaskError(f"labels: {len(lines)} values for {count} images; give {count}, one per image{per_input}.")


def _pairs(labels: list[str], groups: list[str] | None) -> list[FairPair]:
    """Return ``fair_pairs``; if there are no pairs, the error also says what to link."""
    try:
        return fair_pairs(labels, groups)
    except NothingToCompare as error:
        if groups is None:
            raise
        raise TaskError(
            f"{error}; link values that are equal for images of the same prompt and seed: of Load Images From Folder "
            f"base_names, not names, which contain the folder (here the first group is {groups[0]!r})"
        ) from None


def _notices(labels: list[str], groups: list[str] | None, pairs: list, pictures: list) -> list[str]:
    """List images that were not compared, and warn if images were paired by position but some seem to be missing."""
    alone = unpaired(len(pictures), pairs)
    if not alone:
        return []
    names = [f"{pictures[i].name} ({labels[i]}{'' if groups is None else f', {groups[i]}'})" for i in alone]
    notices = [f"Not compared, because no other label has an image of the same prompt and seed: {', '.join(names)}."]
    if groups is None:
        counts = ", ".join(f"{label} {number}" for label, number in Counter(labels).items())
        notices.append(
            f"The labels have different numbers of images ({counts}), so images were paired by position: if one is "
            "missing in the middle, images of different prompts were compared. Link groups (base_names of Load Images "
            "From Folder)."
        )
    return notices


def _per_pair(reference: list[torch.Tensor] | None, pairs: Sequence[FairPair], count: int) -> list[torch.Tensor] | None:
    """Return one reference per pair, from one per image or per group; otherwise the input as it is."""
    singles = flatten(reference)
    groups = list(dict.fromkeys(pair.group for pair in pairs))
    if len(singles) == count:
        return [singles[pair.a] for pair in pairs]
    if len(singles) == len(groups):
        return [singles[groups.index(pair.group)] for pair in pairs]
    return reference


def _table(board: Leaderboard, labels: list[str], pictures: Sequence[RGBImage], notices: Sequence[str]) -> Table:
    rows = [
        [s.label, mark, percent(s.win_share), f"{s.wins}-{s.ties}-{s.losses}", f"{s.strength:+.2f}"]
        + [f"{s.low:+.2f} to {s.high:+.2f}"]
        if s.rank is not None
        else [s.label, mark, "", "not compared", "", ""]
        for s, mark in zip(board.standings, reports.rank_marks(board.standings), strict=True)
    ]
    first = [(pictures[labels.index(standing.label)],) for standing in board.standings]
    columns = ["label", "rank", "win rate", "won-tied-lost", "strength", "95 % interval"]
    return Table(columns, rows, first, [*notices, *reports.leaderboard_notes(board)])
