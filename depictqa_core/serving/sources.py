"""Images of requests: data URLs and files of forms, checked before they are decoded."""

import base64
import binascii
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import ImageError
from ..images.image import RGBImage, as_image
from ..images.pillow import open_image
from ..images.references import Fitted
from ..results import Failure
from .limits import Limits, RequestError

_DATA_URL = re.compile(r"data:(?:image/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,", re.ASCII)
LONGEST_NAME = 200


class Source(NamedTuple):
    """An image that is not decoded yet: its name for reports, and the content of its file."""

    name: str
    content: bytes


class Prepared(NamedTuple):
    """Decoded images, the reference of each (or None), those that cannot be judged, and notices about references."""

    images: list[RGBImage]
    references: list[RGBImage | None]
    failures: list[Failure]
    notices: list[str]


def source_of_url(url: object, name: str) -> Source:
    """Read an image in a data URL. Other addresses are never opened: the server fetches nothing.

    Raises:
        RequestError: it is not a data URL in base64.
    """
    head = _DATA_URL.match(url) if isinstance(url, str) else None
    if not isinstance(url, str) or head is None:
        raise RequestError(f"{name}: give its content as a data URL, data:image/png;base64,... (nothing is fetched)")
    try:
        return Source(name, base64.b64decode(url[head.end() :], validate=True))
    except (binascii.Error, ValueError):
        raise RequestError(f"{name}: its data URL is not valid base64") from None


def named(name: object, default: str) -> str:
    """Return a client's name of an image if it can be shown, else a default."""
    fits = isinstance(name, str) and name.isprintable() and 0 < len(name.strip()) and len(name) <= LONGEST_NAME
    return str(name) if fits else default


def check_sources(sources: Sequence[Source], limits: Limits) -> int:
    """Return how many pixels images have together, by their headers; damaged ones count as none.

    Raises:
        RequestError: 413, one is too large.
    """
    total = 0
    for source in sources:
        try:
            with open_image(io.BytesIO(source.content)) as image:
                pixels = image.width * image.height
        except Exception:  # decoding reports what is wrong with it
            continue
        if pixels > limits.image_pixels:
            most = f"{limits.image_pixels:,}"
            raise RequestError(f"{source.name}: has {pixels:,} pixels, more than {most}; make it smaller first", 413)
        total += pixels
    return total


def prepare(sources: Sequence[Source], references: Sequence[Source], together: bool) -> Prepared:
    """Decode images, with no reference, one for all, or one each.

    Args:
        together: whether all images are needed for one answer; then nothing may fail.

    Raises:
        ImageError: a reference cannot be judged; or an image, where all are needed.
        RequestError: the number of references is wrong.
    """
    if len(references) not in (0, 1, len(sources)):
        raise RequestError(
            f"{len(references)} references for {len(sources)} images: give one for all, or one for each image"
        )
    fitted = [Fitted(as_image(one.content, one.name)) for one in references] or [Fitted(None)]
    images: list[RGBImage] = []
    beside: list[RGBImage | None] = []
    failures: list[Failure] = []
    for place, source in enumerate(sources):
        own = fitted[place] if len(fitted) > 1 else fitted[0]
        try:
            image = as_image(source.content, source.name)
            reference = own.beside(image)
        except ImageError as error:
            if together:
                raise
            failures.append(Failure.of(source.name, error))
            continue
        images.append(image)
        beside.append(reference)
    return Prepared(images, beside, failures, [line for one in fitted for line in one.notices])
