"""A private instance of Pillow's Python modules, with its own limits.

How Pillow decodes and draws depends on process-wide variables: ``Image.MAX_IMAGE_PIXELS``,
``ImageFile.LOAD_TRUNCATED_IMAGES``, the filters of ``warnings``. Other packages may change them at any time, in any
thread, and our settings would affect theirs. So files are decoded and texts are drawn with a second instance of
Pillow's Python modules, which shares the compiled code with the first, but no variables.
"""

import functools
import importlib
import io
import sys
import threading
import types
from contextlib import suppress
from typing import IO, cast

import PIL
from PIL import Image as shared

NAME = f"{__package__}._pillow"
"""Name of the second instance in ``sys.modules``."""
MAX_PIXELS = 8192 * 8192 * 2
"""Maximum pixels (height times width) of an image. Checked before decoding, also inside containers such as ICO."""
_COMPILED = ("_imaging", "_imagingcms", "_imagingft", "_imagingmath", "_webp", "_avif")
_COMMON = ("Bmp", "Gif", "Jpeg", "Mpo", "Ppm", "Png", "Tiff", "WebP")
_lock = threading.Lock()


class _Silent:
    """Replaces ``warnings`` in Pillow's modules: oddities of metadata do not affect the pixels."""

    @staticmethod
    def warn(*args: object, **kwargs: object) -> None:
        """Do nothing."""


def open_image(stream: io.BufferedIOBase) -> shared.Image:
    """Find the format of a file and read its header.

    Args:
        stream: a seekable binary stream.

    Returns:
        A lazy image of the second instance. It rejects truncated data, independent of process-wide settings.

    Raises:
        Exception: any exception for damaged files; ``UnidentifiedImageError`` if the format is unknown.
    """
    own = instance()
    image: shared.Image
    try:
        image = own.Image.open(stream)
        return image
    except own.UnidentifiedImageError:
        _load_rare_formats()
    try:
        image = own.Image.open(stream)
        return image
    except own.UnidentifiedImageError:
        # formats that other packages have registered, such as HEIF
        for name in [name for name in shared.ID if name not in own.Image.OPEN]:
            factory, accept = shared.OPEN[name]
            stream.seek(0)
            accepted = accept(stream.read(16)) if accept else True
            if accepted and not isinstance(accepted, str):
                stream.seek(0)
                return factory(cast(IO[bytes], stream), "")
        raise


def is_bomb(error: Exception) -> bool:
    """Return whether an error of ``open_image`` means that an image has more than ``MAX_PIXELS``."""
    return isinstance(error, (shared.DecompressionBombError, instance().Image.DecompressionBombError))


def instance() -> types.ModuleType:
    """Return the second instance of the package ``PIL``, with its modules for images, drawing and common formats."""
    with _lock:  # only the first call takes time
        return _instance()


@functools.cache
def _instance() -> types.ModuleType:
    package = types.ModuleType(NAME)
    for name, value in vars(PIL).items():
        if not name.startswith("__") and not isinstance(value, types.ModuleType):
            setattr(package, name, value)
    vars(package).update(__version__=PIL.__version__, __path__=PIL.__path__)
    sys.modules[NAME] = package
    for name in _COMPILED:  # the compiled code is shared, so both have the same types
        with suppress(ImportError):
            module = importlib.import_module(f"PIL.{name}")
            sys.modules[f"{NAME}.{name}"] = module
            setattr(package, name, module)
    _load_modules("Image", "ImageFile", "ImageDraw", "ImageFont", *(f"{name}ImagePlugin" for name in _COMMON))
    package.Image._initialized = 2  # Image.open must not load formats itself: old versions load the shared ones
    package.Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns above this and rejects twice as many
    package.ImageFile.LOAD_TRUNCATED_IMAGES = False
    return package


def _load_rare_formats() -> None:
    with _lock:
        _load_modules(*PIL._plugins)


def _load_modules(*names: str) -> None:
    for name in names:
        with suppress(ImportError):  # a format that this build does not have
            importlib.import_module(f"{NAME}.{name}")
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{NAME}.") and hasattr(module, "warnings"):
            vars(module)["warnings"] = _Silent
