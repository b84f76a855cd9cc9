"""The verbs as JSON: which arguments each takes, and how the images of several clients are judged together."""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ..backends.base import PairSet, SingleSet
from ..checks import is_text
from ..confidence import coverage_notices
from ..errors import DepictQAError
from ..images.image import RGBImage, notices_of
from ..judge import Judge
from ..reports.json_csv import json_text
from ..results import Failure, Ranking
from ..runtime.progress import Progress
from .limits import Limits, RequestError, status_of
from .sources import Prepared, Source, named, source_of_url
from .worker import Job

LONGEST_TEXT = 4000
LONGEST_ANSWER = 1000
"""Limits of texts in characters, and of written answers in tokens."""
FIELDS = ("images", "names", "reference")


@dataclass(frozen=True)
class Verb:
    """A verb of the judge.

    Attributes:
        arguments: the names of those that a request may have; as in ``Judge``.
        ask: answers items, one result each.
        together: whether all images of a request are one item; else each image is one.
        images: fewest and most images; None for the limit of the server.
    """

    arguments: tuple[str, ...]
    ask: Callable[[Judge, Sequence[Any], dict[str, Any], Progress], Sequence[Any]]
    together: bool = False
    images: tuple[int, int | None] = (1, None)


def _each(name: str) -> Callable[[Judge, Sequence[SingleSet], dict[str, Any], Progress], Sequence[Any]]:
    """A verb about single images: with a reference each, or none with one."""

    def ask(judge: Judge, items: Sequence[SingleSet], arguments: dict[str, Any], progress: Progress) -> Sequence[Any]:
        references = [reference for _, reference in items if reference is not None]
        verb = getattr(judge, name)
        found: Sequence[Any] = verb(
            [image for image, _ in items], reference=references or None, progress=progress, **arguments
        )
        return found

    return ask


def _compare(judge: Judge, items: Sequence[PairSet], arguments: dict[str, Any], progress: Progress) -> Sequence[Any]:
    pairs, references = [(a, b) for a, b, _ in items], [reference for *_, reference in items]
    return judge.compare_many(pairs, references, progress=progress, **arguments)


def _rank(
    judge: Judge, items: Sequence[Sequence[SingleSet]], arguments: dict[str, Any], progress: Progress
) -> Sequence[Any]:
    found = []
    for sets in items:
        references = [reference for _, reference in sets if reference is not None]
        found.append(judge.rank([image for image, _ in sets], references or None, progress=progress, **arguments))
    return found


VERBS = {
    "identify": Verb(("count", "faults"), _each("identify")),
    "describe": Verb(("question", "count", "max_new_tokens"), _each("describe")),
    "score": Verb(("criterion", "prompt"), _each("score")),
    "check": Verb(("question", "answers", "accept", "threshold"), _each("check")),
    "compare": Verb(("explain", "question", "criterion", "prompt"), _compare, True, (2, 2)),
    "rank": Verb(("method", "reasons", "top_k", "confidence", "budget", "criterion", "prompt"), _rank, True, (1, None)),
}


@dataclass(frozen=True)
class Asked:
    """A request for a verb, with its images not decoded yet."""

    sources: list[Source]
    references: list[Source]
    arguments: dict[str, Any]


def asked_in_json(name: str, document: dict[str, Any], limits: Limits) -> Asked:
    """Read a request in JSON: ``images``, ``names``, ``reference``, and the arguments of the verb.

    Raises:
        RequestError: a field is wrong.
    """
    images, names, given = (document.get(field) for field in FIELDS)
    urls = images if isinstance(images, list) else [images]
    names = names if isinstance(names, list) else []
    _check_count(name, len(urls) if images else 0, limits)
    labels = [named(names[i] if i < len(names) else None, f"image {i + 1}") for i in range(len(urls))]
    references = [] if given is None else given if isinstance(given, list) else [given]
    if len(references) > len(urls):
        raise RequestError(f"reference: {len(references)} for {len(urls)} images; give one for all, or one for each")
    arguments = {key: value for key, value in document.items() if key not in FIELDS}
    return Asked(
        [source_of_url(url, label) for url, label in zip(urls, labels)],
        [source_of_url(url, "reference") for url in references],
        checked_arguments(name, arguments),
    )


