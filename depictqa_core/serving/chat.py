"""The OpenAI-compatible subset: chat completions whose log-probabilities are those of the allowed answers.

A closed answer is one token: the most probable answer, with ``top_logprobs`` over the answers. The log-probability of
an answer is that of its calibrated share times the coverage, so that the answers together have the coverage. A written
answer has the log-probability of each of its tokens. ``docs/server.md`` has the fields.
"""

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import tasks
from ..backends.base import Criterion, ImageSet, Opening, WrittenAnswer
from ..backends.endpoint_served import NEVER, OWNER
from ..checks import is_string, is_text, is_whole
from ..errors import TaskError
from ..images.image import RGBImage
from ..images.references import common_size
from ..judge import Judge
from ..runtime.progress import Progress, ProgressCounter
from ..tasks import PAIR_QUESTION, QUESTION, TASKS, Task
from .limits import Limits, RequestError
from .sources import Source, source_of_url
from .verbs import LONGEST_ANSWER, LONGEST_TEXT
from .worker import Job

TITLES = ("reference image:", "reference:", "image a:", "image b:", "image:", "evaluated image:")
"""Texts directly before an image that tell what it is; every other text belongs to the question."""
MOST_CHOICES = 256
KNOWN = {
    *(
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "n",
        "stream",
        "seed",
        "user",
    ),
    *("logprobs", "top_logprobs", "structured_outputs", "add_generation_prompt", "continue_final_message"),
    *("task", "criterion", "prompt", "whole"),
}


@dataclass(frozen=True)
class Chat:
    """A chat request, without its images.

    Attributes:
        task, question: what is asked; None for the task's own question.
        choices: the allowed answers of an own question; None for those of the task, or for a written answer.
        about: as in ``Backend.choose``.
        opening: what the answer begins with.
        max_tokens: longest written answer.
        top: number of answers whose log-probabilities are given; None for no log-probabilities.
    """

    task: Task
    question: str | None
    choices: tuple[str, ...] | None
    about: Criterion | None
    opening: Opening
    max_tokens: int
    top: int | None

    @property
    def closed(self) -> bool:
        """Whether the answer is one of a closed set."""
        return self.task.brief or self.choices is not None

    @property
    def answers(self) -> tuple[str, ...]:
        """The closed set."""
        return self.choices or tasks.answers(self.task, self.question or self.task.question)


def model_card(judge: Judge, limits: Limits) -> dict[str, Any]:
    """Return the answer of ``/v1/models``, with what a client of ours needs to judge as the server itself does."""
    backend = judge.backend
    about = {
        "info": {key: value for key, value in judge.info.items() if key != "files"},
        "capabilities": asdict(backend.capabilities),
        "calibration": backend.calibration.settings,
        "size": asdict(backend.size_policy),
        "max_pixels": limits.image_pixels,
        "notices": list(judge.notices),
    }
    model = {"id": backend.name, "object": "model", "created": 0, "owned_by": OWNER, OWNER: about}
    return {"object": "list", "data": [model]}


def chat_of(document: dict[str, Any], model: str) -> tuple[Chat, list[Source], Source | None]:
    """Read a chat request.

    Args:
        model: the name of the served judge.

    Returns:
        the request, its images (A, or A and B), and their reference.

    Raises:
        RequestError: a field is wrong, or asks for what a judge does not do.
    """
    if unknown := sorted(document.keys() - KNOWN):
        raise RequestError(f"the field '{unknown[0][:80]}' is not supported by this server; leave it out")
    if document.get("model") != model:
        raise RequestError(f"this server has one model: {model}", 404)
    if document.get("stream") or document.get("n") not in (None, 1) or document.get("temperature") not in (None, 0):
        raise RequestError("answers are whole and deterministic: leave out stream, n and temperature, or give 0 and 1")
    text, images, reference, begun = _conversation(document.get("messages"))
    pair = len(images) == 2
    task = _task(document.get("task"), text, pair)
    choices = _choices(document.get("structured_outputs"))
    if choices is None and task.name == QUESTION.name:
        choices = tuple(tasks.listed_answers(text)) or None
    question = None if text == task.question else text
    if task.brief and choices == tasks.answers(task, text):
        choices = None
    chat = Chat(
        task,
        question,
        choices,
        _criterion(document),
        Opening(begun, whole=bool(document.get("whole"))),
        _number(document, ("max_completion_tokens", "max_tokens"), LONGEST_ANSWER, 400),
        _number(document, ("top_logprobs",), MOST_CHOICES, 0, 0) if document.get("logprobs") else None,
    )
    return chat, images, reference


