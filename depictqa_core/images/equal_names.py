"""Which files of several folders have the same name, so that their images are compared."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from .search import LeftOut


def equal_names(folders: Sequence[str], names: Sequence[str]) -> tuple[list[str | None], list[LeftOut]]:
    """Find files of different folders with the same name, whose images are compared.

    Names are compared without extension, case and Unicode normal form. If a folder then has two files with one name,
    the extension counts for that name; if it is the same too, case counts; if there are still two, both are left out.

    Args:
        folders: the folder of each file.
        names: the name of each file, without folder.

    Returns:
        For each file its group (the name of the first file in it), or None if it is left out; and the files left out.

    >>> equal_names(["m1", "m1", "m2"], ["a.png", "b.png", "A.jpg"])[0]
    ['a', 'b', 'a']
    """
    shared: list[str | None] = [None] * len(names)
    left_out: list[LeftOut] = []
    taken: set[str] = set()

    def split(members: list[int], rules: Sequence[Callable[[str], str]]) -> None:
        groups: dict[str, list[int]] = {}
        for index in members:
            groups.setdefault(rules[0](names[index]), []).append(index)
        for group in groups.values():
            counts = Counter(folders[index] for index in group)
            if max(counts.values()) > 1 and rules[1:]:
                split(group, rules[1:])
                continue
            normal = unicodedata.normalize("NFC", names[group[0]])
            name = os.path.splitext(normal)[0] if rules is RULES else normal
            while name in taken:
                name += "'"
            taken.add(name)
            for index in group:
                if counts[folders[index]] == 1:
                    shared[index] = name
                else:
                    path = os.path.join(folders[index], names[index])
                    left_out.append(LeftOut(path, "has the same name as another file of this folder; rename one"))

    split(list(range(len(names))), RULES)
    return shared, left_out


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


RULES = (
    lambda name: _folded(os.path.splitext(name)[0]),
    _folded,
    lambda name: unicodedata.normalize("NFC", name),
)
"""Return the keys by which two names are equal, from the loosest rule to the strictest."""
