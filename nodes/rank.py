"""The node that orders pictures from best to worst."""

from comfy_api.latest import io

from ..depictqa_core.errors import TaskError
from .sockets import (
    MODEL_TOOLTIP,
    REFERENCE_TOOLTIP,
    DepictQAModel,
    choice,
    flatten,
    node_output,
    one,
    readable_errors,
    report,
    to_pictures,
    to_reference,
)

METHODS = ["pairs", "score"]


class RankImages(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DepictQA_RankImages",
            display_name="Rank Images",
            category="DepictQA/select",
            description="Sorts pictures from best to worst and passes them on untouched, all of them or the best few.",
            is_input_list=True,
            inputs=[
                DepictQAModel.Input("model", tooltip=MODEL_TOOLTIP),
                io.Image.Input("images", tooltip="The pictures to rank: a batch, or a list of pictures of any sizes."),
                io.Combo.Input(
                    "method",
                    options=METHODS,
                    default="pairs",
                    tooltip="pairs: compare pictures two by two, the finer way. score: order by score, the faster way.",
                ),
                io.Int.Input(
                    "top_k", default=0, min=0, max=100000, tooltip="How many of the best to pass on; 0 passes all."
                ),
                io.Boolean.Input(
                    "with_reasons",
                    default=True,
                    tooltip="Also find out what is wrong with each picture, and say why it stands where it stands.",
                ),
                io.Image.Input("reference", optional=True, tooltip=REFERENCE_TOOLTIP),
            ],
            outputs=[
                io.Image.Output(
                    "ranked_images",
                    display_name="ranked_images",
                    is_output_list=True,
                    tooltip="The pictures, untouched, best first; ties in the order of the input.",
                ),
                io.Image.Output("best_image", display_name="best_image", tooltip="The best picture alone."),
                io.Float.Output(
                    "scores",
                    display_name="scores",
                    is_output_list=True,
                    tooltip="Score of each ranked picture, 0 to 100; NaN where the checkpoint was not taught to score.",
                ),
                io.Float.Output(
                    "strengths",
                    display_name="strengths",
                    is_output_list=True,
                    tooltip="What the order was made from: Bradley-Terry strength (pairs) or the score (score).",
                ),
                io.Int.Output(
                    "indexes",
                    display_name="indexes",
                    is_output_list=True,
                    tooltip="Place of each ranked picture in the input, from 0.",
                ),
                io.String.Output(
                    "reasons",
                    display_name="reasons",
                    is_output_list=True,
                    tooltip="One sentence per ranked picture, fuller when with_reasons is on.",
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="The whole ranking in one JSON text, whatever top_k is."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, images, method, top_k, with_reasons, reference=None) -> io.NodeOutput:
        model = one(model)
        with readable_errors():
            if one(top_k) < 0:
                raise TaskError(f"top_k: {one(top_k)} is less than 0; give how many to pass on, or 0 for all.")
            singles = flatten(images)
            pictures = to_pictures(singles, "image")
            ranking = model.ask(
                "rank",
                pictures,
                to_reference(reference, len(pictures)),
                method=choice(one(method), METHODS, "method"),
                reasons=bool(one(with_reasons)),
            )
        top = ranking.pictures[: one(top_k) or None]
        facts = ranking.to_dict()
        return node_output(
            cls,
            [singles[place.index] for place in top],
            singles[top[0].index],
            [float("nan") if place.score is None else place.score for place in top],
            [place.strength for place in top],
            [place.index for place in top],
            [place.reason for place in top],
            report("rank", model, facts.pop("pictures"), **facts),
            text="\n".join(_line(place) for place in ranking.pictures),
        )


def _line(place) -> str:
    score = "" if place.score is None else f" ({place.score:.1f})"
    return f"{place.rank}. {place.picture}{score}" + (f": {place.reason}" if place.reason else "")