def _conversation(messages: object) -> tuple[str, list[Source], Source | None, str]:
    """The question, the images, their reference, and what the answer begins with."""
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise RequestError("messages: give a list with one message of the user")
    begun = ""
    if [one.get("role") for one in messages] == ["user", "assistant"]:
        begun = messages[1].get("content")
        if not is_string(begun) or len(begun) > LONGEST_TEXT:
            raise RequestError(
                f"messages: the beginning of the answer must be text of at most {LONGEST_TEXT} characters"
            )
    elif [one.get("role") for one in messages] != ["user"]:
        raise RequestError("messages: a judge takes one message of the user, with images; leave the others out")
    content = messages[0].get("content")
    parts = content if isinstance(content, list) else []
    shown: list[tuple[str, Source]] = []
    texts: list[str] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and is_string(part.get("text")):
            texts.append(part["text"])
        elif kind == "image_url" and isinstance(part.get("image_url"), dict):
            title = texts.pop().strip().lower() if texts and texts[-1].strip().lower() in TITLES else ""
            shown.append((title, source_of_url(part["image_url"].get("url"), f"image {len(shown) + 1}")))
        else:
            raise RequestError("messages: parts must be of the types text and image_url")
    question = " ".join(" ".join(texts).split())
    references = [source for title, source in shown if title.startswith("reference")]
    images = [one for one in shown if not one[0].startswith("reference")]
    images.sort(key=lambda one: one[0] == "image b:")
    if len(images) not in (1, 2) or len(references) > 1:
        raise RequestError("messages: give one or two images, and at most one with 'Reference image:' before it")
    if not question or len(question) > LONGEST_TEXT:
        raise RequestError(f"messages: give a question of 1 to {LONGEST_TEXT} characters")
    return question, [source for _, source in images], references[0] if references else None, begun


def _task(name: object, question: str, pair: bool) -> Task:
    if name is None:
        return tasks.task_of(question, pair)
    if name == QUESTION.name:
        return PAIR_QUESTION if pair else QUESTION
    if not isinstance(name, str) or name not in TASKS:
        raise RequestError(f"task: choose one of {', '.join(TASKS)}")
    task = TASKS[name]
    if task.pair != pair:
        raise RequestError(f"the task {task.name} is about {'two images' if task.pair else 'one image'}; give as many")
    return task


def _choices(found: object) -> tuple[str, ...] | None:
    if found is None:
        return None
    choices = found.get("choice") if isinstance(found, dict) and len(found) == 1 else None
    texts = isinstance(choices, list) and all(map(is_text, choices))
    if not isinstance(choices, list) or not texts or not 2 <= len(choices) <= MOST_CHOICES:
        raise RequestError(f"structured_outputs: give {{'choice': [...]}} with 2 to {MOST_CHOICES} answers")
    if len(set(choices)) < len(choices) or sum(map(len, choices)) > 4 * LONGEST_TEXT:
        raise RequestError("structured_outputs: two answers are equal, or they are too long together")
    return tuple(choices)


def _criterion(document: dict[str, Any]) -> Criterion | None:
    given = [(kind, document[kind]) for kind in ("criterion", "prompt") if document.get(kind) is not None]
    if not given:
        return None
    kind, text = given[0]
    if len(given) > 1 or not is_text(text) or len(text) > LONGEST_TEXT:
        raise RequestError(f"criterion and prompt: give one of them, as text of at most {LONGEST_TEXT} characters")
    return Criterion(kind, text)


