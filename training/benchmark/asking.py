"""What a judge answers to the items of a workload: rows for an answer file, as they come."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from depictqa_core import tasks
from depictqa_core.chat.endpoint import EndpointError
from depictqa_core.errors import DepictQAError, OutOfMemory, TaskError
from depictqa_core.images.image import RGBImage
from depictqa_core.images.references import common_size
from depictqa_core.judge import Judge
from depictqa_core.runtime.progress import ProgressCounter
from depictqa_core.tasks import ASSESSMENT, QUESTION, RATING, SCORE
from depictqa_core.verbs.check import require_checks

from ..dataset.readers import Preferred, Rated
from ..dataset.records.image_paths import read_image
from ..evaluation.answer_files import Keep, Source, failed
from .items import DESCRIPTIONS, PAIRS, QUESTIONS, SCORES, Choice, Described, Workload, only

CHUNK_PIXELS = 64 * 2**20
"""Maximum number of pixels of the images that are held at a time; at least one item is."""
MOST_ITEMS = 16
"""Maximum number of items that are asked together: as many are lost if the process is killed."""
REQUESTS = 8
"""Closed questions that are asked of a server at a time."""
DESCRIBE = "Describe the quality, aesthetics and other low-level appearance of the image in details."
"""The question of Q-Bench A2 (https://github.com/Q-Future/Q-Bench)."""

Shown = dict[str, RGBImage]
Answered = list[dict[str, Any]]
Ask = Callable[[list[int], list[Shown]], Answered]
"""(indexes of items, their images by path) -> the answers, each without its id."""


def require(judge: Judge, work: Workload) -> None:
    """Raise TaskError unless a judge can answer a workload."""
    if work.kind == SCORES and not {SCORE.name, RATING.name} & set(judge.backend.capabilities.tasks):
        raise TaskError(f"{judge.backend.name} supports neither scores nor ratings")
    if work.kind == PAIRS:
        judge.backend.require(RATING)
    elif work.kind == QUESTIONS:
        require_checks(judge.backend)
    elif work.kind == DESCRIPTIONS:
        judge.backend.require(ASSESSMENT)


def judged_rows(judge: Judge, work: Workload) -> Source:
    """Return the source of a judge's answers to a workload of any kind but records.

    Images are read a few at a time. An item whose images cannot be read, or that the judge refuses, is answered by
    ``error``; a server that cannot be used, and a full memory, end the run.
    """
    ids = [work.identity(item) for item in work.items]
    ask = {SCORES: _scores, PAIRS: _pairs, QUESTIONS: _questions, DESCRIPTIONS: _descriptions}[work.kind](judge, work)

    def answers(indexes: list[int], shown: list[Shown]) -> Answered:
        try:
            return ask(indexes, shown)
        except (EndpointError, OutOfMemory):
            raise
        except DepictQAError as error:
            if len(indexes) == 1:
                return [{"error": str(error)}]
            return [row for one in zip(indexes, shown) for row in answers([one[0]], [one[1]])]

    def source(indexes: list[int], keep: Keep) -> None:
        for members, shown, failures in _read(work, indexes):
            keep([{**failed(ids[index], error), **facts(work, index)} for index, error in failures.items()])
            if members:
                found = answers(members, shown)
                keep([{"id": ids[index], **facts(work, index), **row} for index, row in zip(members, found)])

    return source


def facts(work: Workload, index: int) -> dict[str, Any]:
    """What a row says of its item, for those who read the file."""
    item = work.items[index]
    if isinstance(item, Choice):
        about = {"question": item.question, "category": item.category, "truth": item.answer}
        return {"images": list(item.images), **about}
    known: dict[str, Any] = {"images": list(work.images_of(item))}
    if isinstance(item, Rated):
        known["mos"] = item.mos
    elif isinstance(item, Preferred):
        known["share"] = item.share
    return known


def _read(work: Workload, indexes: Sequence[int]) -> Iterator[tuple[list[int], list[Shown], dict[int, str]]]:
    """Groups of items with their images, and why the images of others cannot be read."""
    members: list[int] = []
    shown: list[Shown] = []
    failures: dict[int, str] = {}
    cache: Shown = {}
    for index in indexes:
        paths = work.images_of(work.items[index])
        try:
            for path in paths:
                if path not in cache:
                    cache[path] = read_image(work.root, path)
        except DepictQAError as error:
            failures[index] = str(error)
            continue
        members.append(index)
        shown.append({path: cache[path] for path in paths})
        if len(members) == MOST_ITEMS or sum(image.rgb.size // 3 for image in cache.values()) >= CHUNK_PIXELS:
            yield members, shown, failures
            members, shown, failures, cache = [], [], {}, {}
    yield members, shown, failures


def _scores(judge: Judge, work: Workload) -> Ask:
    rated = only(work.items, Rated)

    def ask(indexes: list[int], shown: list[Shown]) -> Answered:
        found: dict[int, Any] = {}
        for given in (True, False):  # with a reference or without: one call has one or the other for all
            members = [
                place for place, index in enumerate(indexes) if bool(work.reference and rated[index].reference) == given
            ]
            if members:
                images = [shown[place][rated[indexes[place]].image] for place in members]
                originals = [shown[place][str(rated[indexes[place]].reference)] for place in members] if given else None
                found.update(zip(members, judge.score(images, originals)))
        fields = ("score", "spread", "confidence", "coverage", "method")
        return [_row(found[place], fields) for place in range(len(indexes))]

    return ask


def _pairs(judge: Judge, work: Workload) -> Ask:
    preferred = only(work.items, Preferred)

    def ask(indexes: list[int], shown: list[Shown]) -> Answered:
        items = [preferred[index] for index in indexes]
        pairs = [(one[item.a], one[item.b]) for item, one in zip(items, shown)]
        known = [item.reference if work.reference else None for item in items]
        found = judge.compare_many(pairs, [one[path] if path else None for path, one in zip(known, shown)])
        fields = ("probability_a", "disagreement", "verdict", "confidence", "coverage")
        return [_row(one, fields) for one in found]

    return ask


def _row(result: Any, fields: Sequence[str]) -> dict[str, Any]:
    """The fields of a result, rounded to 6 digits."""
    values = {name: getattr(result, name) for name in fields}
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def _questions(judge: Judge, work: Workload) -> Ask:
    backend, choices = judge.backend, only(work.items, Choice)
    workers = REQUESTS if backend.device is None else 1  # a server answers several at a time

    def ask(indexes: list[int], shown: list[Shown]) -> Answered:
        groups: dict[tuple, list[int]] = defaultdict(list)
        for place, index in enumerate(indexes):
            item = choices[index]
            groups[item.question, item.options, len(item.images)].append(place)
        found: dict[int, dict] = {}

        def answer(members: list[int]) -> None:
            item = choices[indexes[members[0]]]
            sets = [_image_set(choices[indexes[place]], shown[place]) for place in members]
            task = tasks.PAIR_QUESTION if len(item.images) == 2 else QUESTION
            chosen = backend.choose(task, item.question, sets, ProgressCounter(None, len(sets)), options=item.options)
            for place, row, coverage in zip(members, *chosen):
                best = int(row.argmax())
                found[place] = {
                    "text": item.options[best],
                    "confidence": round(float(row[best]), 6),
                    "coverage": round(float(coverage), 6),
                    "probabilities": {option: round(float(p), 6) for option, p in zip(item.options, row)},
                }

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(answer, groups.values()))
        return [found[place] for place in range(len(indexes))]

    return ask


def _image_set(item: Choice, shown: Shown) -> Any:
    images = tuple(shown[path] for path in item.images)
    if item.reference is None:
        return (*images, None)
    judged, reference = common_size(images, shown[item.reference])
    return (*judged, reference)


def _descriptions(judge: Judge, work: Workload) -> Ask:
    images = only(work.items, Described)
    question = DESCRIBE if judge.backend.capabilities.free_questions else None

    def ask(indexes: list[int], shown: list[Shown]) -> Answered:
        found = judge.describe([one[images[index].image] for index, one in zip(indexes, shown)], question=question)
        return [{"text": one.text, "confidence": one.confidence} for one in found]

    return ask
