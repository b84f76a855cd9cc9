"""Pillow for this package alone: its Python modules a second time, with limits of our own.

How Pillow decodes, and how large a text it draws, depends on values that belong to the whole process:
``Image.MAX_IMAGE_PIXELS``, ``ImageFile.LOAD_TRUNCATED_IMAGES``, the filters of ``warnings``. Any other package may
change them at any time, in any thread, and what we set would change theirs. So files are decoded and texts drawn by a
second instance of Pillow's Python modules, which shares the compiled code with the first and no variables.
"""

import functools
import importlib
import io
import sys
import threading
import types
from contextlib import suppress

import PIL
from PIL import Image as shared

NAME = f"{__package__}._pillow"
"""Where the second instance stands in ``sys.modules``."""
MAX_PIXELS = 8192 * 8192 * 2
"""Height times width of one image. Checked before pixels are decoded, also inside containers such as ICO."""
_COMPILED = ("_imaging", "_imagingcms", "_imagingft", "_imagingmath", "_webp", "_avif")
_COMMON = ("Bmp", "Gif", "Jpeg", "Mpo", "Ppm", "Png", "Tiff", "WebP")
_lock = threading.Lock()


class _Silent:
    """Stands where Pillow's modules expect ``warnings``: what is odd about metadata does not concern the pixels."""

    @staticmethod
    def warn(*args, **kwargs) -> None:
        """Do nothing."""


def open_image(stream: io.BufferedIOBase):
    """Find the format of a file and read its header.

    Args:
        stream: seekable and binary.

    Returns:
        a lazy image of the second instance. It refuses truncated data, whatever the process has set.

    Raises:
        Exception: nearly anything on damaged files; ``UnidentifiedImageError`` if no format fits.
    """
    own = instance()
    try:
        return own.Image.open(stream)
    except own.UnidentifiedImageError:
        _load_rare_formats()
    try:
        return own.Image.open(stream)
    except own.UnidentifiedImageError:
        # formats that other packages have registered, such as HEIF
        for name in [name for name in shared.ID if name not in own.Image.OPEN]:
            factory, accept = shared.OPEN[name]
            stream.seek(0)
            accepted = accept(stream.read(16)) if accept else True
            if accepted and not isinstance(accepted, str):
                stream.seek(0)
                return factory(stream, "")
        raise


def is_bomb(error: Exception) -> bool:
    """Whether an error of ``open_image`` says that an image has more than ``MAX_PIXELS``."""
    return isinstance(error, (shared.DecompressionBombError, instance().Image.DecompressionBombError))


def instance() -> types.ModuleType:
    """The second instance of the package ``PIL``, with its modules for images, drawing and common formats."""
    with _lock:  # only the first call takes time
        return _instance()


@functools.cache
def _instance() -> types.ModuleType:
    package = types.ModuleType(NAME)
    for name, value in vars(PIL).items():
        if not name.startswith("__") and not isinstance(value, types.ModuleType):
            setattr(package, name, value)
    package.__version__, package.__path__ = PIL.__version__, PIL.__path__
    sys.modules[NAME] = package
    for name in _COMPILED:  # one copy of the compiled code, whose types are then the same for both
        with suppress(ImportError):
            module = importlib.import_module(f"PIL.{name}")
            sys.modules[f"{NAME}.{name}"] = module
            setattr(package, name, module)
    _load_modules("Image", "ImageFile", "ImageDraw", "ImageFont", *(f"{name}ImagePlugin" for name in _COMMON))
    package.Image._initialized = 2  # Image.open must not load formats by itself: old versions load the shared ones
    package.Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns above this and refuses from twice as many
    package.ImageFile.LOAD_TRUNCATED_IMAGES = False
    return package


def _load_rare_formats() -> None:
    with _lock:
        _load_modules(*PIL._plugins)


def _load_modules(*names: str) -> None:
    for name in names:
        with suppress(ImportError):  # a format that this build lacks
            importlib.import_module(f"{NAME}.{name}")
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{NAME}.") and hasattr(module, "warnings"):
            module.warnings = _Silent
