"""The rating in an XMP packet: set in place, so that every other byte of the packet stays.

Source: XMP specification, part 1, sections 7 (RDF as XML) and 7.3.2 (packet wrapper and padding).
"""

import re
from collections.abc import Iterator
from xml.parsers import expat

NAMESPACE = "http://ns.adobe.com/xap/1.0/"
NEW = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="{NAMESPACE}" xmp:Rating="{{}}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
"""A packet with a rating and nothing else."""
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_RATING = (NAMESPACE, "Rating")
_GROUP, _DESCRIPTION = (_RDF, "RDF"), (_RDF, "Description")
_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_EMPTY = re.compile(rb"\s*/>")
_SPACES = b" \t\r\n"


def with_rating(packet: bytes | None, rating: int) -> bytes:
    """Set the rating of an XMP packet.

    It may be an attribute or an element, with any prefix. A packet with padding keeps its length where that has enough
    spaces. Ratings of other namespaces, such as ``MicrosoftPhoto:Rating``, stay.

    Args:
        packet: UTF-8, as it is in a file; None for a new one.
        rating: 0 to 5.

    Returns:
        the packet; the same bytes if it has this rating already.

    Raises:
        ValueError: it is not XMP, without the name of the file.
    """
    if packet is None:
        return NEW.format(rating).encode()
    found = _Search(packet)
    changes = found.values or ([found.place] if found.place else [])
    if not changes:
        raise ValueError("it has no rdf:Description")
    result = packet
    for start, end, text in reversed(changes):
        result = result[:start] + text.format(rating).encode() + result[end:]
    return _padded(result, len(packet))


def _padded(packet: bytes, length: int) -> bytes:
    """Give a packet its former length again by the spaces before its end."""
    end = packet.rfind(b"<?xpacket end")
    grown = len(packet) - length
    if end < 0 or grown > end - len(packet[:end].rstrip(_SPACES)):
        return packet
    return packet[: end - max(grown, 0)] + b" " * -grown + packet[end:]


def _split(name: str) -> tuple[str, ...]:
    """Return namespace and name; only the name of one without a namespace."""
    return tuple(name.split(" ")[:2])


def _raw(name: str) -> str:
    """Return a name that has a namespace as it is in the packet."""
    return ":".join(name.split(" ")[:0:-1])


class _Search:
    """Where the rating of a packet is, or belongs.

    Attributes:
        values: (start, end, text) of each rating: the bytes to replace, and by what, with ``{}`` for the rating.
        place: the same for a packet without one; None if it has no description.
    """

    def __init__(self, packet: bytes) -> None:
        self.values: list[tuple[int, int, str]] = []
        self.place: tuple[int, int, str] | None = None
        self._packet = packet
        self._path: list[tuple[str, ...]] = []
        self._scope: dict[str, list[str]] = {}
        """Prefix -> its namespaces, the valid one last."""
        self._content = 0
        """Offset after the attributes of a rating that is an element; 0 outside it."""
        self._parser = parser = expat.ParserCreate("utf-8", " ")
        parser.namespace_prefixes = True  # names are "namespace name prefix"
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartNamespaceDeclHandler = self._declare
        parser.EndNamespaceDeclHandler = lambda prefix: self._scope[prefix or ""].pop()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(packet.rstrip(b"\0"), True)
        except expat.ExpatError as error:
            raise ValueError(f"it is not valid XML: {error}") from None

    def _refuse(self, *_: object) -> None:
        raise ValueError("it has a document type, which may declare entities")

    def _declare(self, prefix: str | None, namespace: str | None) -> None:
        self._scope.setdefault(prefix or "", []).append(namespace or "")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        here = _split(name)
        tag = self._parser.CurrentByteIndex
        if here == _DESCRIPTION and self._path[-1:] == [_GROUP]:
            names = {_raw(key) for key in attributes if _split(key) == _RATING}
            self.values += [(start, end, "{}") for name, start, end in self._attributes(tag) if name in names]
            self.place = self.place or self._free_place(tag)
        elif here == _RATING and self._path[-2:] == [_GROUP, _DESCRIPTION]:
            self._content = self._after_attributes(tag)
        self._path.append(here)

    def _end(self, name: str) -> None:
        self._path.pop()
        if not self._content or _split(name) != _RATING:
            return
        start, self._content = self._content, 0
        empty = _EMPTY.match(self._packet, start)
        if empty:
            self.values.append((start, empty.end(), f">{{}}</{_raw(name)}>"))
        else:
            self.values.append((self._packet.index(b">", start) + 1, self._parser.CurrentByteIndex, "{}"))

    def _free_place(self, tag: int) -> tuple[int, int, str]:
        """Return what adds a rating to the element that starts at ``tag``."""
        bound = {prefix: namespaces[-1] for prefix, namespaces in self._scope.items() if namespaces}
        prefix = next((prefix for prefix, namespace in bound.items() if prefix and namespace == NAMESPACE), None)
        declared = ""
        if prefix is None:
            prefix = next(name for name in ("xmp", "xap", *(f"xmp{n}" for n in range(99))) if name not in bound)
            declared = f' xmlns:{prefix}="{NAMESPACE}"'
        place = self._after_name(tag)
        return place, place, f'{declared} {prefix}:Rating="{{}}"'

    def _after_name(self, tag: int) -> int:
        match = _NAME.match(self._packet, tag)
        if match is None:  # expat gives the offsets of tags
            raise ValueError(f"it has no tag at byte {tag}")
        return match.end()

    def _attributes(self, tag: int) -> Iterator[tuple[str, int, int]]:
        """(name, start, end) of the values of attributes, without their quotes."""
        place = self._after_name(tag)
        while match := _ATTRIBUTE.match(self._packet, place):
            yield match[1].decode(), match.start(2) + 1, match.end(2) - 1
            place = match.end()

    def _after_attributes(self, tag: int) -> int:
        return max((end + 1 for _, _, end in self._attributes(tag)), default=self._after_name(tag))
