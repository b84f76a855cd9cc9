"""Resolution of the image path of a record to a file, which is never outside the data root."""

from pathlib import Path

from depictqa_core.errors import ImageError, StorageError
from depictqa_core.images.image import RGBImage, as_image
from depictqa_core.storage.file_names import below


def image_path(root: str | Path, name: str, also: str | Path | None = None) -> Path:
    """Resolve an image path of a record below its root.

    Records may come from others, and their images are given to networks and sent to endpoints.

    Args:
        root: folder that the paths of the records are relative to.
        name: path in the record, relative to the root.
        also: a folder of our own images, which records that this program has made name by absolute paths.

    Returns:
        the absolute path with all links resolved; whether the file is there is not checked.

    Raises:
        ImageError: the path is not text, is absolute, has "..", or leads out of the root by a symbolic link.
    """
    if not isinstance(name, str) or not name:
        raise ImageError(f"{name!r}: an image path must be text, relative to the data root")
    try:
        folder = Path(root).resolve()
        if also is not None and Path(name).is_absolute():
            own = Path(name).resolve()
            if own.is_relative_to(Path(also).resolve()):
                return own
        path = (folder / below(name, "image path of a record", "the data root")).resolve()
    except StorageError as error:
        raise ImageError(str(error)) from None
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, names that no file can have
        raise ImageError(f"{name!r}: cannot be an image path ({error}); correct the record") from None
    if not path.is_relative_to(folder):
        raise ImageError(
            f"{name}: leads out of {root} by a symbolic link, to {path}. Copy the image below the data root, or choose "
            "a data root that holds both"
        )
    return path


def read_image(root: str | Path, name: str, also: str | Path | None = None) -> RGBImage:
    """Decode the image that a record names, see ``image_path``; raises ImageError for one that cannot be read."""
    return as_image(image_path(root, name, also), name)