def _number(document: dict[str, Any], names: Sequence[str], most: int, default: int, least: int = 1) -> int:
    value = next((document[name] for name in names if document.get(name) is not None), default)
    if not is_whole(value, least) or value > most:
        raise RequestError(f"{names[-1]}: give a whole number from {least} to {most}")
    return int(value)


def job_of(judge: Judge, chat: Chat, images: Sequence[RGBImage], reference: RGBImage | None) -> Job:
    """Return the job of a chat request: questions of equal wording are answered together.

    Raises:
        TaskError: the judge does not support the question.
    """
    backend, task, question = judge.backend, chat.task, chat.question
    backend.require(task)
    backend.require_criterion(chat.about)
    if question is not None:
        judge.require_supported(task, question)
    if chat.choices is not None and not backend.capabilities.free_questions:
        raise TaskError(f"answers of your own are not supported by {backend.name}; leave structured_outputs out")
    judged = tuple(images)
    if reference is not None:
        judged, reference = common_size(judged, reference)
    shown: ImageSet = (*judged, reference)  # type: ignore[assignment]  # one image or two

    def choose(items: Sequence[ImageSet], progress: Progress) -> list[np.ndarray]:
        counter = ProgressCounter(progress, len(items))
        found = backend.choose(task, question, items, counter, options=chat.choices, about=chat.about)
        return list(np.column_stack([found.probabilities, found.coverage]))

    def write(items: Sequence[tuple[ImageSet, Opening]], progress: Progress) -> list[WrittenAnswer]:
        counter, openings = ProgressCounter(progress, len(items)), [opening for _, opening in items]
        sets = [images for images, _ in items]
        return backend.write(task, question, sets, chat.max_tokens, counter, openings=openings)

    if chat.closed:
        return Job(("choose", task, question, chat.choices, chat.about), [shown], choose)
    return Job(("write", task, question, chat.max_tokens), [(shown, chat.opening)], write)


def completion(judge: Judge, chat: Chat, found: Any) -> dict[str, Any]:
    """Return the chat completion for an answer of ``job_of``."""
    if chat.closed:
        text, rows, finish = _closed(chat, found)
    else:
        text, rows, finish = _written(judge, chat, found)
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    choice["logprobs"] = None if chat.top is None else {"content": rows}
    usage = {"prompt_tokens": 0, "completion_tokens": len(rows), "total_tokens": len(rows)}
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion", "created": int(time.time())}
    return {**head, "model": judge.backend.name, "choices": [choice], "usage": usage}


def _closed(chat: Chat, row: np.ndarray) -> tuple[str, list[dict], str]:
    """The most probable answer as one token; ``row`` is probabilities and coverage."""
    with np.errstate(divide="ignore"):
        logs = np.log(row[:-1]) + np.log(row[-1])
    named = [_token(answer, float(log)) for answer, log in zip(chat.answers, logs)]
    best = sorted(range(len(named)), key=lambda index: -row[index])
    top = [named[index] for index in best[: chat.top or 0]]
    return chat.answers[best[0]], [{**named[best[0]], "top_logprobs": top}], "stop"


def _written(judge: Judge, chat: Chat, written: WrittenAnswer) -> tuple[str, list[dict], str]:
    """What was written behind the opening, token by token."""
    backend = judge.backend
    begun = len(backend.tokens(chat.opening.text, 1.0).ids) if chat.opening.text else 0
    ends = [backend.decode(written.ids[:count]) for count in range(begun, len(written.ids) + 1)]
    chances = written.probabilities[begun:]
    rows = [
        {**_token(after[len(before) :], math.log(chance) if chance else NEVER), "top_logprobs": []}
        for before, after, chance in zip(ends, ends[1:], chances)
    ]
    finish = "length" if len(ends) > chat.max_tokens else "stop"
    return ends[-1][len(ends[0]) :], rows, finish


def _token(text: str, log: float) -> dict[str, Any]:
    return {"token": text, "logprob": min(0.0, max(NEVER, log)), "bytes": list(text.encode("utf-8", "replace"))}
