"""The node that loads the pictures of a folder as the command line reads them: in natural order, damaged ones named."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import folder_paths
from comfy import model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io
from PIL import Image

from ..depictqa_core.errors import DepictQAError, ImageError, TaskError
from ..depictqa_core.images.files import Found, NoPictures, equal_names, leads_around, left_out_lines, search
from ..depictqa_core.images.image import as_picture, notices_of
from ..depictqa_core.storage.files import below
from .image_outputs import to_image
from .inputs import readable, readable_errors, schema
from .ui import Table, node_output, plain

ROOTS = {"input": folder_paths.get_input_directory, "output": folder_paths.get_output_directory}
DEPTH = 3
"""So many levels of folders are offered; deeper ones can be reached by ``subfolders``."""


class LoadFolder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            ["load images from folder", "load image batch", "image directory", "image list", "dataset"],
            node_id="DepictQA_LoadFolder",
            display_name="Load Pictures From Folder",
            category="DepictQA",
            description=(
                "Loads the pictures of a folder below ComfyUI's input or output folder, each at its own size, in "
                "natural order. A file that cannot be read is left out and named."
            ),
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=folders(),
                    default="input",
                    tooltip="A folder below ComfyUI's input or output folder. Reload the page to see new ones.",
                ),
                io.Boolean.Input("subfolders", default=False, tooltip="Also load the pictures of the folders in it."),
                io.Int.Input("start", default=0, min=0, max=2**31 - 1, tooltip="Leave out so many pictures at first."),
                io.Int.Input(
                    "limit",
                    default=100,
                    min=1,
                    max=100_000,
                    tooltip="Load at most so many. All are in memory together: a megapixel takes 12 MB.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "images",
                    display_name="images",
                    is_output_list=True,
                    tooltip="The pictures; transparent parts are white, as the judge sees them.",
                ),
                io.String.Output(
                    "names", display_name="names", is_output_list=True, tooltip="Their file names, below the folder."
                ),
                io.String.Output(
                    "folders",
                    display_name="folders",
                    is_output_list=True,
                    tooltip="The folder that each lies in: labels for Compare Models, with a folder per model (link "
                    "base_names to its groups, too).",
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="What was loaded, and what could not be read."
                ),
                io.String.Output(
                    "base_names",
                    display_name="base_names",
                    is_output_list=True,
                    tooltip="Their file names without folder and suffix: groups for Compare Models, so that only "
                    "pictures of one name meet.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, folder, subfolders, start, limit):
        try:
            paths, found = _chosen(folder, subfolders, start, limit)
            files = [(path, os.stat(path)) for path in paths]
        except (DepictQAError, OSError) as error:  # it is told when the node runs
            return str(error)
        return repr([*((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in files), found])

    @classmethod
    def execute(cls, folder, subfolders, start, limit) -> io.NodeOutput:
        with readable_errors():
            paths, found = _chosen(folder, subfolders, start, limit)
        pictures, unreadable, bar = [], [], ProgressBar(len(paths))
        root = _resolve(folder)
        for path in paths:
            model_management.throw_exception_if_processing_interrupted()
            name = path.relative_to(root).as_posix()
            try:
                pictures.append(as_picture(path, name))
            except ImageError as error:
                unreadable.append("left out: " + readable(str(error).replace(f" ({path})", "")))
            bar.update(1)
        if not pictures:
            raise ValueError(f"folder: none of the {len(paths)} pictures can be read; {unreadable[0]}")
        names = [PurePosixPath(picture.name) for picture in pictures]
        parents = [name.parent.name or root.name for name in names]
        where = {parent: {name.parent for name, own in zip(names, parents) if own == parent} for parent in parents}
        parents = [
            own if len(where[own]) == 1 else (root.name / name.parent).as_posix() for name, own in zip(names, parents)
        ]
        said = f"{len(pictures)} of {len(found.names)} pictures of {folder}"
        others = [replace(one, path=os.path.relpath(one.path, root)) for one in found.left_out]
        unreadable += map(readable, notices_of(pictures))
        report = plain("\n".join([said, *unreadable, *left_out_lines(others, expected=True)]))
        rows = [[picture.name, f"{picture.width} × {picture.height}"] for picture in pictures]
        notices = [said, *unreadable, *left_out_lines(others)]
        table = Table(["", "size"], rows, [(picture,) for picture in pictures], notices)
        images = [to_image(Image.fromarray(picture.rgb)) for picture in pictures]
        shared, twins = equal_names(parents, [name.name for name in names])
        stems = [base or str(name) for base, name in zip(shared, names)]  # a whole path is shared with none
        return node_output(cls, images, [str(name) for name in names], parents, report, stems, table=table)


def folders() -> list[str]:
    """What the folder widget offers: the input and output folders and the folders in them, ``DEPTH`` levels deep.

    Folders that are links are followed, but for those that lead to a folder around them.
    """
    found = []
    for name, root in ROOTS.items():
        found.append(name)  # also before the first picture is saved there
        top = root()
        for current, inside, _ in os.walk(top, followlinks=True):
            parts = Path(current).relative_to(top).parts
            found += [plain("/".join((name, *parts)))] if parts else []  # a menu can take a name for HTML
            visible = [folder for folder in inside if not folder.startswith(".") and len(parts) < DEPTH]
            inside[:] = sorted(folder for folder in visible if not leads_around(os.path.join(current, folder)))
    return found


def _resolve(folder: str) -> Path:
    """The folder of a name that came with a graph; raises DepictQAError unless it is below input or output."""
    parts = PurePosixPath(below(folder, "folder", "ComfyUI's input or output folder")).parts
    if not parts or parts[0] not in ROOTS:
        raise TaskError(
            f"folder: {folder!r} is neither below input nor below output; give a path such as input/pictures."
        )
    path = Path(ROOTS[parts[0]]())
    for part in parts[1:]:
        path = _inside(path, part)
    if not path.is_dir():
        raise TaskError(f"folder: there is no folder {folder!r}; put your images below ComfyUI's input folder.")
    return path


def _inside(folder: Path, name: str) -> Path:
    """The entry of a folder that has this name, or whose name the widget shows as this plain text."""
    path = folder / name
    with suppress(OSError):
        if not path.exists():
            return next((entry for entry in sorted(folder.iterdir()) if plain(entry.name) == plain(name)), path)
    return path


def _chosen(folder: str, subfolders: bool, start: int, limit: int) -> tuple[list[Path], Found]:
    """The picture files to load, and all that was found; raises DepictQAError if there are none."""
    root = _resolve(folder)
    try:
        found = search([str(root)], recursive=subfolders)
    except NoPictures as error:
        hint = "" if subfolders else " itself; turn subfolders on to look into the folders in it"
        others = [replace(one, path=os.path.relpath(one.path, root)) for one in error.left_out]
        lines = "".join(f"; {line}" for line in left_out_lines(others))
        raise ImageError(f"folder: there are no pictures in {folder!r}{hint}{lines}.") from None
    except OSError as error:
        raise ImageError(f"folder: {folder!r} cannot be read ({error.strerror or error}).") from None
    count = len(found.names)
    if start >= count:
        raise TaskError(f"start: is {start}, but there are {count} pictures in {folder!r}; give a smaller number.")
    return [Path(path) for path in found.names[start : start + limit]], found
