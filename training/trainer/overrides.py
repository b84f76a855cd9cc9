"""Values of a recipe that are set on the command line."""

import copy
from collections.abc import Collection, Sequence

from depictqa_core.errors import DepictQAError
from depictqa_core.storage.documents import nearest

from ..validation import read_value

FILE_NAMES = ("parts",)
"""Keys whose own keys are names of files, which have dots."""


def with_overrides(content: dict, settings: Sequence[str], known: Collection[str], error: type[DepictQAError]) -> dict:
    """Return a copy of the values of a recipe with some of them replaced.

    Args:
        content: the values by key.
        settings: "KEY=VALUE" each. KEY may lead into a value by dots (``adapter.r``, ``changes.connector.comparison``);
            VALUE is YAML, where numbers such as 2e-4 are numbers, and an empty one is nothing.
        known: the keys that a recipe may have.
        error: class of the exception.

    Raises:
        error: a setting is not of this form, or its key is unknown.
    """
    content = copy.deepcopy(content)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise error(f"--set {setting}: write KEY=VALUE, such as learning_rate=2e-4 or adapter.r=8")
        first, *rest = [key] if key in known else key.split(".", 1)
        if first not in known:
            raise error(f"--set {setting}: unknown key {first}{nearest(first, known)}")
        path = [first, *rest] if first in FILE_NAMES or not rest else [first, *rest[0].split(".")]
        place = content
        for name in path[:-1]:
            if not isinstance(place.get(name), dict):
                if place.get(name) is not None:
                    raise error(f"--set {setting}: {name} holds {place[name]!r}, which has no keys of its own")
                place[name] = {}
            place = place[name]
        place[path[-1]] = read_value(text, f"--set {key}", error)
    return content
