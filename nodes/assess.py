"""The nodes that judge every picture for itself: in words, or in points."""

from comfy_api.latest import io

from .sockets import (
    IMAGES_TOOLTIP,
    MODEL_TOOLTIP,
    REFERENCE_TOOLTIP,
    REPORT_TOOLTIP,
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

DETAILS = ["detailed", "brief"]


class DescribeImages(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DepictQA_DescribeImages",
            display_name="Describe Image Quality",
            category="DepictQA/assess",
            description="Says in words what is wrong with each picture, where, how badly, and how good it is overall.",
            is_input_list=True,
            inputs=[
                DepictQAModel.Input("model", tooltip=MODEL_TOOLTIP),
                io.Image.Input("images", tooltip=IMAGES_TOOLTIP),
                io.Combo.Input(
                    "detail",
                    options=DETAILS,
                    default="detailed",
                    tooltip="detailed: a few sentences. brief: the names of the most critical distortions only.",
                ),
                io.String.Input(
                    "question",
                    default="",
                    multiline=True,
                    tooltip="Your own question (detailed only). Empty: the question that the judge was trained on.",
                ),
                io.Int.Input(
                    "max_new_tokens",
                    default=400,
                    min=16,
                    max=2048,
                    tooltip="Longest answer (detailed only), in tokens of about three quarters of a word each.",
                ),
                io.Image.Input("reference", optional=True, tooltip=REFERENCE_TOOLTIP),
            ],
            outputs=[
                io.String.Output(
                    "descriptions", display_name="descriptions", is_output_list=True, tooltip="One text per picture."
                ),
                io.Float.Output(
                    "confidences",
                    display_name="confidences",
                    is_output_list=True,
                    tooltip="How sure each answer is, 0 to 1; NaN where the judge cannot tell.",
                ),
                io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, images, detail, question, max_new_tokens, reference=None) -> io.NodeOutput:
        model = one(model)
        with readable_errors():
            detailed = choice(one(detail), DETAILS, "detail") == "detailed"
            pictures = to_pictures(flatten(images), "image")
            references = to_reference(reference, len(pictures))
            if detailed:
                options = {"question": (one(question) or "").strip() or None, "max_new_tokens": one(max_new_tokens)}
                answers = model.ask("describe", pictures, references, **options)
            else:
                answers = model.ask("identify", pictures, references, count=None)
        return node_output(
            cls,
            [answer.text for answer in answers],
            [float("nan") if answer.confidence is None else answer.confidence for answer in answers],
            report("describe", model, [answer.to_dict() for answer in answers]),
            text="\n\n".join(f"{answer.picture}: {answer.text}" for answer in answers),
        )


class ScoreImages(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DepictQA_ScoreImages",
            display_name="Score Images",
            category="DepictQA/assess",
            description="Scores the quality of each picture from 0 (worst) to 100 (flawless), with its spread.",
            is_input_list=True,
            inputs=[
                DepictQAModel.Input("model", tooltip=MODEL_TOOLTIP),
                io.Image.Input("images", tooltip=IMAGES_TOOLTIP),
                io.Image.Input("reference", optional=True, tooltip=REFERENCE_TOOLTIP),
            ],
            outputs=[
                io.Float.Output(
                    "scores", display_name="scores", is_output_list=True, tooltip="One score per picture, 0 to 100."
                ),
                io.Float.Output(
                    "spreads",
                    display_name="spreads",
                    is_output_list=True,
                    tooltip="Standard deviation of each score, in points: large where the judge wavers.",
                ),
                io.Float.Output(
                    "confidences",
                    display_name="confidences",
                    is_output_list=True,
                    tooltip="How sure each score is, 0 to 1.",
                ),
                io.String.Output("report", display_name="report", tooltip=REPORT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, images, reference=None) -> io.NodeOutput:
        model = one(model)
        with readable_errors():
            pictures = to_pictures(flatten(images), "image")
            answers = model.ask("score", pictures, to_reference(reference, len(pictures)))
        return node_output(
            cls,
            [answer.score for answer in answers],
            [answer.spread for answer in answers],
            [answer.confidence for answer in answers],
            report("score", model, [answer.to_dict() for answer in answers]),
            text="\n".join(f"{answer.picture}: {answer.score:.1f} ± {answer.spread:.1f}" for answer in answers),
        )
