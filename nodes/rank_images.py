"""The node that sorts images from best to worst."""

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..depictqa_core.errors import TaskError
from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.reports.text import not_calibrated, pairs_asked, rank_marks
from ..depictqa_core.results import Ranking
from .inputs import (
    FOR_PROGRAMS,
    advanced,
    checked_images,
    choice,
    criterion_inputs,
    criterion_options,
    flatten,
    in_format,
    model_input,
    names_input,
    one,
    readable_errors,
    reference_input,
    report_format_input,
    schema,
    to_reference,
)
from .loaded_judge import LoadedJudge
from .passthrough import UNSCORED, Followers, follower_inputs, follower_outputs
from .ui import Table, node_output, percent, report

METHODS = ["pairs", "score"]


class RankImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["sort images", "best of N", "pick best", "top k", "image quality"],
            node_id="DepictQA_RankImages",
            display_name="Rank Images",
            category="DepictQA/select",
            description="Sorts images from best to worst and passes them on unchanged, all of them or the best few.",
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                io.Image.Input("images", tooltip="The images to rank: a batch, or a list of images of any size."),
                io.Combo.Input(
                    "method",
                    options=METHODS,
                    default="pairs",
                    tooltip="pairs: compare images in pairs, more precise. score: sort by score, faster.",
                ),
                io.Int.Input(
                    "top_k", default=0, min=0, max=100000, tooltip="How many of the best images to pass on. 0: all."
                ),
                io.Boolean.Input(
                    "with_reasons",
                    default=True,
                    tooltip="Also identify the distortions of each image and give the reason for its rank.",
                ),
                reference_input(),
                *follower_inputs(),
                io.Int.Input(
                    "budget",
                    default=0,
                    min=0,
                    max=1000000,
                    optional=True,
                    tooltip=(
                        "Maximum number of comparisons (pairs only). 0: all pairs for up to 12 images, "
                        "the most informative pairs for more."
                    ),
                    **advanced(io.Int.Input),
                ),
                io.Boolean.Input(
                    "stop_when_decided",
                    default=False,
                    optional=True,
                    tooltip=(
                        "Stop comparing as soon as the best top_k are decided with 95 % certainty (pairs "
                        "only). Faster for many images; the order below top_k is less precise."
                    ),
                    **advanced(io.Boolean.Input),
                ),
                names_input(),
                *criterion_inputs(),
                report_format_input(),
            ],
            outputs=[
                io.Image.Output(
                    "ranked_images",
                    display_name="ranked_images",
                    is_output_list=True,
                    tooltip="The images, unchanged, best first. Ties are in the order of the input.",
                ),
                io.Image.Output("best_image", display_name="best_image", tooltip="The best image alone."),
                io.Float.Output(
                    "scores",
                    display_name="scores",
                    is_output_list=True,
                    tooltip="Score of each ranked image, 0 to 100. A checkpoint that does not score stops here.",
                ),
                io.Float.Output(
                    "strengths",
                    display_name="strengths",
                    is_output_list=True,
                    tooltip="What the images are sorted by: Bradley-Terry strength (pairs) or score (score).",
                ),
                io.Int.Output(
                    "indexes",
                    display_name="indexes",
                    is_output_list=True,
                    tooltip="Index of each ranked image in the input, from 0.",
                ),
                io.String.Output(
                    "reasons",
                    display_name="reasons",
                    is_output_list=True,
                    tooltip="One sentence per ranked image, with more detail if with_reasons is on.",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="The whole ranking, independent of top_k, as report_format says.",
                ),
                io.Int.Output(
                    "ranks",
                    display_name="ranks",
                    is_output_list=True,
                    tooltip=(
                        "Rank of each ranked image: 1 + the number of significantly better images (95 % certainty)."
                    ),
                ),
                io.Float.Output(
                    "lows",
                    display_name="lows",
                    is_output_list=True,
                    tooltip="Lower end of the 95 % interval of each strength.",
                ),
                io.Float.Output(
                    "highs",
                    display_name="highs",
                    is_output_list=True,
                    tooltip="Upper end of the 95 % interval of each strength.",
                ),
                *follower_outputs("ranked"),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        method: Sequence[str],
        top_k: Sequence[int],
        with_reasons: Sequence[bool],
        reference: list[torch.Tensor] | None = None,
        latents: list[dict] | None = None,
        masks: list[torch.Tensor] | None = None,
        texts: list[str] | None = None,
        budget: Sequence[int] = (0,),
        stop_when_decided: Sequence[bool] = (False,),
        names: list[str] | None = None,
        criterion: Sequence[str] | None = None,
        prompt: Sequence[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            if one(top_k) < 0:
                raise TaskError(
                    f"top_k: {one(top_k)} is less than 0; give the number of images to pass on, or 0 for all."
                )
            options: dict[str, Any] = {
                "method": choice(one(method), METHODS, "method"),
                "reasons": bool(one(with_reasons)),
                "budget": one(budget) or None,
            }
            if one(stop_when_decided) and one(top_k):
                options["top_k"] = one(top_k)
            options |= criterion_options(criterion, prompt)
            singles = flatten(images)
            pictures = checked_images(singles, "image", names=names)
            followers = Followers(len(pictures), latents=latents, masks=masks, texts=texts)
            references, notices = to_reference(reference, pictures)
            ranking = judge.ask("rank", pictures, references, **options)
        notices += judge.doubts([ranking])
        top = ranking.pictures[: one(top_k) or None]
        indexes = [place.index for place in top]
        facts = ranking.to_dict()
        table = _table(ranking, pictures, notices)
        return node_output(
            cls,
            [singles[index] for index in indexes],
            singles[indexes[0]],
            [UNSCORED] if any(place.score is None for place in top) else [place.score for place in top],
            [place.strength for place in top],
            indexes,
            [place.reason for place in top],
            in_format(report_format, report("rank", judge, facts.pop("pictures"), notices, **facts), table),
            [place.rank for place in top],
            [place.low for place in top],
            [place.high for place in top],
            *followers.choose(indexes),
            table=table,
        )


def _table(ranking: Ranking, pictures: Sequence[RGBImage], notices: Sequence[str]) -> Table:
    rows = [
        [
            "" if place.score is None else f"{place.score:.1f}",
            f"{mark if '=' in mark else mark + '.'} {place.picture}",
            place.reason,
            f"{place.strength:.2f} ({place.low:.2f} to {place.high:.2f})",
        ]
        for place, mark in zip(ranking.pictures, rank_marks(ranking.pictures), strict=True)
    ]
    notes = [*notices]
    if ranking.comparisons:
        notes.append(
            f"{pairs_asked(ranking)}, mean difference of the two orders (A/B and B/A) {percent(ranking.disagreement)}"
        )
    notes += not_calibrated([ranking])
    shown = [(pictures[place.index],) for place in ranking.pictures]
    return Table(["score", "image", "", "strength"], rows, shown, notes, name=1)
