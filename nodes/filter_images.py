"""The node that splits images into passed and rejected ones."""

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.ranking.filtering import METHODS, Criteria, named_distortions
from ..depictqa_core.results import Identification, Score
from ..depictqa_core.tasks import DISTORTIONS, FAULTS, NONE, SCORE
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
from .passthrough import UNSCORED, Followers, branch, follower_inputs, follower_outputs
from .ui import Table, node_output, percent, report


class FilterImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["drop bad images", "quality gate", "threshold", "top k", "reject", "image quality"],
            node_id="DepictQA_FilterImages",
            display_name="Filter Images",
            category="DepictQA/select",
            description=(
                "Splits images into passed and rejected ones, by score, by distortions or by confidence. An "
                "image passes if it meets every criterion that is set. If a group is empty, the nodes behind "
                "it do not run; the rest of the graph does."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                model_input(),
                images_input(),
                io.Float.Input(
                    "min_score",
                    default=50.0,
                    min=0.0,
                    max=100.0,
                    step=1.0,
                    tooltip="Minimum score, 0 to 100. 0: off.",
                ),
                io.Float.Input(
                    "best_percent",
                    default=100.0,
                    min=0.0,
                    max=100.0,
                    step=1.0,
                    tooltip="Pass this percentage of the images, the best ones. 100: off.",
                ),
                io.Int.Input(
                    "top_k",
                    default=0,
                    min=0,
                    max=100000,
                    tooltip="Pass this many images, the best ones. 0: off.",
                ),
                io.String.Input(
                    "distortions",
                    default="",
                    tooltip="Reject images with one of these, separated by commas: " + ", ".join(DISTORTIONS) + "; "
                    "or any. From checkpoints that support faults, also: " + ", ".join(FAULTS) + ". Empty: off.",
                    **advanced(io.String.Input),
                ),
                io.Float.Input(
                    "probability",
                    default=0.4,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Reject an image if the named distortions together are at least this probable. "
                        "Two distortions in one image share the probability: blur next to equal noise has"
                        " 0.5."
                    ),
                    **advanced(io.Float.Input),
                ),
                io.Float.Input(
                    "min_confidence",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Reject images with a lower confidence. For a score: the probability that it is "
                        "within 10 points of the true quality. For distortions: the probability that "
                        "exactly these are right. 0: off."
                    ),
                ),
                reference_input(),
                *follower_inputs(),
                names_input(),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    optional=True,
                    tooltip=(
                        "How best_percent and top_k find the best images. score: by the score of each "
                        "image. pairs: by pairwise comparisons like Rank Images, which is slower and more"
                        " precise."
                    ),
                    **advanced(io.Combo.Input),
                ),
                *criterion_inputs(),
                report_format_input(),
                io.MultiCombo.Input(
                    "reject",
                    options=[*DISTORTIONS, *FAULTS],
                    default=[],
                    optional=True,
                    placeholder="reject distortions",
                    tooltip=(
                        "Reject images with one of these distortions; probability applies. From "
                        + FAULTS[0]
                        + " on, the "
                        "checkpoint must support faults. Nothing chosen: off."
                    ),
                ),
            ],
            outputs=[
                *_branch_outputs("passed"),
                *_branch_outputs("rejected"),
                io.String.Output(
                    "reasons",
                    display_name="reasons",
                    is_output_list=True,
                    tooltip="The reason for each rejection, in the order of rejected_images.",
                ),
                io.Int.Output("passed_count", display_name="passed_count", tooltip="Number of passed images."),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Every image with its answers and the decision, as report_format says.",
                ),
                io.Int.Output("rejected_count", display_name="rejected_count", tooltip="Number of rejected images."),
                io.Boolean.Output(
                    "any_passed", display_name="any_passed", tooltip="True if at least one image passed, for a switch."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        min_score: Sequence[float],
        best_percent: Sequence[float],
        top_k: Sequence[int],
        distortions: Sequence[str],
        probability: Sequence[float],
        min_confidence: Sequence[float],
        reference: list[torch.Tensor] | None = None,
        latents: list[dict] | None = None,
        masks: list[torch.Tensor] | None = None,
        texts: list[str] | None = None,
        names: list[str] | None = None,
        method: Sequence[str] = METHODS[:1],
        criterion: Sequence[str] | None = None,
        prompt: Sequence[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
        reject: Sequence[Sequence[str] | str] = ((),),
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            criteria = Criteria(
                one(min_score),
                one(best_percent),
                one(top_k),
                named_distortions(",".join([one(distortions), *_names(one(reject))])),
                one(probability),
                one(min_confidence),
                choice(one(method), list(METHODS), "method"),
            )
            singles = flatten(images)
            pictures = checked_images(singles, "image", names=names)
            followers = Followers(len(pictures), latents=latents, masks=masks, texts=texts)
            references, notices = to_reference(reference, pictures)
            about = criterion_options(criterion, prompt)
            scored = criteria.need_scores or SCORE.name in judge.tasks
            scores = judge.ask("score", pictures, references, **about) if scored else None
            judged = scores if criteria.need_scores else None
            found = None
            if criteria.need_distortions:
                found = judge.ask("identify", pictures, references, count=None, faults=criteria.need_faults)
            order, covered, ranked = None, None, []
            if criteria.need_order:
                best = criteria.best_of(len(pictures))
                ranked = [judge.ask("rank", pictures, references, reasons=False, top_k=best, **about)]
                order, covered = ranked[0].order, ranked[0].coverage
        notices += judge.doubts([*(scores or ()), *(found or ()), *ranked])
        faults = criteria.faults(len(pictures), judged, found, order, covered)
        passed = [index for index, fault in enumerate(faults) if not fault]
        rejected = [index for index, fault in enumerate(faults) if fault]

        rated = scores or []

        def outputs(indexes: list[int]) -> tuple:
            points = [UNSCORED] if scores is None and indexes else branch([rated[i].score for i in indexes])
            return branch([singles[index] for index in indexes]), points, branch(indexes), *followers.choose(indexes)

        table = _table(pictures, faults, scores, judged, found, notices)
        written = report("filter", judge, _results(pictures, faults, scores, found), notices, passed=len(passed))
        return node_output(
            cls,
            *outputs(passed),
            *outputs(rejected),
            branch(["; ".join(faults[index]) for index in rejected]),
            len(passed),
            in_format(report_format, written, table),
            len(rejected),
            bool(passed),
            table=table,
        )


def _names(reject: Sequence[str] | str) -> Sequence[str]:
    """Return what is chosen in ``reject``; a program may also send one text, with commas, as in ``distortions``."""
    return [reject] if isinstance(reject, str) else reject


def _branch_outputs(name: str) -> list:
    """Return the outputs of one branch: images, scores, indexes, latents, masks and texts."""
    images, indexes = branch_of_images(name)
    return [
        images,
        io.Float.Output(
            f"{name}_scores",
            display_name=f"{name}_scores",
            is_output_list=True,
            tooltip=f"Scores of the {name} images, 0 to 100. A checkpoint that does not score stops here.",
        ),
        indexes,
        *follower_outputs(name),
    ]


def branch_of_images(name: str) -> list:
    """Return the outputs of the images of one branch and of their indexes."""
    return [
        io.Image.Output(
            f"{name}_images",
            display_name=f"{name}_images",
            is_output_list=True,
            tooltip=f"The {name} images, unchanged, in the order of the input.",
        ),
        io.Int.Output(
            f"{name}_indexes",
            display_name=f"{name}_indexes",
            is_output_list=True,
            tooltip=f"Indexes of the {name} images in the input, from 0.",
        ),
    ]


def _results(
    pictures: Sequence[RGBImage],
    faults: Sequence[list[str]],
    scores: Sequence[Score] | None,
    found: Sequence[Identification] | None,
) -> list[dict]:
    return [
        {
            "picture": picture.name,
            "index": index,
            "passed": not faults[index],
            "reasons": faults[index],
            "score": scores[index].to_dict() if scores else None,
            "identification": found[index].to_dict() if found else None,
        }
        for index, picture in enumerate(pictures)
    ]


def _table(
    pictures: Sequence[RGBImage],
    faults: Sequence[list[str]],
    scores: Sequence[Score] | None,
    judged: Sequence[Score] | None,
    found: Sequence[Identification] | None,
    notices: Sequence[str],
) -> Table:
    rows = [
        [
            f"{scores[index].score:.1f}" if scores else "",
            picture.name,
            "; ".join(faults[index]) or "passed",
            (", ".join(found[index].labels) or NONE) if found else "",
            percent(min((answers[index].confidence for answers in (judged, found) if answers), default=None)),
        ]
        for index, picture in enumerate(pictures)
    ]
    passed = sum(not fault for fault in faults)
    notes = [*notices, f"{passed} of {len(pictures)} passed"]
    return Table(["score", "image", "", "", "confidence"], rows, [(picture,) for picture in pictures], notes, name=1)
