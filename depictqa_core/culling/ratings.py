"""Star ratings in XMP sidecars, as digiKam and darktable read them: ``photo.jpg.xmp`` next to ``photo.jpg``."""

import os
import re
from collections.abc import Iterable

from ..errors import StorageError
from ..storage.documents import read_text
from .moves import WRITE, Step

STARS = 5
NEW = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
"""A sidecar with a rating and nothing else (XMP specification, part 1, section 7)."""
_ATTRIBUTE = re.compile(r"""(\bxmp:Rating\s*=\s*)(["'])[^"']*\2""")
_ELEMENT = re.compile(r"(<xmp:Rating>)[^<]*(</xmp:Rating>)")
_DESCRIPTION = re.compile(r"<rdf:Description\b")


def stars(score: float) -> int:
    """The rating, 0 to 5, of a score, 0 to 100: 20 points for a star, rounded.

    >>> [stars(score) for score in (0, 9.9, 10, 55, 100)]
    [0, 0, 1, 3, 5]
    """
    return min(STARS, int(score / (100 / STARS) + 0.5))


def rating_steps(scores: Iterable[tuple[str, float]]) -> tuple[list[Step], list[str]]:
    """Plan to write ratings; a sidecar that is there keeps everything but its rating.

    Args:
        scores: (image, score) of each image.

    Returns:
        the steps, without sidecars that have the rating already; and lines about images that get none.
    """
    steps, notices = [], []
    for image, score in scores:
        if not os.path.isfile(image):
            notices.append(f"{image}: is not a separate file; no rating is written")
            continue
        target = os.path.abspath(f"{image}.xmp")
        try:
            before = read_text(target, error=StorageError) if os.path.lexists(target) else None
            after = rated(before, stars(score), target)
        except StorageError as error:
            notices.append(f"{error}; it stays as it is")
            continue
        if after != before:
            steps.append(Step(WRITE, "", target, before, after))
    return steps, notices


def rated(sidecar: str | None, rating: int, name: str = "the sidecar") -> str:
    """Put a rating into the text of a sidecar.

    Args:
        sidecar: the text, or None for a new one.
        rating: 0 to 5.
        name: how a message calls it.

    Raises:
        StorageError: the text is no XMP.
    """
    if sidecar is None:
        return NEW.format(rating)
    text, count = _ATTRIBUTE.subn(rf"\g<1>\g<2>{rating}\g<2>", sidecar)
    if not count:
        text, count = _ELEMENT.subn(rf"\g<1>{rating}\g<2>", sidecar)
    if not count:
        declared = "" if "xmlns:xmp=" in sidecar else ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        added = f'<rdf:Description{declared} xmp:Rating="{rating}"'
        text, count = _DESCRIPTION.subn(added, sidecar, count=1)
    if not count:
        raise StorageError(f"{name}: is not an XMP sidecar")
    return text
