"""The node that compares two images."""

from collections.abc import Sequence

import numpy as np
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from PIL import Image

from ..depictqa_core.errors import TaskError
from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.reports.difference_map import difference_map as drawn_differences
from ..depictqa_core.results import Comparison, Identification
from ..depictqa_core.tasks import IDENTIFICATION, NONE
from .image_outputs import to_image
from .inputs import (
    FOR_PROGRAMS,
    checked_images,
    criterion_inputs,
    criterion_options,
    flatten,
    in_format,
    model_input,
    one,
    readable_errors,
    repeat,
    report_format_input,
    schema,
    to_reference,
)
from .loaded_judge import LoadedJudge
from .ui import SHOWN_ROWS, Table, node_output, percent, preview_files, report, report_output


class CompareImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["which is better", "A/B test", "pairwise", "image quality"],
            node_id="DepictQA_CompareImages",
            display_name="Compare Image Quality",
            category="DepictQA/assess",
            description=(
                "Compares two images: which one is better, with which probability, and why. Every pair is "
                "compared in both orders (A/B and B/A). Batches and lists are compared pair by pair. For a "
                "tie, image A is passed on."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                io.Image.Input("image_a", tooltip="Image A; one for all pairs, or one per pair."),
                io.Image.Input("image_b", tooltip="Image B; one for all pairs, or one per pair."),
                io.Boolean.Input(
                    "explain",
                    default=True,
                    tooltip="Also explain the verdict in words. Off is faster; the verdict is the same.",
                ),
                io.String.Input(
                    "question",
                    default="",
                    multiline=True,
                    tooltip=(
                        "Your own wording of the question which image is better. Empty: the default "
                        "question. The bundled model supports only its training questions."
                    ),
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Optional: the undistorted original. One image for all pairs, or one per pair.",
                ),
                *criterion_inputs(),
                report_format_input(),
                io.Boolean.Input(
                    "difference_map",
                    default=True,
                    optional=True,
                    tooltip="Also draw where A and B differ, or where each differs from the reference.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "winners",
                    display_name="winners",
                    is_output_list=True,
                    tooltip="The better image of each pair, unchanged. A for a tie.",
                ),
                io.Boolean.Output(
                    "a_wins",
                    display_name="a_wins",
                    is_output_list=True,
                    tooltip="True if A is better or the two tie.",
                ),
                io.String.Output(
                    "verdicts", display_name="verdicts", is_output_list=True, tooltip="A, B or tie, for each pair."
                ),
                io.Float.Output(
                    "probabilities",
                    display_name="probabilities",
                    is_output_list=True,
                    tooltip="Probability that A is better, 0 to 1: the mean over both orders.",
                ),
                io.Float.Output(
                    "confidences",
                    display_name="confidences",
                    is_output_list=True,
                    tooltip="Probability that the more probable winner is better, 0.5 to 1.",
                ),
                io.Float.Output(
                    "disagreements",
                    display_name="disagreements",
                    is_output_list=True,
                    tooltip=(
                        "Position bias, 0 to 1: how much the probability differs between A/B and B/A. Do "
                        "not trust a verdict with a large one."
                    ),
                ),
                io.String.Output(
                    "explanations",
                    display_name="explanations",
                    is_output_list=True,
                    tooltip="The explanation of each verdict. Empty if explain is off.",
                ),
                report_output(),
                io.Image.Output(
                    "difference_maps",
                    display_name="difference_maps",
                    is_output_list=True,
                    tooltip=(
                        "For each pair, a heat map of where A and B differ; with a reference, of where A and where B "
                        "differs from it. Blocked if difference_map is off or the aspect ratios differ."
                    ),
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        image_a: list[torch.Tensor],
        image_b: list[torch.Tensor],
        explain: Sequence[bool],
        question: Sequence[str],
        reference: list[torch.Tensor] | None = None,
        criterion: Sequence[str] | None = None,
        prompt: Sequence[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
        difference_map: Sequence[bool] = (False,),
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            singles_a, singles_b = flatten(image_a), flatten(image_b)
            count = max(len(singles_a), len(singles_b))
            pictures_a = checked_images(singles_a, "image A", number=len(singles_a) > 1)
            pictures_b = checked_images(singles_b, "image B", number=len(singles_b) > 1)
            if {len(pictures_a), len(pictures_b)} - {1, count}:
                raise TaskError(
                    f"image_a and image_b: {len(pictures_a)} and {len(pictures_b)} images arrived; link as many of "
                    "one as of the other, or a single image to compare with all."
                )
            pairs = list(zip(repeat(pictures_a, count), repeat(pictures_b, count), strict=True))
            references, notices = to_reference(reference, pairs)
            about = criterion_options(criterion, prompt)
            options = {"explain": bool(one(explain)), "question": (one(question) or "").strip() or None}
            answers = judge.ask("compare_many", pairs, references, **(about or options))
            found: list[list[Identification | None]] = [[None] * count] * 2
            if one(explain) and not about and IDENTIFICATION.name in judge.tasks:
                found = [judge.ask("identify", list(side), references, count=None) for side in zip(*pairs, strict=True)]
        notices += judge.doubts(answers)
        maps: list[Image.Image | None] = [None] * count
        if one(difference_map):
            maps = _maps(pairs, references)
        if one(difference_map) and None in maps:
            notices.append(f"{maps.count(None)} of {count} without a difference map: the aspect ratios differ")
        a_wins = [answer.verdict != "B" for answer in answers]
        singles = zip(repeat(singles_a, count), repeat(singles_b, count), a_wins, strict=True)
        rows = [
            [
                f"{answer.picture_a} or {answer.picture_b}",
                _verdict(answer),
                percent(answer.confidence),
                percent(answer.disagreement),
                answer.text or "",
            ]
            for answer in answers
        ]
        table = Table(["images", "", "confidence", "disagreement", ""], rows, pairs, notices)
        return node_output(
            cls,
            [a if wins else b for a, b, wins in singles],
            a_wins,
            [answer.verdict for answer in answers],
            [answer.probability_a for answer in answers],
            [answer.confidence for answer in answers],
            [answer.disagreement for answer in answers],
            [answer.text or "" for answer in answers],
            in_format(report_format, report("compare", judge, [a.to_dict() for a in answers], notices), table),
            [ExecutionBlocker(None) if page is None else to_image(page) for page in maps],
            table=table,
            pairs=_views(pairs, answers, found[0], found[1], maps),
        )


def _views(
    pairs: Sequence[tuple[RGBImage, RGBImage]],
    answers: Sequence[Comparison],
    found_a: Sequence[Identification | None],
    found_b: Sequence[Identification | None],
    maps: Sequence[Image.Image | None],
) -> list[dict]:
    """What web/js/compare.js draws of each of the first pairs: the images, the verdict, what is wrong with each."""
    return [
        {
            "a": preview_a,
            "b": preview_b,
            "name_a": answer.picture_a,
            "name_b": answer.picture_b,
            "found_a": _wrong(one_a),
            "found_b": _wrong(one_b),
            "verdict": answer.verdict,
            "probability_a": answer.probability_a,
            "disagreement": answer.disagreement,
            "text": answer.text,
            "difference": page and preview_files([RGBImage(np.asarray(page), "differences")])[0],
        }
        for pair, answer, one_a, one_b, page in zip(pairs[:SHOWN_ROWS], answers, found_a, found_b, maps, strict=False)
        for preview_a, preview_b in [preview_files(pair)]
    ]


def _maps(
    pairs: Sequence[tuple[RGBImage, RGBImage]], references: Sequence[RGBImage] | None
) -> list[Image.Image | None]:
    """The difference map of each pair; None where the aspect ratios differ."""
    return [
        drawn_differences(a, b, reference)
        for (a, b), reference in zip(pairs, references or [None] * len(pairs), strict=True)
    ]


def _wrong(found: Identification | None) -> str | None:
    """What is wrong with an image, such as ``"blur, noise (62%)"``; None if the judge was not asked."""
    return None if found is None else f"{', '.join(found.labels) or NONE} ({percent(found.confidence)})"


def _verdict(answer: Comparison) -> str:
    return {"A": f"{answer.picture_a} is better", "B": f"{answer.picture_b} is better", "tie": "a tie"}[answer.verdict]
