"""Collect detailed answers from an endpoint in resumable JSON lines, with an estimate of the cost."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from depictqa_core.chat.client import Client, Reply
from depictqa_core.chat.endpoint import RequestRejected
from depictqa_core.chat.messages import request_body
from depictqa_core.chat.parallel import Failure, ask_all
from depictqa_core.errors import DepictQAError, ImageError
from depictqa_core.storage.documents import parse_json
from training.output_files import append_text, writing

from ..building.plan import Plan
from ..building.samples import KINDS, Kind, sample_store
from .answer_checks import one_line, problem
from .requests import TEMPERATURE, Expected, digest, expected, max_tokens, messages, request_text

REJECTED = "rejected by the endpoint"
MOST_DROPS = 30
"""Number of dropped answers in a row after which a run is stopped: the next ones would be paid for in vain."""
TOKENS_PER_WORD = 1.4


class AllDropped(DepictQAError):
    """Many answers in a row were dropped, or all of them."""


@dataclass(frozen=True)
class Pending:
    """A sample that has no answer yet, with what is true about it."""

    set_name: str
    kind: Kind
    sample: dict
    want: Expected

    @property
    def index(self) -> int:
        return self.sample["scene"]


@dataclass(frozen=True)
class Cost:
    """What the pending requests of one set will need: tokens are estimates, see ``estimate``."""

    set_name: str
    requests: int
    input_tokens: int
    output_tokens: int

    def money(self, input_price: float, output_price: float) -> float:
        """In the currency of the prices, which are for a million tokens."""
        return (self.input_tokens * input_price + self.output_tokens * output_price) / 1e6


def answers_file(root: str | Path, set_name: str) -> Path:
    """Where the answers of a set are kept: one JSON object a line, the last one of a sample counts."""
    return Path(root) / "answers" / f"{set_name}.jsonl"


def detailed_sets(plan: Plan) -> list[str]:
    """The sets of a plan that have detailed answers."""
    return [name for name in plan.sets if KINDS[name].task in ("assessment", "comparison")]


def kept_answers(root: str | Path, set_name: str) -> dict[int, str] | None:
    """Good answers of a set by sample index; None if nobody was asked. Those about other images are left out."""
    file = answers_file(root, set_name)
    if not file.exists():
        return None
    lines = _lines(file)
    truth = {sample["scene"]: digest(sample) for sample in sample_store(root, set_name).read()}
    return {
        index: line["text"]
        for index, line in lines.items()
        if line["dropped"] is None and line["digest"] == truth.get(index)
    }


def pending(plan: Plan, root: str | Path, set_name: str, again: bool = False) -> Iterator[Pending]:
    """The samples of a set that must still be asked about.

    Args:
        again: ask once more where the answer was dropped.
    """
    kind = KINDS[set_name]
    done = {
        (index, line["digest"])
        for index, line in _lines(answers_file(root, set_name)).items()
        if line["dropped"] is None or not again
    }
    for sample in islice(sample_store(root, set_name).read(), plan.sets[set_name].samples):
        if (sample["scene"], digest(sample)) not in done:
            yield Pending(set_name, kind, sample, expected(kind, sample))


def unbuilt(root: str | Path, plan: Plan) -> list[str]:
    """The sets with detailed answers whose samples are wanted, but not there: build has to make them first."""
    return [
        name
        for name in detailed_sets(plan)
        if plan.sets[name].samples and next(sample_store(root, name).read(), None) is None
    ]


def request(one: Pending, model: str | None, root: str | Path) -> dict:
    """All that is sent to the endpoint for a sample."""
    return request_body(model, messages(one.sample, one.want, root), max_tokens(one.kind), TEMPERATURE)


def estimate(set_name: str, todo: list[Pending]) -> Cost:
    """Tokens that the pending requests of a set will need.

    Four characters of text count as a token, an image as 85 tokens and 170 more for every tile of 512 px (a common
    rule; endpoints differ), and answers as long as their word limit.
    """
    pixels = [(one.sample["height"], one.sample["width"], 1 + len(one.want.pictures)) for one in todo]
    pictures = sum(n * (85 + 170 * math.ceil(height / 512) * math.ceil(width / 512)) for height, width, n in pixels)
    text = sum(len(request_text(one.want)) // 4 + 60 for one in todo)
    answers = sum(min(max_tokens(one.kind), round(TOKENS_PER_WORD * one.want.words)) for one in todo)
    return Cost(set_name, len(todo), pictures + text, answers)


def collect(
    todo: list[Pending],
    root: str | Path,
    client: Client,
    concurrency: int = 4,
    progress: Callable[[str], None] | None = None,
    most_drops: int = MOST_DROPS,
) -> Counter:
    """Ask about every sample and keep each answer, good or dropped, in its set's file as soon as it comes.

    A run that is stopped or killed loses nothing that was written; the next one asks for the rest. A request that got
    no answer, or whose images cannot be read, is not written, so that the next run asks again.

    Args:
        concurrency: parallel requests.
        progress: called with "kept", the reason for dropping, "no answer" or "unreadable image" after every request.
        most_drops: number of answers in a row that may be dropped.

    Returns:
        The same words, counted.

    Raises:
        AllDropped: ``most_drops`` answers in a row were dropped; all answers so far are stored.
        EndpointError: the endpoint refuses all requests, or gives no answer to many in a row (``ask_all``).
        StorageError: an answer cannot be written.
    """
    counts: Counter = Counter()
    drops = 0

    def keep(one: Pending, outcome: dict | Failure) -> None:
        if isinstance(outcome, RequestRejected):
            outcome = {**_about(one, client), "text": None, "dropped": REJECTED, "detail": str(outcome)}
        if isinstance(outcome, dict):
            _append(root, one, outcome)
            word = outcome["dropped"] or "kept"
        else:
            word = "unreadable image" if isinstance(outcome, ImageError) else "no answer"
        counts[word] += 1
        if progress:
            progress(word)
        nonlocal drops
        drops = drops + 1 if isinstance(outcome, dict) and outcome["dropped"] else 0
        if drops >= most_drops:
            reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common() if reason != "kept")
            raise AllDropped(
                f"{drops} answers in a row were dropped, so nothing more was requested ({counts['kept']} kept;"
                f" {reasons}): read {answers_file(root, one.set_name)}, and choose another model, or give a larger"
                " --most-drops"
            )

    try:
        with writing(Path(root) / "answers"):
            for name in {one.set_name for one in todo}:
                _open(answers_file(root, name))
        ask_all(client, todo, lambda one: _ask(client, one, root), keep, concurrency)
    finally:
        client.close()
    return counts


def _ask(client: Client, one: Pending, root: str | Path) -> dict:
    reply: Reply = client.complete(messages(one.sample, one.want, root), max_tokens(one.kind), TEMPERATURE)
    text = one_line(reply.text)
    tokens = [reply.prompt_tokens, reply.completion_tokens]
    return {**_about(one, client), "text": text, "dropped": problem(text, reply.finish, one.want), "tokens": tokens}


def _about(one: Pending, client: Client) -> dict:
    return {"sample": one.index, "digest": digest(one.sample), "model": client.endpoint.model}


def _append(root: str | Path, one: Pending, line: dict) -> None:
    append_text(answers_file(root, one.set_name), json.dumps(line, ensure_ascii=False) + "\n")


def _lines(file: Path) -> dict[int, dict]:
    """The last line of every sample; a line that a kill cut off counts as not there."""
    if not file.exists():
        return {}
    found = {}
    for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            entry = parse_json(line, str(number))
            found[entry["sample"]] = entry
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number}: no answer ({error}); remove the line and run again") from error
    return found


def _open(file: Path) -> None:
    """Make the file ready for appending: its folder, and without the end of a line that a kill cut off."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        content = file.read_bytes()
        if not content.endswith(b"\n") and content:
            with file.open("r+b") as cut:
                cut.truncate(content.rfind(b"\n") + 1)
