"""Read YAML with the limits of ``depictqa_core.storage.documents``, and validate it with a data model.

``checked`` reports the first problem in one line: an unknown key with the closest known one, a missing key, or an
invalid value with the allowed ones.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema
from typing_extensions import dataclass_transform  # pydantic brings it; typing has this from Python 3.11

from depictqa_core.errors import DepictQAError, DocumentError
from depictqa_core.storage.documents import (
    MAX_DEPTH,
    MAX_DIGITS,
    REMEDY,
    describe,
    holds_text,
    named,
    nearest,
    read_text,
)
from depictqa_core.storage.rules import Rule, is_number

MAX_YAML_BYTES = 2**18
"""Maximum size of a YAML file; people write them."""
MAX_NODES = 20_000
"""Maximum number of values of a YAML file, with repetitions by aliases."""
if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Model = TypeVar("Model")

# ---------------------------------------------------------------------- data models

TEXT = Rule("a text", lambda v: isinstance(v, str) and len(v) <= 10_000 and "\0" not in v)
NAME = Rule("a name", lambda v: TEXT.fits(v) and bool(v.strip()))


@dataclasses.dataclass(frozen=True)
class Allowed:
    """Annotation of a field of a data model, ``Annotated[kind, Allowed(rule)]``: values that fit a rule, unchanged."""

    rule: Rule

    def check(self, value: Any) -> Any:
        """Return the value, or raise what pydantic reports."""
        if not self.rule.fits(value):
            raise PydanticCustomError("rule", "{allowed}", {"allowed": self.rule.allowed})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)


def optional(rule: Rule) -> Rule:
    """A rule that null fits, too."""
    return Rule(f"{rule.allowed}, or nothing", lambda v: v is None or rule.fits(v))


def instance_of(kind, allowed: str) -> Rule:
    """A value of some class."""
    return Rule(allowed, lambda v: isinstance(v, kind) and not (isinstance(v, bool) and kind is not bool))


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def data_model(kind: type[Model]) -> type[Model]:
    """Class decorator: a frozen dataclass whose values pydantic checks, whoever makes it."""
    decorate: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid"))  # its type forgets the class
    made: type[Model] = decorate(kind)
    return made


def checked(
    kind: type[Model], content: Mapping, where: str, error: type[Exception] = DocumentError, prefix: str = ""
) -> Model:
    """A data model of the values of a file.

    Args:
        kind: a class made by ``data_model``.
        content: its fields by name.
        where: how messages call the file.
        error: class of the exception.
        prefix: what stands before the names of fields in messages, such as "start.".

    Raises:
        error: an unknown key, a missing one, or an impossible value.
    """
    if not isinstance(content, Mapping):
        name = f"{prefix.rstrip('.')} " if prefix else ""
        raise error(f"{where}: {name}must hold keys and values, not {describe(content)}")
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]  # a data model
    if unknown := [key for key in content if key not in known]:
        key = unknown[0] if isinstance(unknown[0], str) else describe(unknown[0])
        raise error(
            f"{where}: unknown key {prefix}{key}{nearest(key, known)}; known keys are {', '.join(sorted(known))}"
        )
    try:
        return kind(**content)
    except ValidationError as failed:
        found = failed.errors(include_url=False)[0]
        raise error(
            f"{where}: {prefix}{_said(found, kind)}" if found["loc"] else f"{where}: {_cause(found)}"
        ) from failed


def _said(found: ErrorDetails, kind: Any) -> str:
    name = str(found["loc"][0])
    if found["type"].startswith("missing"):
        allowed = (one.rule.allowed for one in kind.__pydantic_fields__[name].metadata if isinstance(one, Allowed))
        return ": ".join([f"{name} is missing", *allowed])
    return f"{name} is {describe(found['input'])}{_hint(found['input'])}; allowed: {found['msg']}"


def _cause(found: ErrorDetails) -> str:
    return str(found.get("ctx", {}).get("error", found["msg"]))


def _hint(value) -> str:
    """YAML takes 2e-4 for text."""
    try:
        return f" (text; write {float(value):.1e})" if isinstance(value, str) else ""
    except ValueError:
        return ""


# ---------------------------------------------------------------------- YAML


def read_yaml(
    path: str | Path, *, where: str | None = None, remedy: str = REMEDY, error: type[DepictQAError] = DocumentError
) -> dict:
    """Read a YAML file that holds keys and values, of the kinds of value that JSON has.

    Args:
        where: how messages call the file.
        remedy: what messages advise.
        error: class of the exception.

    Raises:
        error: the file cannot be read, is larger, deeper or holds more than a file of settings does, repeats itself by
            aliases without end, has a key twice, or values that JSON has not; names file, cause and remedy.
    """
    text = read_text(path, where=where, limit=MAX_YAML_BYTES, remedy=remedy, error=error)
    where = named(path)
    try:
        _check_nodes(text)
        content = yaml.load(text, Loader=_Strict)  # a SafeLoader
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as cause:
        raise error(f"{where} is not a valid YAML file: {' '.join(str(cause).split())}; {remedy}") from cause
    if wrong := next(filter(None, map(_wrong, _values(content, ""))), None):
        raise error(f"{where}: {wrong}; {remedy}")
    if not isinstance(content, dict):
        raise error(f"{where} is not a file of settings: it must hold keys and values, not {describe(content)}")
    return content


def read_value(text: str, where: str, error: type[DepictQAError] = DocumentError):
    """Read one value of the command line: YAML, and numbers such as 2e-4, which YAML takes for text.

    Args:
        text: the value; an empty one is None.
        where: how messages call it.
        error: class of the exception.

    Raises:
        error: it is no YAML value, or one that a file of settings may not have.
    """
    try:
        _check_nodes(text)
        value = yaml.load(text, Loader=_Strict)  # a SafeLoader
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as cause:
        raise error(f"{where}: {text!r} is not a value ({' '.join(str(cause).split())})") from cause
    if isinstance(value, str) and value[:1] in "+-.0123456789":
        with contextlib.suppress(ValueError):
            value = float(value)
    if wrong := next(filter(None, map(_wrong, _values(value, "the value"))), None):
        raise error(f"{where}: {wrong}")
    return value


class _Strict(_Loader):
    """A safe loader that rejects duplicate keys and keys that are not text."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise ValueError(f"the key {describe(name)} is not text{key.start_mark}")
            if name in seen:
                raise ValueError(f"the key {describe(name)} occurs twice{key.start_mark}")
            seen.add(name)
        return super().construct_mapping(node, deep)


