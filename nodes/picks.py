"""Picks that the person at the page is asked for: a node shows images and waits until one of the pages answers."""

import asyncio
import hashlib
import time
import uuid
from dataclasses import dataclass, field

from comfy import model_management
from server import PromptServer

from ..depictqa_core.errors import TaskError
from ..depictqa_core.images.image import RGBImage

ASKED, ANSWERED = "depictqa.pick", "depictqa.picked"
"""Messages to all pages: a pick is asked for; it was made, timed out or its run was cancelled."""
POLL_SECONDS = 0.1
CODE_LENGTH = 16


@dataclass
class Pick:
    """A pick that somebody is asked for.

    Attributes:
        count: how many images are shown.
        most: how many of them may be picked; 0 is any number.
        shown: what web/js/pick.js draws: the node, its workflow and the images.
        deadline: when the node stops waiting, in the time of ``time.monotonic``; None is never.
        picked: indexes in the order of the pick; None while nobody has answered.
    """

    count: int
    most: int
    shown: dict
    deadline: float | None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    picked: list[int] | None = None

    def to_page(self) -> dict:
        """Plain values for the page and for programs."""
        left = None if self.deadline is None else max(0.0, round(self.deadline - time.monotonic(), 1))
        return {"id": self.id, "most": self.most, "seconds_left": left, **self.shown}


_waiting: dict[str, Pick] = {}


def waiting() -> list[dict]:
    """Return all picks that nobody has made yet."""
    return [pick.to_page() for pick in list(_waiting.values())]


def answer(pick_id: str, picked: object) -> list[int]:
    """Make a pick; the node that waits for it continues. The first of two answers counts.

    Args:
        pick_id: which one, as ``waiting`` lists it.
        picked: indexes of the images from 0, the preferred one first; an empty list picks none.

    Raises:
        KeyError: nobody waits for this pick, or it was made already.
        TaskError: these are not indexes of the images that are shown.
    """
    pick = _waiting[pick_id]
    if not isinstance(picked, list) or not all(type(index) is int and 0 <= index < pick.count for index in picked):
        raise TaskError(f"picked: give a list of numbers from 0 to {pick.count - 1}, such as [0].")
    if len(set(picked)) < len(picked):
        raise TaskError("picked: a number is in the list twice; give each image once.")
    if pick.most and len(picked) > pick.most:
        raise TaskError(f"picked: {len(picked)} images are too many; pick at most {pick.most}.")
    del _waiting[pick_id]  # KeyError where another page was faster
    pick.picked = picked
    return picked


async def ask(count: int, most: int, seconds: float, shown: dict) -> list[int] | None:
    """Ask all pages for a pick, and wait.

    Args:
        count, most, shown: as in ``Pick``.
        seconds: how long to wait; 0 is without end.

    Returns:
        the indexes of the picked images, None if nobody answered in time.

    Raises:
        InterruptProcessingException: the run was cancelled.
    """
    pick = Pick(count, most, shown, time.monotonic() + seconds if seconds else None)
    _waiting[pick.id] = pick
    send = PromptServer.instance.send_sync
    send(ASKED, pick.to_page())
    try:
        while pick.picked is None and (pick.deadline is None or time.monotonic() < pick.deadline):
            model_management.throw_exception_if_processing_interrupted()
            await asyncio.sleep(POLL_SECONDS)
    finally:
        _waiting.pop(pick.id, None)
        send(ANSWERED, {"id": pick.id})
    return pick.picked


def code_of(pictures: list[RGBImage]) -> str:
    """Tell the images of one run and their references, in their order, from any others."""
    return hashlib.sha256(" ".join(picture.key for picture in pictures).encode()).hexdigest()[:CODE_LENGTH]
