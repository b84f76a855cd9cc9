"""What judges the images of a large run: a judge in this process, several (``process_engine``), or actors on a Ray
cluster (``ray_engine``).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ImageError, OutOfMemory
from ..results import Failure
from ..storage.documents import named
from .loading import Loaded, batches
from .plan import Plan
from .schema import VERBS, Row
from .sources import Item

if TYPE_CHECKING:
    from ..judge import Judge


GROUPS_AT_ONCE = 2
"""Groups judged at a time: the small steps of the language model on one leave cores to encode images of the other."""
CACHED_GROUPS = 2 * GROUPS_AT_ONCE
"""Groups of whose images a judge stores features and answers: those in work, and as many again."""
Opening = Callable[[], "Judge"]
"""Loads the judge; it can be pickled, for other processes."""
Groups = Generator[list[Row], None, None]
"""Rows in groups; closing it stops the work."""


class Engine(Protocol):
    """A way to judge the images of a plan.

    Attributes:
        plan: what is judged.
        info: that of the judge (``Judge.info``).
        notices: those of the judge.
    """

    plan: Plan
    info: dict[str, Any]
    notices: Sequence[str]

    def rows(self, listing: Iterator[Item], start: int) -> Groups:
        """Judge the inputs from the place ``start`` on.

        Args:
            listing: the rest of the inputs.
            start: place of the first one in the run, from 0.

        Yields:
            rows in the order of the inputs; no group of them spans two parts of the table.
        """


class LocalEngine:
    """A judge in this process; images are decoded while others are judged.

    Args:
        judge: answers the questions.
        plan: what is judged.

    Raises:
        TaskError: the judge does not support one of the questions.
    """

    def __init__(self, judge: "Judge", plan: Plan):
        require(judge, plan)
        self.plan, self.info, self._judge = plan, judge.info, judge
        self.notices: Sequence[str] = judge.notices

    def rows(self, listing: Iterator[Item], start: int) -> Groups:
        waiting: deque[Future[list[Row]]] = deque()
        with ThreadPoolExecutor(GROUPS_AT_ONCE, "depictqa-judge") as pool:
            for group in batches(listing, start, self.plan.part_rows, self.plan.batch):
                waiting.append(pool.submit(judged, self._judge, self.plan, group))
                if len(waiting) == GROUPS_AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def opened(opening: Opening, plan: Plan) -> "Judge":
    """Load a judge for a plan. A run asks about each image once, so what it stores of one is of no use later."""
    judge = opening()
    judge.backend.limit_caches(CACHED_GROUPS * plan.batch)
    return judge


def require(judge: "Judge", plan: Plan) -> None:
    """Raise TaskError if a judge does not support one of the questions of a plan."""
    for verb in plan.verbs:
        VERBS[verb].require(judge, plan.own)


def judged(judge: "Judge", plan: Plan, group: Sequence[Loaded]) -> list[Row]:
    """The rows of a group of images, in order."""
    images = [one.image for one in group if one.image is not None]
    answers = iter(_answers(judge, plan, images))
    return [_row(one, next(answers) if one.image is not None else {"error": one.error}) for one in group]


def _row(one: Loaded, answer: Row) -> Row:
    row: Row = {"image": named(one.name), "error": None}
    if one.image is None or one.fingerprint is None or "error" in answer:
        return row | answer
    marks = one.fingerprint
    row |= {"width": one.image.width, "height": one.image.height, "content": one.image.key}
    return row | {"hash": marks.hash, "blank": marks.blank, "cut": marks.cut} | answer


def _answers(judge: "Judge", plan: Plan, images: list) -> list[Row]:
    """The answers for each image; where a group does not fit into memory, each image is asked about alone."""
    try:
        results = [VERBS[verb].ask(judge, images, plan.own) for verb in plan.verbs] if images else []
    except (OutOfMemory, ImageError) as error:
        if len(images) == 1:
            return [{"error": Failure.of(images[0].name, error).error}]
        return [answer for image in images for answer in _answers(judge, plan, [image])]
    answers: list[Row] = [{} for _ in images]
    for verb, found in zip(plan.verbs, results):
        for answer, result in zip(answers, found):
            answer.update(VERBS[verb].row(result))
    return answers
