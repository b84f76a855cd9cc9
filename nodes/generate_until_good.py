"""The two nodes around a sampler that run it again, each time with another seed, until an image is good enough."""

import time
from collections.abc import Sequence

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..depictqa_core.ranking.filtering import Criteria, named_distortions
from . import loop_stops
from .best_so_far import Candidate, Found, best_of_round, rank_of, removed, stored, table_of
from .generation_loop import SEEDS, START, Loop
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
    one,
    per_image,
    readable_errors,
    reference_input,
    report_format_input,
    schema,
    to_reference,
)
from .loaded_judge import LoadedJudge
from .passthrough import Followers, follower_inputs
from .ui import node_output, report

LoopSocket = io.Custom("DEPICTQA_LOOP")
BEST, NOTHING = "pass the best", "pass nothing"
STOPPED = "stopped by hand"
MOST_ROUNDS = 1000


class GenerateUntilGoodStart(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["loop", "repeat", "retry", "best of n", "until", "seed"],
            node_id=START,
            display_name="Generate Until Good (Start)",
            category="DepictQA/generate",
            description=(
                "Begins a loop: link seed to your sampler and loop to Generate Until Good (End). What is between the "
                "two runs again, each round with another seed, until an image is good enough."
            ),
            inputs=[
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEEDS - 1,
                    control_after_generate=True,
                    tooltip="The seed of the first round. Each further round adds 1.",
                ),
            ],
            outputs=[
                LoopSocket.Output("loop", display_name="loop", tooltip="For loop of Generate Until Good (End)."),
                io.Int.Output("round_seed", display_name="seed", tooltip="The seed of this round, for your sampler."),
                io.Int.Output(
                    "round", display_name="round", tooltip="The number of this round, from 1, for values that change."
                ),
            ],
        )

    @classmethod
    def execute(cls, seed: int) -> io.NodeOutput:
        return io.NodeOutput(*Loop(seed).values())


