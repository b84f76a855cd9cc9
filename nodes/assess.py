"""The nodes that judge single images: Identify Distortions, Describe Image Quality, Score Images."""

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..depictqa_core.reports.text import not_calibrated
from ..depictqa_core.results import Identification
from .inputs import (
    FOR_PROGRAMS,
    advanced,
    checked_images,
    choice,
    criterion_inputs,
    criterion_options,
    flatten,
    images_input,
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
from .ui import Table, node_output, percent, probabilities_json, report, report_output, stream

DETAILS = ["detailed", "brief"]
COUNTS = {"any": None, "1": 1, "2": 2}
SHOWN_LABELS = 3


class IdentifyDistortions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["defects", "artifacts", "noise blur detection", "image quality"],
            node_id="DepictQA_IdentifyDistortions",
            display_name="Identify Distortions",
            category="DepictQA/assess",
            description="Names the distortions of each image (noise, blur, compression, ...), with probabilities.",
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                images_input(),
                io.Combo.Input(
                    "count",
                    options=list(COUNTS),
                    default="any",
                    tooltip="How many distortions to name: the one or two most critical, or as many as are found.",
                ),
                reference_input(),
                names_input(),
                report_format_input(),
            ],
            outputs=[
                io.String.Output(
                    "distortions",
                    display_name="distortions",
                    is_output_list=True,
                    tooltip="The distortions of each image, such as 'noise, blur'. 'none' if there are none.",
                ),
                io.Boolean.Output(
                    "undistorted",
                    display_name="undistorted",
                    is_output_list=True,
                    tooltip="True if no distortion was found.",
                ),
                io.Float.Output(
                    "confidences",
                    display_name="confidences",
                    is_output_list=True,
                    tooltip="Probability that exactly these distortions are right, 0 to 1.",
                ),
                io.String.Output(
                    "probabilities",
                    display_name="probabilities",
                    is_output_list=True,
                    tooltip="The probabilities of all 13 labels for each image, as JSON. They sum to 1.",
                ),
                io.String.Output(
                    "severities",
                    display_name="severities",
                    is_output_list=True,
                    tooltip=(
                        "Severity of each named distortion, 1 (slight) to 5 (catastrophic), such as "
                        "'noise 3.2'. Empty if the checkpoint does not support it."
                    ),
                ),
                report_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        count: Sequence[str],
        reference: list[torch.Tensor] | None = None,
        names: list[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            asked = COUNTS[choice(one(count), list(COUNTS), "count")]
            pictures = checked_images(flatten(images), "image", names=names)
            references, notices = to_reference(reference, pictures)
            answers = judge.ask("identify", pictures, references, count=asked)
        notices += judge.doubts(answers)
        distortions = [", ".join(answer.labels) or "none" for answer in answers]
        severities = [_severities(answer) for answer in answers]
        rows = [
            [answer.picture, found, _grades(answer), percent(answer.confidence), _most_probable(answer)]
            for answer, found in zip(answers, distortions, strict=True)
        ]
        columns = ["image", "", "severity", "confidence", "probabilities"]
        if any(answer.probable_faults for answer in answers):
            columns.append("faults")
            rows = [[*row, _faults(answer)] for row, answer in zip(rows, answers, strict=True)]
        table = Table(columns, rows, [(picture,) for picture in pictures], notices)
        return node_output(
            cls,
            distortions,
            [not answer.labels for answer in answers],
            [answer.confidence for answer in answers],
            [probabilities_json(answer) for answer in answers],
            severities,
            in_format(report_format, report("identify", judge, [a.to_dict() for a in answers], notices), table),
            table=table,
        )


class DescribeImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["caption quality", "explain defects", "assessment", "image quality"],
            node_id="DepictQA_DescribeImages",
            display_name="Describe Image Quality",
            category="DepictQA/assess",
            description=(
                "Describes in words what is wrong with each image, where, how severe it is, and "
                "how good the image is overall."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                images_input(),
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
                    tooltip="Your own question (detailed only). Empty: the default question.",
                ),
                io.Int.Input(
                    "max_new_tokens",
                    default=400,
                    min=16,
                    max=2048,
                    tooltip=(
                        "Maximum length of the answer in tokens (detailed only). A token is about three "
                        "quarters of a word."
                    ),
                    **advanced(io.Int.Input),
                ),
                reference_input(),
                report_format_input(),
            ],
            outputs=[
                io.String.Output(
                    "descriptions", display_name="descriptions", is_output_list=True, tooltip="One text per image."
                ),
                io.Float.Output(
                    "confidences",
                    display_name="confidences",
                    is_output_list=True,
                    tooltip=(
                        "Mean probability of the words that carry the verdict, 0 to 1. Use it to sort "
                        "answers; it is not calibrated. 0 if there is none."
                    ),
                ),
                report_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        detail: Sequence[str],
        question: Sequence[str],
        max_new_tokens: Sequence[int],
        reference: list[torch.Tensor] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            detailed = choice(one(detail), DETAILS, "detail") == "detailed"
            pictures = checked_images(flatten(images), "image")
            references, notices = to_reference(reference, pictures)
            if detailed:
                options = {"question": (one(question) or "").strip() or None, "max_new_tokens": one(max_new_tokens)}
                streamed = stream(cls, [picture.name for picture in pictures])
                answers = judge.ask("describe", pictures, references, on_text=streamed, **options)
            else:
                answers = judge.ask("identify", pictures, references, count=None)
        notices += judge.doubts(answers)
        rows = [[answer.picture, answer.text, percent(answer.confidence)] for answer in answers]
        table = Table(["image", "", "confidence"], rows, [(picture,) for picture in pictures], notices)
        return node_output(
            cls,
            [answer.text for answer in answers],
            [answer.confidence or 0.0 for answer in answers],
            in_format(report_format, report("describe", judge, [a.to_dict() for a in answers], notices), table),
            table=table,
        )


class ScoreImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["rate images", "quality score", "IQA", "aesthetic score", "image quality"],
            node_id="DepictQA_ScoreImages",
            display_name="Score Images",
            category="DepictQA/assess",
            description="Scores the quality of each image from 0 (worst) to 100 (flawless), with a 95 % interval.",
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                images_input(),
                reference_input(),
                names_input(),
                *criterion_inputs(),
                report_format_input(),
            ],
            outputs=[
                io.Float.Output(
                    "scores", display_name="scores", is_output_list=True, tooltip="One score per image, 0 to 100."
                ),
                io.Float.Output(
                    "spreads",
                    display_name="spreads",
                    is_output_list=True,
                    tooltip=(
                        "Standard deviation of the level probabilities, in points. It is not an error "
                        "bar: see lows and highs."
                    ),
                ),
                io.Float.Output(
                    "confidences",
                    display_name="confidences",
                    is_output_list=True,
                    tooltip="Probability that the true quality is within 10 points of the score, 0 to 1.",
                ),
                report_output(),
                io.Float.Output(
                    "lows",
                    display_name="lows",
                    is_output_list=True,
                    tooltip="Lower end of the 95 % interval of the true quality.",
                ),
                io.Float.Output(
                    "highs",
                    display_name="highs",
                    is_output_list=True,
                    tooltip="Upper end of the 95 % interval of the true quality.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        reference: list[torch.Tensor] | None = None,
        names: list[str] | None = None,
        criterion: Sequence[str] | None = None,
        prompt: Sequence[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            pictures = checked_images(flatten(images), "image", names=names)
            references, notices = to_reference(reference, pictures)
            answers = judge.ask("score", pictures, references, **criterion_options(criterion, prompt))
        notices += judge.doubts(answers)
        rows = [[f"{a.score:.1f}", a.picture, f"{a.low:.1f} to {a.high:.1f}", percent(a.confidence)] for a in answers]
        table = Table(
            ["score", "image", "95 % interval", "confidence"],
            rows,
            [(picture,) for picture in pictures],
            [*notices, *not_calibrated(answers)],
            name=1,
        )
        return node_output(
            cls,
            [answer.score for answer in answers],
            [answer.spread for answer in answers],
            [answer.confidence for answer in answers],
            in_format(report_format, report("score", judge, [a.to_dict() for a in answers], notices), table),
            [answer.low for answer in answers],
            [answer.high for answer in answers],
            table=table,
        )


def _severities(answer: Identification) -> str:
    """Format the severity of each named distortion, such as ``"noise 3.2, blur 1.0"``; empty if not supported."""
    pairs = zip(answer.labels, answer.severities or (), strict=False)
    return ", ".join(f"{label} {severity:.1f}" for label, severity in pairs)


def _grades(answer: Identification) -> str:
    """Format the severities without the names, for a table with a column of names."""
    return ", ".join(f"{severity:.1f}" for severity in answer.severities or ())


def _faults(answer: Identification) -> str:
    """The faults that are more probable than not, such as ``"seams 83%"``."""
    return ", ".join(f"{fault.label} {fault.probability:.0%}" for fault in answer.probable_faults)


def _most_probable(answer: Identification) -> str:
    return ", ".join(f"{item.label} {item.probability:.0%}" for item in answer.probabilities[:SHOWN_LABELS])
