"""Answer test sets with a judge and store the answers in JSON lines, from which interrupted work is resumed."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from depictqa_core import tasks
from depictqa_core.chat.client import Client
from depictqa_core.chat.parallel import ask_all
from depictqa_core.errors import DocumentError, TaskError
from depictqa_core.judge import Judge
from depictqa_core.prompts import A, B
from depictqa_core.storage.documents import parse_json
from depictqa_core.tasks import RATING

from ..output_files import append_text, write_text
from .sets import TestSet

CHUNK = 64
Keep = Callable[[list[dict]], None]
Source = Callable[[list[int], Keep], None]
"""Answers what the indexes stand for, and hands over lists of answers (each with its id) as they come."""


class AnswerFile:
    """JSON lines, one answer each, that are on disk as soon as they are known.

    A file beside it (``.run``) says what the answers depend on; answers of another run are not taken over. Lines that
    were cut off, and answers that are errors, are asked for again.

    Args:
        path: the file; its folder is made.
        run: what the answers depend on, as JSON values.

    Raises:
        StorageError: here and in ``fill``: a file cannot be written.
    """

    def __init__(self, path: str | Path, run: dict):
        self.path = Path(path)
        stamp = self.path.with_name(self.path.name + ".run")
        text = json.dumps(run, sort_keys=True, default=str)
        resumed = stamp.exists() and stamp.read_text(encoding="utf-8", errors="replace") == text
        found = _lines(self.path) if resumed and self.path.exists() else []
        self.known = {line["id"]: line for line in found if "error" not in line}
        self._write(self.known.values())
        write_text(stamp, text)

    def fill(self, ids: Sequence, source: Source, label: str) -> list[dict]:
        """Ask for what is missing, and write all answers in order.

        Args:
            ids: the id of everything that is to be answered.
            source: asked for the indexes of those ids that have no answer yet.
            label: what the progress bar says.

        Returns:
            one answer per id.
        """
        missing = [index for index, identity in enumerate(ids) if identity not in self.known]
        with tqdm(total=len(ids), initial=len(ids) - len(missing), desc=label, mininterval=5) as bar:

            def keep(answers: list[dict]) -> None:
                append_text(self.path, "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers))
                self.known.update((answer["id"], answer) for answer in answers)
                bar.update(len(answers))

            if missing:
                source(missing, keep)
        answers = [self.known[identity] for identity in ids]
        self._write(answers)
        return answers

    def _write(self, answers: Iterable[dict]) -> None:
        write_text(self.path, "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers))


def _lines(path: Path) -> list[dict]:
    """The whole lines of a file that may end in the middle of one."""
    found = []
    for line in path.read_bytes().splitlines():  # as text they would be cut at U+2028 and its like, too
        try:
            content = parse_json(line.decode("utf-8"), path.name)
        except (DocumentError, UnicodeDecodeError):
            continue
        if isinstance(content.get("id"), str | int):
            found.append(content)
    return found


def judge_answers(judge: Judge, test_set: TestSet, swap: bool = True) -> Source:
    """Answers of a judge: id, text, confidence, and for brief questions the probability of every allowed answer.

    Ratings also carry ``swapped``: the probabilities when B is shown first, still by the names of the record. A record
    whose images cannot be read, or whose question the judge does not support, is answered by ``error``.

    Args:
        swap: whether ratings are asked in both orders.
    """

    def source(indexes: list[int], keep: Keep) -> None:
        for task_type, query, members in test_set.groups(indexes):
            task = tasks.task_of(query, tasks.setting(task_type).pair)
            try:
                judge.require_supported(task, query)
            except TaskError as error:
                keep([failed(test_set.records[index]["id"], error) for index in members])
                continue
            for start in range(0, len(members), CHUNK):
                kept, pictures, failures = test_set.readable(members[start : start + CHUNK])
                ids = [test_set.records[index]["id"] for index in kept]
                keep([failed(test_set.records[index]["id"], error) for index, error in failures.items()])
                if not kept:
                    continue
                if not task.brief:
                    said = judge.ask(pictures, task, query)
                    keep([{"id": i, "text": one.text, "confidence": one.confidence} for i, one in zip(ids, said)])
                    continue
                options, rows = judge.ask(pictures, task, query)
                answers = [_brief(identity, options, row) for identity, row in zip(ids, rows)]
                if swap and task is RATING:
                    _, turned = judge.ask([{**shown, A: shown[B], B: shown[A]} for shown in pictures], task, query)
                    for answer, row in zip(answers, turned):
                        answer["swapped"] = {option: round(float(p), 6) for option, p in zip(options, row[::-1])}
                keep(answers)

    return source


def endpoint_answers(client: Client, ids: Sequence, answer: Callable[[int], dict]) -> Source:
    """Answers of an endpoint, several requests at once.

    A request that is rejected or not answered, and an image that cannot be read, become the ``error`` of their answer.

    Args:
        ids: the id of every answer.
        answer: index -> the answer without its id.
    """

    def source(indexes: list[int], keep: Keep) -> None:
        def keep_one(index: int, outcome: dict | Exception) -> None:
            if isinstance(outcome, Exception):
                keep([failed(ids[index], outcome)])
            else:
                keep([{"id": ids[index], **outcome}])

        ask_all(client, indexes, answer, keep_one)

    return source


def failed(identity, error: object) -> dict:
    """The answer to a record that could not be asked about, or got no answer."""
    return {"id": identity, "text": None, "confidence": None, "error": str(error)}


def _brief(identity, options: tuple[str, ...], row) -> dict:
    best = int(row.argmax())
    probabilities = {option: round(float(p), 6) for option, p in zip(options, row) if p >= 5e-7}
    return {
        "id": identity,
        "text": options[best],
        "confidence": round(float(row[best]), 6),
        "probabilities": probabilities,
    }