class GenerateUntilGoodEnd(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["loop", "repeat", "retry", "best of n", "until", "quality gate", "image quality"],
            node_id="DepictQA_GenerateUntilGoodEnd",
            display_name="Generate Until Good (End)",
            category="DepictQA/generate",
            description=(
                "Ends a loop: judges the images of each round, starts another round until one image meets every "
                "criterion that is set or the budget is spent, and passes on the best image of all rounds with its "
                "seed."
            ),
            is_input_list=True,
            is_output_node=True,
            enable_expand=True,
            inputs=[
                model_input(),
                images_input(),
                LoopSocket.Input("loop", tooltip="The loop, from Generate Until Good (Start)."),
                io.Float.Input(
                    "min_score",
                    default=70.0,
                    min=0.0,
                    max=100.0,
                    step=1.0,
                    tooltip="The score, 0 to 100, with which an image is good. 0: off.",
                ),
                io.Int.Input(
                    "max_rounds",
                    default=10,
                    min=1,
                    max=MOST_ROUNDS,
                    tooltip="The maximum number of rounds. ComfyUI caches the images of all of them.",
                ),
                io.String.Input(
                    "distortions",
                    default="",
                    tooltip="An image with one of these is not good: names as in Filter Images, separated by commas, "
                    "or any. Empty: off.",
                ),
                io.Float.Input(
                    "probability",
                    default=0.4,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The named distortions together must be less probable than this.",
                    **advanced(io.Float.Input),
                ),
                io.Boolean.Input(
                    "passed",
                    optional=True,
                    force_input=True,
                    tooltip="Optional: a further condition, one per image or one for all, such as passed of Check "
                    "Images. An image is good only where it is true.",
                ),
                io.Float.Input(
                    "max_minutes",
                    default=0.0,
                    min=0.0,
                    max=10_000.0,
                    step=1.0,
                    optional=True,
                    tooltip="No further round begins this many minutes after the end of the first one. 0: off.",
                ),
                io.Combo.Input(
                    "otherwise",
                    options=[BEST, NOTHING],
                    default=BEST,
                    optional=True,
                    tooltip="If no image is good: pass on the best one, or stop the branch silently.",
                ),
                reference_input(),
                *follower_inputs(),
                *criterion_inputs(),
                report_format_input(),
            ],
            outputs=[
                io.Image.Output("best_image", display_name="best_image", tooltip="The best image of all rounds."),
                io.Float.Output("best_score", display_name="best_score", tooltip="Its score, 0 to 100."),
                io.Int.Output(
                    "best_seed",
                    display_name="best_seed",
                    tooltip="The seed of its round, such as for seeds of Save Scored Images.",
                ),
                io.Latent.Output("best_latent", display_name="best_latent", tooltip="Its latent, from latents."),
                io.Mask.Output("best_mask", display_name="best_mask", tooltip="Its mask, from masks."),
                io.String.Output("best_text", display_name="best_text", tooltip="Its text, from texts."),
                io.Boolean.Output("found", display_name="found", tooltip="True if it is good, for a switch."),
                io.Int.Output("rounds", display_name="rounds", tooltip="The number of rounds."),
                io.String.Output(
                    "report", display_name="report", tooltip="The best image of each round, as report_format says."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        model: Sequence[LoadedJudge],
        images: list[torch.Tensor],
        loop: Sequence[Loop],
        min_score: Sequence[float],
        max_rounds: Sequence[int],
        distortions: Sequence[str],
        probability: Sequence[float],
        passed: list[bool] | None = None,
        max_minutes: Sequence[float] = (0.0,),
        otherwise: Sequence[str] = (BEST,),
        reference: list[torch.Tensor] | None = None,
        latents: list[dict] | None = None,
        masks: list[torch.Tensor] | None = None,
        texts: list[str] | None = None,
        criterion: Sequence[str] | None = None,
        prompt: Sequence[str] | None = None,
        report_format: Sequence[str] = FOR_PROGRAMS,
    ) -> io.NodeOutput:
        judge = one(model)
        with readable_errors():
            current = one(loop).closed(cls.hidden.dynprompt, cls.hidden.unique_id)
            if current.round == 1:
                loop_stops.begin(current.shown_at)
            passes_best = choice(one(otherwise), [BEST, NOTHING], "otherwise") == BEST
            criteria = Criteria(one(min_score), 100, 0, named_distortions(one(distortions)), one(probability), 0)
            singles = flatten(images)
            pictures = checked_images(singles, "image")
            followers = Followers(len(pictures), latents=latents, masks=masks, texts=texts)
            allowed = per_image("passed", [True] if passed is None else passed, len(pictures))
            references, notices = to_reference(reference, pictures)
            scores = judge.ask("score", pictures, references, **criterion_options(criterion, prompt))
            found = None
            if criteria.need_distortions:
                found = judge.ask("identify", pictures, references, count=None, faults=criteria.need_faults)
        notices += judge.doubts([*scores, *(found or ())])
        faults = criteria.faults(len(pictures), scores if criteria.need_scores else None, found)
        faults = [lines + ["passed is false"] * (not fine) for lines, fine in zip(faults, allowed, strict=True)]
        best = best_of_round(current.round, current.seed, scores, faults)
        place = best["image"] - 1
        candidate = Candidate(
            rank_of(scores[place], faults[place]),
            singles[place].clone(),
            pictures[place],
            best,
            tuple(items[0] for items in followers.choose([place])),
        )
        state = (current.found or Found(time.monotonic())).after(candidate)
        node = current.shown_at
        ended = STOPPED if loop_stops.asked(node) else state.spent(one(max_rounds), one(max_minutes))
        if not state.good and not ended:
            state, troubles = stored(cls, state)
            table = table_of(state, one(max_rounds), ended, [*notices, *troubles])
            return _next_round(cls, current, state, node_output(cls, table=table, node=node))
        loop_stops.finish(node)
        removed(state)
        table = table_of(state, one(max_rounds), ended, notices)
        written = report("until good", judge, [*state.rounds], notices, found=state.good)
        values = state.values() if state.good or passes_best else [ExecutionBlocker(None)] * len(state.values())
        text = in_format(report_format, written, table)
        return node_output(cls, *values, state.good, len(state.rounds), text, table=table, node=node)


def _next_round(cls: type[io.ComfyNode], current: Loop, state: Found, shown: io.NodeOutput) -> io.NodeOutput:
    """The output of a round that another one follows: the outputs are those of the next end.

    Args:
        shown: what the round shows. The first one stores none of it: it would be stored with the outputs of the node,
            and a run whose nodes are all cached would show it again.
    """
    expanded, end = current.next(state)
    links = [[end, slot] for slot in range(len(cls.RETURN_TYPES))]
    return io.NodeOutput(*links, ui=shown.ui if current.round > 1 else None, expand=expanded)
