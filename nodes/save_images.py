"""The node that saves images with their scores and verdicts in file name, metadata and a list."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import folder_paths
import torch
from comfy.utils import ProgressBar
from comfy_api.latest import io

from ..depictqa_core.errors import DepictQAError, TaskError
from ..depictqa_core.images.search import without_suffix
from ..depictqa_core.storage.appending import append_csv, append_jsonl
from ..depictqa_core.storage.file_names import below, fill
from ..depictqa_core.storage.files import readable_file_errors
from ..depictqa_core.storage.saved_images import SUFFIXES, save_image
from .inputs import advanced, choice, flatten, one, per_image, readable, readable_errors, schema
from .saved_files import file_texts, to_file_image
from .ui import Table, node_output

LOGS = {"csv": ("csv",), "jsonl": ("jsonl",), "csv and jsonl": ("csv", "jsonl"), "none": ()}
FACTS = {
    "scores": (io.Float, "Optional: one score per image, for %score%, the metadata and the list."),
    "ranks": (
        io.Int,
        "Optional: one rank per image, for %rank%. Unlinked: by score, or else by the order of the input.",
    ),
    "confidences": (io.Float, "Optional: one confidence per image."),
    "labels": (
        io.String,
        "Optional: one label per image (a model, a prompt, a file name) for %label%, or one for all.",
    ),
    "verdicts": (io.String, "Optional: one short verdict per image, such as its distortions, for %verdict%."),
    "descriptions": (io.String, "Optional: one description per image."),
}
ORIGINS = {
    "seeds": (io.Int, "Optional: one seed per image, or one for all, for %seed%, the metadata and the list."),
    "prompts": (io.String, "Optional: one prompt per image, or one for all, for %prompt%, the metadata and the list."),
}
"""Facts that have a column in the list only where they are linked, so that older lists still fit."""


class SaveScoredImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["save image with score", "metadata", "csv", "jsonl", "export scores"],
            node_id="DepictQA_SaveScoredImages",
            display_name="Save Scored Images",
            category="DepictQA/select",
            description=(
                "Saves images with score, rank, label and verdict in the file name and in the "
                "metadata, and adds a row for each image to a list in the same folder. Never overwrites a "
                "file."
            ),
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The images to save: a batch, or a list of images of any size."),
                io.String.Input(
                    "filename_prefix",
                    default="DepictQA/%rank%_%score%_%label%",
                    tooltip=(
                        "Folder and file name in ComfyUI's output folder. Placeholders: %score%, %rank%, "
                        "%label%, %verdict%, %confidence%, %seed%, %prompt%, %index%, %date%, %time%, "
                        "%date:yyyy-MM-dd%, and ComfyUI's own %width%, %year%, ..."
                    ),
                ),
                io.Combo.Input(
                    "log",
                    options=list(LOGS),
                    default="csv",
                    tooltip="Which lists in the same folder (scores.csv, scores.jsonl) get a row per image.",
                ),
                *(
                    kind.Input(name, optional=True, force_input=True, tooltip=tooltip)
                    for name, (kind, tooltip) in FACTS.items()
                ),
                io.Combo.Input(
                    "format",
                    options=list(SUFFIXES),
                    default="png",
                    optional=True,
                    tooltip="png: without loss, with alpha, all metadata. webp: smaller, with alpha, the graph and the "
                    "answers as EXIF. jpeg: smaller, alpha over white, the graph as EXIF if it fits into 64 KB.",
                ),
                io.Int.Input(
                    "quality",
                    default=95,
                    min=1,
                    max=100,
                    optional=True,
                    tooltip="Of jpeg and webp: 1 is the smallest file, 100 the best image.",
                    **advanced(io.Int.Input),
                ),
                *(
                    kind.Input(
                        name,
                        optional=True,
                        force_input=True,
                        tooltip=tooltip,
                        **({"max": 2**64 - 1} if name == "seeds" else {}),
                    )
                    for name, (kind, tooltip) in ORIGINS.items()
                ),
            ],
            outputs=[
                io.String.Output(
                    "files",
                    display_name="files",
                    is_output_list=True,
                    tooltip="The saved files, relative to ComfyUI's output folder.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        images: list[torch.Tensor],
        filename_prefix: Sequence[str],
        log: Sequence[str],
        format: Sequence[str] = ("png",),
        quality: Sequence[int] = (95,),
        **facts: list | None,
    ) -> io.NodeOutput:
        singles = flatten(images)
        with readable_errors():
            kinds = LOGS[choice(one(log), list(LOGS), "log")]
            pattern = below(one(filename_prefix), "filename_prefix")
            if not pattern:
                raise TaskError("filename_prefix: is empty; give a name such as DepictQA/%rank%_%score%.")
            if not singles:
                raise TaskError("images: no image arrived; link at least one.")
            rows = _rows(facts, len(singles))
            kind = choice(one(format), list(SUFFIXES), "format")
        saved, failed, now = [], [], time.localtime()
        bar = ProgressBar(len(singles))
        for single, row in zip(singles, rows, strict=True):
            try:
                saved.append(_save(cls, single, pattern, row, now, kind, one(quality)))
                _append(saved[-1], row, kinds, now)
            except DepictQAError as error:  # the others are saved
                failed.append(readable(str(error)))
            bar.update(1)
        if failed:
            more = f" (and {len(failed) - 1} more like this)" if len(failed) > 1 else ""
            raise ValueError(f"{failed[0]}{more}. {len(saved)} of {len(singles)} images are saved.")
        output = Path(folder_paths.get_output_directory())
        files = [path.relative_to(output).as_posix() for path in saved]
        folders = ["" if path.parent == output else path.parent.relative_to(output).as_posix() for path in saved]
        shown = [
            {"filename": path.name, "subfolder": folder, "type": "output"}
            for path, folder in zip(saved, folders, strict=True)
        ]
        table = Table(["file"], [[file] for file in files], [()] * len(files))
        return node_output(cls, files, table=table, text="\n".join(files), images=shown)


def _rows(facts: dict, count: int) -> list[dict]:
    """Return the linked facts of each image: one dict per image, with None if an input is not linked.

    Raises:
        TaskError: a list has neither one item per image nor one for all.
    """
    columns = {}
    for name in (*FACTS, *ORIGINS):
        values = facts.get(name)
        columns[name] = [None] * count if values is None else per_image(name, values, count)
    scores = [None if score is None or math.isnan(score) else score for score in columns["scores"]]
    if facts.get("ranks") is None:
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            columns["ranks"] = [index + 1 for index in range(count)]
        else:
            columns["ranks"] = [1 + sum(other > score for other in known) for score in known]
    return [
        {
            "index": index + 1,
            "rank": columns["ranks"][index],
            "score": scores[index],
            "confidence": columns["confidences"][index],
            "label": columns["labels"][index],
            "verdict": columns["verdicts"][index],
            "description": columns["descriptions"][index],
            **{name[:-1]: columns[name][index] for name in ORIGINS if facts.get(name) is not None},
        }
        for index in range(count)
    ]


def _save(
    cls: type[io.ComfyNode],
    single: torch.Tensor,
    pattern: str,
    row: dict,
    now: time.struct_time,
    kind: str,
    quality: int,
) -> Path:
    """Save one image under a new name.

    Raises:
        DepictQAError: the file cannot be written, or its pixels would differ from the input.
    """
    image = to_file_image(single, f"image {row['index']}", with_alpha=kind != "jpeg")
    prefix = fill(pattern, _words(row), now)
    output = folder_paths.get_output_directory()
    with readable_file_errors(os.path.join(output, os.path.dirname(prefix))):
        folder, stem, counter, *_ = folder_paths.get_save_image_path(prefix, output, *image.size)
    return save_image(folder, stem, counter, image, file_texts(cls, row, kind), kind, quality)


def _append(path: Path, row: dict, kinds: tuple[str, ...], now: time.struct_time) -> None:
    """Append a row about a saved image to the lists in its folder."""
    line = {"file": path.name, "time": time.strftime("%Y-%m-%dT%H:%M:%S", now), **row}
    for kind in kinds:
        (append_csv if kind == "csv" else append_jsonl)(path.with_name(f"scores.{kind}"), line)


def _words(row: dict) -> dict[str, str]:
    """Return the values of the placeholders; numbers have a fixed width, so that names sort."""
    return {
        "index": f"{row['index']:03}",
        "rank": f"{row['rank']:03}",
        "score": "unscored" if row["score"] is None else f"{row['score']:05.1f}",
        "confidence": "unknown" if row["confidence"] is None else f"{row['confidence']:.2f}",
        "label": without_suffix(str(row["label"] or "image")),
        "verdict": str(row["verdict"] or "unjudged"),
        "seed": str(row.get("seed", "unknown")),
        "prompt": str(row.get("prompt") or "unknown"),
    }