def _check_nodes(text: str) -> None:
    """Raise ValueError before anything is built: nesting, and the size of what aliases repeat."""
    sizes: dict[str, int] = {}
    anchors: list[str | None] = []  # of the open nodes
    counts = [0]  # of the values of the document and in each open node so far
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            anchors.append(event.anchor)
            counts.append(1)
            if len(counts) > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = anchors.pop(), counts.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            alias = str(event.anchor)
            if alias not in sizes:
                raise ValueError(f"the alias *{alias} is undefined or contains itself")
            anchor, size = None, sizes[alias]
        else:
            continue
        if anchor:
            sizes[anchor] = size
        counts[-1] += size
        if counts[-1] > MAX_NODES:
            raise ValueError(f"it holds more than {MAX_NODES} values, repeated ones counted")


def _wrong(named_value: tuple[str, object]) -> str | None:
    """What is wrong with one value of a file of settings, or None."""
    where, value = named_value
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        return f"{where} is a whole number of more than {MAX_DIGITS} digits"
    if isinstance(value, float) and not is_number(value):
        return f"{where} is {value}, which is not a finite number"
    if isinstance(value, str) and not holds_text(value):
        return f"{where} is {describe(value)}, which UTF-8 cannot encode"
    if not isinstance(value, (int, float, str, type(None), dict, list)):
        return f"{where} is a {type(value).__name__}, {describe(str(value))}; put it in quotes"
    return None


def _values(content, where: str) -> Iterator:
    """(dotted name, value) of everything inside; depth and number are known to be small."""
    yield where, content
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _values(value, f"{where}.{key}".lstrip("."))
    elif isinstance(content, list):
        for value in content:
            yield from _values(value, where)