def asked_in_form(
    name: str,
    images: Sequence[tuple[str, bytes]],
    references: Sequence[tuple[str, bytes]],
    arguments: dict[str, Any],
    limits: Limits,
) -> Asked:
    """Read a request in a form; files are (name, content).

    Raises:
        RequestError: a field is wrong.
    """
    _check_count(name, len(images), limits)
    sources = [Source(named(label, f"image {i + 1}"), content) for i, (label, content) in enumerate(images)]
    originals = [Source(named(label, "reference"), content) for label, content in references]
    return Asked(sources, originals, checked_arguments(name, arguments))


def _check_count(name: str, count: int, limits: Limits) -> None:
    fewest, most = VERBS[name].images
    if not count:
        raise RequestError("images: give data URLs in a list, or files in a form")
    if count > limits.images:
        raise RequestError(f"images: {count} in one request, more than {limits.images}; send several requests", 413)
    if count < fewest or (most is not None and count > most):
        raise RequestError(f"images: {name} takes {fewest}, not {count}")


def checked_arguments(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a verb; their values are checked by the judge.

    Raises:
        RequestError: one is unknown, missing, or longer than the server allows.
    """
    allowed = VERBS[name].arguments
    if unknown := sorted(arguments.keys() - set(allowed)):
        raise RequestError(f"unknown argument '{unknown[0][:80]}': {name} takes {', '.join(allowed)}")
    if name == "check" and not is_text(arguments.get("question")):
        raise RequestError("question: give the question of the check as text")
    for key, value in arguments.items():
        if len(value if isinstance(value, str) else json.dumps(value)) > LONGEST_TEXT:
            raise RequestError(f"{key}: has more than {LONGEST_TEXT} characters; make it shorter")
    tokens = arguments.get("max_new_tokens", 1)
    if isinstance(tokens, int) and tokens > LONGEST_ANSWER:
        raise RequestError(f"max_new_tokens: at most {LONGEST_ANSWER} here, not {tokens}")
    return arguments


def job_of(judge: Judge, name: str, arguments: dict[str, Any], prepared: Prepared) -> Job:
    """Return the job of a request for a verb, for ``Worker.submit``."""
    verb = VERBS[name]
    sets = list(zip(prepared.images, prepared.references))
    items: list[Any] = list(sets)
    if verb.together:
        items = [(sets[0][0], sets[1][0], sets[0][1])] if name == "compare" else [sets]
    key: Hashable = (name, json.dumps(arguments, sort_keys=True), sets[0][1] is not None)
    return Job(key, items, lambda items, progress: verb.ask(judge, items, arguments, progress))


def document_of_answers(judge: Judge, name: str, prepared: Prepared, found: Sequence[Any]) -> str:
    """Return the answers in the JSON of ``depictqa NAME --json``.

    Args:
        found: results, or exceptions for images that failed.

    Raises:
        Exception: the first of these, where nothing was answered.
    """
    results, failures = [], list(prepared.failures)
    for image, one in zip(_labels(prepared.images, name), found):
        if not isinstance(one, Exception):
            results.append(one)
        elif isinstance(one, DepictQAError) and status_of(one) == 400:
            failures.append(Failure.of(image, one))
        else:
            raise one
    if not results:
        errors = [one for one in found if isinstance(one, Exception)]
        if errors and not prepared.failures:
            raise errors[0]
        raise RequestError("; ".join(f"{one.picture}: {one.error}" for one in failures[:3]))
    notices = [*judge.notices, *notices_of([*prepared.images]), *prepared.notices]
    notices += coverage_notices([result.coverage for result in results], judge.backend.low_coverage_remedy)
    facts: dict[str, Any] = {"notices": list(dict.fromkeys(notices)) or None}
    if isinstance(results[0], Ranking):
        facts |= results[0].to_dict()
        rows = facts.pop("pictures")
    else:
        rows = [result.to_dict() for result in results]
    return json_text(name, judge.info.get("name"), rows, failures, **facts)


def _labels(images: Sequence[RGBImage], name: str) -> list[str]:
    """What a failure is called, for each item."""
    return [name] if VERBS[name].together else [image.name for image in images]
