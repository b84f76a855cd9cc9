"""The node that finds the best images of a folder of any size: a table on the disk, and few images in memory."""

import hashlib
import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import folder_paths
from comfy import model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io

from ..depictqa_core.bulk.parts import read_rows
from ..depictqa_core.bulk.plan import Plan
from ..depictqa_core.bulk.run import Progress, run
from ..depictqa_core.bulk.schema import Row
from ..depictqa_core.confidence import uncovered
from ..depictqa_core.errors import ImageError
from ..depictqa_core.images.image import RGBImage, as_image
from ..depictqa_core.images.search import left_out_lines
from ..depictqa_core.judge import Judge
from ..depictqa_core.results import Score
from ..depictqa_core.storage.documents import named
from ..depictqa_core.storage.file_names import file_part
from .image_outputs import to_tensor
from .inputs import criterion_inputs, criterion_options, model_input, readable, readable_errors, schema
from .load_folder import chosen, folders, listing_state, resolve
from .loaded_judge import LoadedJudge
from .passthrough import branch
from .ui import Table, node_output

TABLES = Path("DepictQA", "judged")
"""Where the tables are, in ComfyUI's output folder."""
NAMED = 20
"""Maximum number of files that are named because they could not be judged."""


class BestOfFolder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["top k", "best images", "load best", "folder", "cull", "sort folder"],
            node_id="DepictQA_BestOfFolder",
            display_name="Find Best Images In Folder",
            category="DepictQA/select",
            description=(
                "Scores every image of a folder and loads only the best. Scores are stored in a table in the output "
                "folder: after Cancel or a restart it resumes, and later runs judge new files only."
            ),
            is_output_node=True,
            inputs=[
                model_input(),
                io.Combo.Input(
                    "folder",
                    options=folders(),
                    default="input",
                    tooltip="A folder in ComfyUI's input or output folder, or samples: the images of this pack. "
                    "Reload the page to see new ones.",
                ),
                io.Boolean.Input("subfolders", default=False, tooltip="Also judge images in subfolders."),
                io.Int.Input(
                    "keep",
                    default=10,
                    min=1,
                    max=1000,
                    tooltip="Number of images to load, the best ones. A megapixel takes 12 MB of memory.",
                ),
                *criterion_inputs(),
            ],
            outputs=[
                io.Image.Output(
                    "best_images",
                    display_name="best_images",
                    is_output_list=True,
                    tooltip="The best images, best first. Transparency is blended onto white.",
                ),
                io.Float.Output(
                    "best_scores",
                    display_name="best_scores",
                    is_output_list=True,
                    tooltip="Their scores, 0 to 100, in the order of best_images.",
                ),
                io.String.Output(
                    "names",
                    display_name="names",
                    is_output_list=True,
                    tooltip="Their file names, relative to the folder.",
                ),
                io.Int.Output("judged", display_name="judged", tooltip="The number of images with a score."),
                io.String.Output(
                    "table",
                    display_name="table",
                    tooltip="The folder of the table, for depictqa report and depictqa cull.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str, subfolders: bool, **_: Any) -> str:
        return listing_state(folder, subfolders)

    @classmethod
    def execute(
        cls, model: LoadedJudge, folder: str, subfolders: bool, keep: int, criterion: str = "", prompt: str = ""
    ) -> io.NodeOutput:
        about = criterion_options([criterion], [prompt])
        with readable_errors():
            root = resolve(folder)
            _, found = chosen(folder, subfolders, 0, None)  # a folder without images is refused in words of nodes
            table = _table_folder(root, subfolders, model, about)
            plan = Plan([str(root)], table, ("score",), subfolders, stored="jsonl", grows=True)
            present = {named(item.name) for item in plan.items()}
            with model.kept_loaded():
                run(cast(Judge, _Scores(model, about)), plan, _Report(len(present)))
            rows, judged, failed = _best(table, present, keep)
        best, notices = _loaded(rows, root)
        failures = [f"left out: {_relative(row['image'], root)}: {row['error']}" for row in failed[:NAMED]]
        if len(failed) > NAMED:
            failures.append(f"and {len(failed) - NAMED} more that could not be judged")
        others = [replace(one, path=_relative(one.path, root)) for one in found.left_out]
        head = f"The best {len(best)} of {judged} images of {folder}"
        notes = [head, *model.notices, *map(readable, [*notices, *failures]), *left_out_lines(others)]
        cells = [[str(place), f"{row['score']:.1f}", image.name] for place, (row, image) in enumerate(best, 1)]
        shown = Table(["", "score", "image"], cells, [(image,) for _, image in best], notes, name=2)
        return node_output(
            cls,
            branch([to_tensor(image) for _, image in best]),
            branch([row["score"] for row, _ in best]),
            branch([image.name for _, image in best]),
            judged,
            str(table),
            table=shown,
        )


class _Scores:
    """A node's judge as a large run asks it."""

    def __init__(self, judge: LoadedJudge, about: Mapping[str, str]):
        self.info, self.notices = judge.info, judge.notices
        self._judge, self._about = judge, about

    def score(self, images: list[RGBImage]) -> list[Score]:
        """Score images; Cancel works within a group of them."""
        scores: list[Score] = self._judge.ask("score", images, progress=_stop_on_cancel, **self._about)
        return scores


def _stop_on_cancel(*_: int) -> None:
    model_management.throw_exception_if_processing_interrupted()


class _Report:
    """What a large run calls after every group: moves the progress bar of the node and stops on Cancel."""

    def __init__(self, total: int):
        self._bar, self._total = ProgressBar(total), total

    def __call__(self, progress: Progress) -> None:
        _stop_on_cancel()
        self._bar.update_absolute(min(progress.done, self._total), self._total)


def _table_folder(root: Path, subfolders: bool, judge: LoadedJudge, about: Mapping[str, str]) -> Path:
    """The folder of the table: another one for another folder, judge or criterion."""
    facts = [str(root), subfolders, {key: judge.info.get(key) for key in ("name", "version", "files")}, about]
    code = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return Path(folder_paths.get_output_directory()) / TABLES / f"{file_part(root.name)}_{code}"


def _best(table: Path, present: set[str], keep: int) -> tuple[list[Row], int, list[Row]]:
    """Read the table of a run once.

    Returns:
        the rows of the best images that are still there, best first; the number of those with a score; and the rows of
        those that could not be judged.
    """
    failed: list[Row] = []
    judged = 0

    def scored() -> Iterator[Row]:
        nonlocal judged
        for row in read_rows(table, ("image", "error", "score", "score_coverage")):
            if row["image"] in present:
                if row["error"] is not None:
                    failed.append(row)
                    continue
                judged += 1
                if not uncovered(row["score_coverage"]):
                    yield row

    return heapq.nlargest(keep, scored(), key=itemgetter("score")), judged, failed


def _loaded(rows: list[Row], root: Path) -> tuple[list[tuple[Row, RGBImage]], list[str]]:
    """Load the images of rows; also a line for each that cannot be read any more."""
    best, notices = [], []
    for row in rows:
        name = _relative(row["image"], root)
        try:
            best.append((row, as_image(row["image"], name)))
        except ImageError as error:
            notices.append(str(error))
    return best, notices


def _relative(path: str, root: Path) -> str:
    """The name of a file relative to the folder."""
    return Path(path).relative_to(root).as_posix()
