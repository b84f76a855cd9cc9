"""The node that asks the user's own question about each image and passes those with the right answer."""

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..depictqa_core.verbs.check import pass_answer as accepted_answer
from .filter_images import branch_of_images
from .inputs import (
    FOR_PROGRAMS,
    checked_images,
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
from .passthrough import Followers, branch, follower_inputs, follower_outputs
from .ui import Table, node_output, percent, probabilities_json, report, report_output


class CheckImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["ask", "yes or no", "VQA", "prompt adherence", "hands", "quality gate"],
            node_id="DepictQA_CheckImages",
            display_name="Check Images",
            category="DepictQA/select",
            description=(
                "Asks your own question about each image and passes those with the right answer. Needs a"
                " vision-language model. If a group is empty, the nodes behind it do not run."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                images_input(),
                io.String.Input(
                    "question",
                    default="Are the hands anatomically correct?",
                    multiline=True,
                    tooltip="Your question about each image, in any words that the answers answer.",
                ),
                io.String.Input(
                    "answers", default="yes, no", tooltip="The answers to choose from, 2 to 32, separated by commas."
                ),
                io.String.Input("pass_answer", default="yes", tooltip="The answer with which an image passes."),
                io.Float.Input(
                    "threshold",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Pass images to which pass_answer has at least this probability. It is not calibrated:"
                    " look at some images first.",
                ),
                reference_input(),
                *follower_inputs(),
                names_input(),
                report_format_input(),
            ],
            outputs=[
                io.Boolean.Output(
                    "passed", display_name="passed", is_output_list=True, tooltip="Whether each image passed."
                ),
                io.Float.Output(
                    "probabilities",
                    display_name="probabilities",
                    is_output_list=True,
                    tooltip="Probability 0 to 1 of pass_answer for each image, over both orders of the answers.",
                ),
                io.String.Output(
                    "chosen",
                    display_name="answers",
                    is_output_list=True,
                    tooltip="The most probable answer for each image.",
                ),
                io.String.Output(
                    "all_probabilities",
                    display_name="all_probabilities",
                    is_output_list=True,
                    tooltip="The probabilities of all answers for each image, as JSON; they sum to 1.",
                ),
                *branch_of_images("passed"),
                *follower_outputs("passed"),
                *branch_of_images("rejected"),
                *follower_outputs("rejected"),
                report_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        question: Sequence[str],
        answers: Sequence[str],
        pass_answer: Sequence[str],
        threshold: Sequence[float],
        reference: list[torch.Tensor] | None = None,
        latents: list[dict] | None = None,
        masks: list[torch.Tensor] | None = None,
        texts: list[str] | None = None,
        names: list[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            singles = flatten(images)
            pictures = checked_images(singles, "image", names=names)
            followers = Followers(len(pictures), latents=latents, masks=masks, texts=texts)
            references, notices = to_reference(reference, pictures)
            listed = tuple(answer.strip() for answer in one(answers).split(","))
            options = {"accept": one(pass_answer), "threshold": float(one(threshold))}
            found = judge.ask("check", pictures, one(question), listed, references, **options)
        notices += judge.doubts(found)
        passing = accepted_answer(one(pass_answer), listed)
        chances = [answer.probability(passing) for answer in found]
        branches = []
        for wanted in (True, False):
            indexes = [index for index, answer in enumerate(found) if answer.passed == wanted]
            branches += [branch([singles[i] for i in indexes]), branch(indexes), *followers.choose(indexes)]
        rows = [
            [answer.picture, answer.answer, percent(chance), "passed" if answer.passed else "rejected"]
            for answer, chance in zip(found, chances, strict=True)
        ]
        columns = ["image", "", one(pass_answer), ""]
        table = Table(columns, rows, [(picture,) for picture in pictures], notices)
        return node_output(
            cls,
            [answer.passed for answer in found],
            chances,
            [answer.answer for answer in found],
            [probabilities_json(answer) for answer in found],
            *branches,
            in_format(report_format, report("check", judge, [answer.to_dict() for answer in found], notices), table),
            table=table,
        )
