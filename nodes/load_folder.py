"""The node that loads the images of a folder in the same way as the command line."""

import hashlib
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import folder_paths
import numpy as np
import torch
from comfy import model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io

from ..depictqa_core.errors import DepictQAError, ImageError, TaskError
from ..depictqa_core.images.equal_names import equal_names
from ..depictqa_core.images.image import RGBImage, as_image, notices_of
from ..depictqa_core.images.search import Found, NoImages, leads_around, left_out_lines, search
from ..depictqa_core.storage.file_names import below
from .image_outputs import to_tensor
from .inputs import readable, readable_errors, schema
from .ui import Table, node_output, plain

SAMPLES = Path(__file__).parents[1] / "workflows" / "samples"
ROOTS = {
    "input": folder_paths.get_input_directory,
    "output": folder_paths.get_output_directory,
    "samples": lambda: str(SAMPLES),
}
PLACES = "ComfyUI's input or output folder or this pack's samples"
DEPTH = 3
"""Number of folder levels in the widget; ``subfolders`` reaches deeper ones."""


class LoadFolder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            ["load images from folder", "load image batch", "image directory", "image list", "dataset"],
            node_id="DepictQA_LoadFolder",
            display_name="Load Images From Folder",
            category="DepictQA",
            description=(
                "Loads the images of a folder in ComfyUI's input or output folder, or sample images of this pack, each "
                "at its own size, in natural order. Files that cannot be read are skipped and listed."
            ),
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=folders(),
                    default="input",
                    tooltip="A folder in ComfyUI's input or output folder, or samples: the images of this pack. "
                    "Reload the page to see new ones.",
                ),
                io.Boolean.Input("subfolders", default=False, tooltip="Also load images from subfolders."),
                io.Int.Input(
                    "start", default=0, min=0, max=2**31 - 1, tooltip="Number of images to skip at the beginning."
                ),
                io.Int.Input(
                    "limit",
                    default=100,
                    min=1,
                    max=100_000,
                    tooltip="Maximum number of images. All of them are in memory at once: a megapixel takes 12 MB.",
                ),
                io.Boolean.Input(
                    "keep_alpha",
                    default=False,
                    optional=True,
                    tooltip="Load images with transparency with four channels, their colours as in the file. Off: "
                    "transparency is blended onto white.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "images",
                    display_name="images",
                    is_output_list=True,
                    tooltip="The images. Transparency is blended onto white, as the judge does it, unless "
                    "keep_alpha is on.",
                ),
                io.String.Output(
                    "names",
                    display_name="names",
                    is_output_list=True,
                    tooltip="The file names, relative to the folder.",
                ),
                io.String.Output(
                    "folders",
                    display_name="folders",
                    is_output_list=True,
                    tooltip=(
                        "The folder of each image. With one folder per model, these are the labels for "
                        "Compare Models (also link base_names to its groups)."
                    ),
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="What was loaded, and which files could not be read."
                ),
                io.String.Output(
                    "base_names",
                    display_name="base_names",
                    is_output_list=True,
                    tooltip=(
                        "The file names without folder and extension: groups for Compare Models, which "
                        "then compares only images of the same name."
                    ),
                ),
                io.Mask.Output(
                    "masks",
                    display_name="masks",
                    is_output_list=True,
                    tooltip="The transparency of each image as a mask of its size: 1 where it is transparent.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str, subfolders: bool, start: int, limit: int, keep_alpha: bool = False) -> str:
        return listing_state(folder, subfolders, start, limit)

    @classmethod
    def execute(cls, folder: str, subfolders: bool, start: int, limit: int, keep_alpha: bool = False) -> io.NodeOutput:
        with readable_errors():
            paths, found = chosen(folder, subfolders, start, limit)
        pictures: list[RGBImage] = []
        unreadable: list[str] = []
        bar = ProgressBar(len(paths))
        root = resolve(folder)
        for path in paths:
            model_management.throw_exception_if_processing_interrupted()
            name = path.relative_to(root).as_posix()
            try:
                pictures.append(as_image(path, name, keep_alpha=True))
            except ImageError as error:
                unreadable.append("left out: " + readable(str(error).replace(f" ({path})", "")))
            bar.update(1)
        if not pictures:
            raise ValueError(f"folder: none of the {len(paths)} images can be read; {unreadable[0]}")
        names = [PurePosixPath(picture.name) for picture in pictures]
        parents = [name.parent.name or root.name for name in names]
        where = {parent: {name.parent for name, own in zip(names, parents) if own == parent} for parent in parents}
        parents = [
            own if len(where[own]) == 1 else (root.name / name.parent).as_posix() for name, own in zip(names, parents)
        ]
        said = f"{len(pictures)} of {len(found.names)} images of {folder}"
        others = [replace(one, path=os.path.relpath(one.path, root)) for one in found.left_out]
        unreadable += map(readable, notices_of(pictures))
        report = plain("\n".join([said, *unreadable, *left_out_lines(others, expected=True)]))
        rows = [[picture.name, f"{picture.width} × {picture.height}"] for picture in pictures]
        notices = [said, *unreadable, *left_out_lines(others)]
        table = Table(["image", "size"], rows, [(picture,) for picture in pictures], notices)
        images = [_image(picture, keep_alpha) for picture in pictures]
        masks = [_mask(picture) for picture in pictures]
        shared, twins = equal_names(parents, [name.name for name in names])
        stems = [base or str(name) for base, name in zip(shared, names)]  # an absolute path is unique
        return node_output(cls, images, [str(name) for name in names], parents, report, stems, masks, table=table)


def _image(picture: RGBImage, keep_alpha: bool) -> torch.Tensor:
    """IMAGE ``[1, H, W, 3]`` over white, or ``[1, H, W, 4]`` of an image with alpha that is kept."""
    return to_tensor(picture if keep_alpha else replace(picture, rgba=None))


def _mask(picture: RGBImage) -> torch.Tensor:
    """MASK ``[1, H, W]`` as ComfyUI loads it from alpha: 1 where the image is transparent."""
    if picture.rgba is None:
        return torch.zeros(1, picture.height, picture.width)
    return 1 - torch.from_numpy(picture.rgba[:, :, 3].astype(np.float32) / 255)[None]


def folders() -> list[str]:
    """Return the options of the widget: input, output and samples and their subfolders, ``DEPTH`` levels deep.

    Links to folders are followed, except circular ones.
    """
    found = []
    for name, root in ROOTS.items():
        found.append(name)  # even before the first image is saved there
        top = root()
        for current, inside, _ in os.walk(top, followlinks=True):
            parts = Path(current).relative_to(top).parts
            found += [plain("/".join((name, *parts)))] if parts else []  # a menu may interpret a name as HTML
            visible = [folder for folder in inside if not folder.startswith(".") and len(parts) < DEPTH]
            inside[:] = sorted(folder for folder in visible if not leads_around(os.path.join(current, folder)))
    return found


def listing_state(folder: str, subfolders: bool, start: int = 0, limit: int | None = None) -> str:
    """Return a text that changes with the files of a folder: for ``fingerprint_inputs``."""
    try:
        paths, found = chosen(folder, subfolders, start, limit)
        files = [(path, os.stat(path)) for path in paths]
    except (DepictQAError, OSError) as error:  # reported when the node runs
        return str(error)
    state = repr([*((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in files), found])
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()


def resolve(folder: str) -> Path:
    """Return the folder of a name from a graph; raise DepictQAError unless it is in input, output or samples."""
    parts = PurePosixPath(below(folder, "folder", PLACES)).parts
    if not parts or parts[0] not in ROOTS:
        raise TaskError(
            f"folder: {folder!r} is not in {PLACES}; give a path such as input/images or samples/photographs."
        )
    path = Path(ROOTS[parts[0]]())
    for part in parts[1:]:
        path = _inside(path, part)
    if not path.is_dir():
        raise TaskError(f"folder: there is no folder {folder!r}; put your images into ComfyUI's input folder.")
    return path


def _inside(folder: Path, name: str) -> Path:
    """Return the entry of a folder with this name, or whose name the widget shows as this plain text."""
    path = folder / name
    with suppress(OSError):
        if not path.exists():
            return next((entry for entry in sorted(folder.iterdir()) if plain(entry.name) == plain(name)), path)
    return path


def chosen(folder: str, subfolders: bool, start: int, limit: int | None) -> tuple[list[Path], Found]:
    """Return the image files to load and everything found; raise DepictQAError if there are none."""
    root = resolve(folder)
    try:
        found = search([str(root)], recursive=subfolders)
    except NoImages as error:
        hint = "" if subfolders else " itself; turn subfolders on to look into the folders in it"
        others = [replace(one, path=os.path.relpath(one.path, root)) for one in error.left_out]
        lines = "".join(f"; {line}" for line in left_out_lines(others))
        raise ImageError(f"folder: there are no images in {folder!r}{hint}{lines}.") from None
    except OSError as error:
        raise ImageError(f"folder: {folder!r} cannot be read ({error.strerror or error}).") from None
    count = len(found.names)
    if start >= count:
        raise TaskError(f"start: is {start}, but there are {count} images in {folder!r}; give a smaller number.")
    end = None if limit is None else start + limit
    return [Path(path) for path in found.names[start:end]], found
