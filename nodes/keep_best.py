"""The node that keeps the best images of a long run in a folder, over any number of queued runs and restarts."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..depictqa_core.errors import TaskError
from ..depictqa_core.images.image import RGBImage, as_image
from ..depictqa_core.storage.best_images import Best, Candidate, keep_best
from ..depictqa_core.storage.file_names import below, file_part
from ..depictqa_core.storage.saved_images import save_image
from .image_outputs import to_tensor
from .inputs import checked_images, flatten, one, per_image, readable_errors, schema
from .passthrough import branch
from .saved_files import file_texts, to_file_image
from .ui import Table, node_output

FACTS = ("seed", "prompt")


class KeepBest(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["top k", "best images", "long run", "auto queue", "leaderboard", "save best"],
            node_id="DepictQA_KeepBest",
            display_name="Keep Best Images",
            category="DepictQA/generate",
            description=(
                "Keeps the best images of many runs in a folder: saves an image that is better than those before, and "
                "removes the one that it displaces. The list is on the disk, so that it outlives a restart."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The new images: one image, a batch, or a list of any sizes."),
                io.Float.Input(
                    "scores", force_input=True, tooltip="One score per image, higher is better, from Score Images."
                ),
                io.Int.Input(
                    "keep",
                    default=10,
                    min=1,
                    max=1000,
                    tooltip="Number of images to keep. All of them are passed on: a megapixel takes 12 MB of memory.",
                ),
                io.String.Input(
                    "folder",
                    default="DepictQA/best",
                    tooltip="Folder in ComfyUI's output folder. A new name starts a new list.",
                ),
                io.Float.Input(
                    "target_score",
                    default=70.0,
                    min=0.0,
                    max=100.0,
                    step=1.0,
                    tooltip="reached is true when this number of images (keep) has at least this score.",
                ),
                io.Int.Input(
                    "seeds",
                    optional=True,
                    force_input=True,
                    max=2**64 - 1,
                    tooltip="Optional: one seed per image, or one for all. Stored in list, file name and metadata.",
                ),
                io.String.Input(
                    "prompts",
                    optional=True,
                    force_input=True,
                    tooltip="Optional: one prompt per image, or one for all. Stored in list and metadata.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "best_images",
                    display_name="best_images",
                    is_output_list=True,
                    tooltip="The best images of all runs, best first, as they are in their files.",
                ),
                io.Float.Output(
                    "best_scores",
                    display_name="best_scores",
                    is_output_list=True,
                    tooltip="Their scores, in the order of best_images.",
                ),
                io.Int.Output(
                    "best_seeds",
                    display_name="best_seeds",
                    is_output_list=True,
                    tooltip="Their seeds, in the order of best_images.",
                ),
                io.String.Output(
                    "best_prompts",
                    display_name="best_prompts",
                    is_output_list=True,
                    tooltip="Their prompts, in the order of best_images.",
                ),
                io.String.Output(
                    "files",
                    display_name="files",
                    is_output_list=True,
                    tooltip="Their files, relative to ComfyUI's output folder.",
                ),
                io.Int.Output("seen", display_name="seen", tooltip="The number of images of all runs."),
                io.Boolean.Output(
                    "reached",
                    display_name="reached",
                    tooltip="True if keep images have at least target_score, for Stop Auto Queue.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        images: list[torch.Tensor],
        scores: list[float],
        keep: Sequence[int],
        folder: Sequence[str],
        target_score: Sequence[float],
        seeds: list[int] | None = None,
        prompts: list[str] | None = None,
    ) -> io.NodeOutput:
        count = one(keep)
        with readable_errors():
            place = _folder(one(folder))
            singles = flatten(images)
            pictures = checked_images(singles, "image")
            points = per_image("scores", scores, len(singles))
            origins: dict[str, list[Any] | None] = {"seed": seeds, "prompt": prompts}
            facts = {
                name: [None] * len(singles) if items is None else per_image(f"{name}s", items, len(singles))
                for name, items in origins.items()
            }
            candidates = [
                _candidate(cls, singles[i], pictures[i], float(points[i]), {name: facts[name][i] for name in FACTS})
                for i in range(len(singles))
                if not math.isnan(points[i])
            ]
            best, seen = keep_best(place, candidates, count)
            shown = [as_image(entry.path, entry.path.name, keep_alpha=True) for entry in best]
        reached = len(best) == count and best[-1].score >= one(target_score)
        output = Path(folder_paths.get_output_directory())
        files = [entry.path.relative_to(output).as_posix() for entry in best]
        return node_output(
            cls,
            branch([to_tensor(image) for image in shown]),
            branch([entry.score for entry in best]),
            *(_known(name, best) for name in FACTS),
            branch(files),
            seen,
            reached,
            table=_table(best, shown, files, f"The best {len(best)} of {seen} images{': target reached' * reached}"),
        )


def _folder(name: str) -> Path:
    """Return the folder of a name from a graph.

    Raises:
        DepictQAError: it is empty, or leads out of ComfyUI's output folder.
    """
    inside = below(name.strip(), "folder")
    if not inside:
        raise TaskError("folder: is empty; give a name such as DepictQA/best.")
    return Path(folder_paths.get_output_directory(), *inside.split("/"))


def _candidate(
    cls: type[io.ComfyNode], single: torch.Tensor, picture: RGBImage, score: float, facts: dict[str, Any]
) -> Candidate:
    seed = "" if facts["seed"] is None else f"_seed {facts['seed']}"

    def save(folder: Path) -> Path:
        texts = file_texts(cls, {"score": score, **facts})
        return save_image(folder, file_part(f"{score:05.1f}{seed}"), 1, to_file_image(single, picture.name), texts)

    return Candidate(score, picture.key, facts, save)


def _known(name: str, best: Sequence[Best]) -> list:
    """The values of an output; where an image came without one, the nodes behind it do not run."""
    values = [entry.facts.get(name) for entry in best]
    if None in values:
        return [ExecutionBlocker(f"{name}s: an image of the list came without one; link {name}s in every run.")]
    return branch(values)


def _table(best: Sequence[Best], shown: Sequence[RGBImage], files: Sequence[str], head: str) -> Table:
    rows = [
        [f"{place}", f"{entry.score:.1f}", "" if entry.facts.get("seed") is None else str(entry.facts["seed"]), file]
        for place, (entry, file) in enumerate(zip(best, files, strict=True), 1)
    ]
    return Table(["", "score", "seed", "file"], rows, [(image,) for image in shown], [head], name=3)
