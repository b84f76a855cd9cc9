"""How questions are asked: pictures are encoded once, answers kept, prompts of about equal length run together.

``Engine`` knows the network and its memory; which questions make up a verb is the business of ``judge``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .. import tasks
from ..errors import CheckpointError, DepictQAError, OutOfMemory, TaskError
from ..images.image import Picture, SizePolicy
from ..loading.checkpoint import Checkpoint
from ..prompts import Slot, answer_ids, encode, layout, text_ids
from ..runtime.byte_cache import ByteCache
from ..tasks import Task
from .batching import beginnings_budget, reading_budget, run_in_batches
from .slots import by_role, slots

Progress = Callable[[int, int], None]
OnText = Callable[[int, str], None]
ANSWER_BYTES = 32 * 2**20
"""Memory budget for answers that are kept between calls, so that an interrupted call goes on where it stopped."""
ANSWER_OVERHEAD, TOKEN_BYTES = 1024, 80
"""About what one kept answer takes beside its numbers, and one token of a written one with its probability."""
BATCH = 32
"""Most questions that go through the language model together."""


class Counter:
    """Adds up the progress of several passes into one count that never falls; what ``progress`` raises is Cancel."""

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        """Count finished pieces of work and report."""
        self.done += count
        self.check()

    def check(self) -> None:
        """Report without a new count, so that Cancel is heard in the middle of a piece."""
        if self.progress:
            self.progress(self.done, self.total)

    def silent(self) -> "Counter":
        """A counter for questions behind a question: it reports no new count, and Cancel is heard."""
        return Counter(lambda done, total: self.check(), 0)

    def finish(self) -> None:
        """Report that what was still to do is not needed."""
        if self.done < self.total:
            self.add(self.total - self.done)


class Chosen(NamedTuple):
    """Answers to a closed question about N sets of images.

    Attributes:
        probabilities: float64 [N, answers], given that the answer is an allowed one; rows sum to 1.
        coverage: float64 [N], 0..1, how probable an allowed answer is (``decoding.answer_probabilities``).
    """

    probabilities: np.ndarray
    coverage: np.ndarray


class Opening(NamedTuple):
    """What a written answer begins with.

    Attributes:
        text: the words; none for an answer that the model writes alone.
        probability: 0..1, of the closed answer that these words come from; each of their tokens gets it.
        written: an answer that the model wrote, of which the opening is the beginning with another last word: what both
            have in common keeps the model's probabilities.
        whole: whether no "and" may follow, because the words name all that is to be named.
    """

    text: str = ""
    probability: float = 1.0
    written: "Written | None" = None
    whole: bool = False


@dataclass(frozen=True)
class Written:
    """A freely written answer: its text, and its tokens without the end with the probability of each."""

    text: str
    ids: list[int]
    probabilities: list[float]


class Engine:
    """Asks one loaded checkpoint many questions at once.

    Questions are sets of pictures: tuples (A, reference) or, for tasks about pairs, (A, B, reference), where the
    reference may be None. All methods may be called from several threads.

    An error about one group of questions does not stop the others: it is raised at the end, and the answers that were
    found stay in the cache, so that a repeated call asks only what is missing.

    Args:
        checkpoint: the network with its tokenizer and card.
        cache_bytes: memory budget for the vision features of images; None takes ``sight.default_budget``.
        answers: where answers are stored, for callers that keep them longer than the network; it must hold those of
            this checkpoint, dtype and device alone. None makes one.
    """

    def __init__(self, checkpoint: Checkpoint, cache_bytes: int | None = None, answers: ByteCache | None = None):
        from .features import Sight, default_budget
        from .prefill import keep_logits_exact

        self.model, self.tokenizer = checkpoint.model, checkpoint.tokenizer
        self.name = str(checkpoint.card.get("name", "this checkpoint"))
        budget = default_budget(self.model) if cache_bytes is None else cache_bytes
        self._sight = Sight(self.model, budget)
        self._answers = ByteCache(ANSWER_BYTES) if answers is None else answers
        keep_logits_exact(self.model.language)

    @property
    def device(self):
        """Where the network is now."""
        return next(self.model.parameters()).device

    def forget_answers(self) -> None:
        """Drop all answers, but not the pictures: for a network whose weights have changed behind its vision tower."""
        self._answers = ByteCache(ANSWER_BYTES)

    def require(self, task: Task) -> None:
        """Raise TaskError unless the checkpoint was taught the task."""
        if task.name not in self.model.config.tasks:
            known = ", ".join(self.model.config.tasks)
            raise TaskError(f"{self.name} was never taught the task {task.name}; it knows {known}")

    def _own_precision(self):
        """Run the network in its own number format where another package has left autocast on in this thread."""
        import torch

        return torch.autocast(self.device.type, enabled=False)

    def look(self, asked: Sequence[tuple], report: Counter) -> None:
        """Encode pictures ahead: as long as the cache holds them, questions about them need no pixels."""

        def run(batch: list[dict]) -> None:
            self._sight.see(batch, report.check)
            report.add(len(batch))

        shown = [by_role(pictures) for pictures in asked]
        with self._own_precision():
            failures = run_in_batches(shown, BATCH, run, self._out_of_memory)
        if failures:
            raise failures[0]

    def beginnings(self) -> ByteCache:
        """An empty memory for ``choose``: with it, calls that show the same pictures in other pairs share their work.

        It lives on the device of the network, so it should not outlive the work of one verb.
        """
        return ByteCache(beginnings_budget(self.device))

    def choose(
        self,
        task: Task,
        question: str | None,
        asked: Sequence[tuple],
        report: Counter,
        beginnings: ByteCache | None = None,
        options: Sequence[str] | None = None,
    ) -> Chosen:
        """How probable the closed answers to one question are, and how much they cover of what the model would write.

        Args:
            question: another wording, None for the task's own.
            options: the allowed answers, None for those of the task (``tasks.answers``).
            asked: N sets of pictures.
            report: counts every answered question.
            beginnings: from ``beginnings()``, the same one for all calls that belong together.

        Raises:
            TaskError, CheckpointError, OutOfMemory: see the class.
        """
        from .decoding import answer_probabilities, forced_prefix, token_embeddings

        self.require(task)
        options = tasks.answers(task, question or task.question) if options is None else options
        ids = [answer_ids(option, self.tokenizer) for option in options]
        forced = token_embeddings(self.model.language, forced_prefix(ids))
        names = {seen: tasks.temperature_names(task, question or task.question, seen) for seen in (False, True)}
        heat = {seen: self.model.config.answer_temperature(names[seen]) for seen in names}

        def answer(reader, prompts, indexes):
            temperature = heat[asked[indexes[0]][-1] is not None]  # all of a batch have a reference, or none has
            found = answer_probabilities(reader.read(prompts, forced), ids, temperature)
            rows = np.column_stack([found.probabilities.numpy(), found.coverage.numpy()])
            return [row if np.isfinite(row).all() else None for row in rows]

        kinds = [("choose", tuple(options), *heat.values())] * len(asked)
        found = self._ask(task, task.ask(question), kinds, asked, answer, report, beginnings=beginnings)
        table = np.array(found).reshape(len(asked), len(options) + 1)
        return Chosen(table[:, :-1], table[:, -1])

    def write(
        self,
        task: Task,
        question: str | None,
        asked: Sequence[tuple],
        max_new_tokens: int,
        report: Counter,
        on_text: OnText | None = None,
        openings: Sequence[Opening] | None = None,
    ) -> list[Written]:
        """Freely written answers to one question, always taking the most probable token.

        Args:
            question, asked, report: as in ``choose``.
            max_new_tokens: longest answer in tokens; a longer one is cut off there.
            on_text: called as (index in ``asked``, text so far) while an answer grows, and once for a known one.
            openings: for each set of images what its answer begins with.

        Raises:
            TaskError, CheckpointError, OutOfMemory: see the class.
        """
        from .decoding import greedy

        self.require(task)
        end = answer_ids("", self.tokenizer)
        openings = openings or [Opening()] * len(asked)
        begun = [self.tokens(opening.text, opening.probability, opening.written) for opening in openings]
        banned = sorted(
            {text_ids(f"{o.text} and", self.tokenizer)[len(b.ids)] for o, b in zip(openings, begun) if o.whole}
        )

        def answer(reader, prompts, indexes):
            def show(written: dict[int, list[int]]) -> None:
                for row, ids in written.items():
                    on_text(indexes[row], self.text(begun[indexes[row]].ids + without_end(ids, end)))

            prompts = self._opened(prompts, [begun[index].ids for index in indexes])
            answers = []
            written = greedy(reader.read(prompts), end, max_new_tokens, show if on_text else None, banned)
            for index, generated in zip(indexes, written):
                if not np.isfinite(generated.probabilities).all():
                    answers.append(None)
                    continue
                ids = without_end(generated.ids, end)
                chances = generated.probabilities[: len(ids)]
                ids, chances = begun[index].ids + ids, begun[index].probabilities + chances
                answers.append(Written(self.text(ids), ids, chances))
            return answers

        kinds = [("write", max_new_tokens, o.text, o.probability, o.whole) for o in openings]
        found = self._ask(task, task.ask(question), kinds, asked, answer, report, max_new_tokens)
        if on_text:
            for index, written in enumerate(found):
                on_text(index, written.text)
        return found

    def _opened(self, prompts: list, openings: list[list[int]]) -> list:
        """Prompts with the first tokens of their answers behind them."""
        from .decoding import token_embeddings
        from .prefill import Segment

        rows = (token_embeddings(self.model.language, ids) for ids in openings)
        begun = zip(prompts, openings, rows)
        return [[*prompt, Segment(tuple(ids), row)] if ids else prompt for prompt, ids, row in begun]

    def tokens(self, text: str, probability: float, written: Written | None = None) -> Written:
        """The tokens of a text: those that an answer of the model begins with too have the model's probabilities.

        Args:
            text: the text.
            probability: 0..1, of all other tokens.
            written: the model's answer, None where there is none.
        """
        ids = text_ids(text, self.tokenizer) if text else []
        same = 0
        while written and same < min(len(ids), len(written.ids)) and ids[same] == written.ids[same]:
            same += 1
        known = written.probabilities[:same] if written else []
        return Written(text, ids, known + [probability] * (len(ids) - same))

    def decode(self, ids: list[int]) -> str:
        """The text of tokens, without special ones."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def text(self, ids: list[int]) -> str:
        """``decode``, without blanks around it."""
        return self.decode(ids).strip()

    # ------------------------------------------------------------------ groups of questions

    def _ask(
        self,
        task: Task,
        question: str,
        kinds: list,
        asked,
        answer: Callable,
        report: Counter,
        ahead: int = 0,
        beginnings: ByteCache | None = None,
    ) -> list:
        """One answer per set of pictures, from the cache or from ``answer``, batch by batch.

        Args:
            kinds: for each set what tells its answer from others to the same question.
            answer: (PromptReader, prompts, their indexes in ``asked``) -> for each an answer, or None for one that is
                not finite.
            ahead: most tokens that an answer adds to its prompt.
            beginnings: as in ``choose``.
        """
        places: dict[tuple, list[int]] = {}  # the same question twice is asked once
        for index, (pictures, kind) in enumerate(zip(asked, kinds, strict=True)):
            key = (task.name, question, kind, tuple(picture and picture.key for picture in pictures))
            places.setdefault(key, []).append(index)
        answers = {key: self._answers.get(key) for key in places}
        missing = {indexes[0]: key for key, indexes in places.items() if answers[key] is None}
        if known := len(asked) - sum(len(places[key]) for key in missing.values()):
            report.add(known)

        def keep(index: int, found) -> None:
            key = missing[index]
            answers[key] = found
            self._answers.put(key, found, _size(found))
            report.add(len(places[key]))

        failures: list[DepictQAError] = []
        for has_reference in (False, True):
            parts = encode(layout(question, task.pair, has_reference), self.tokenizer)
            shown = {
                index: by_role(asked[index]) for index in missing if (asked[index][-1] is not None) == has_reference
            }
            with self._own_precision():
                failures += self._ask_alike(parts, shown, answer, keep, report, ahead, beginnings)
        if failures:
            raise failures[0]
        found = {index: answers[key] for key, indexes in places.items() for index in indexes}
        return [found[index] for index in range(len(asked))]

    def _ask_alike(
        self,
        parts,
        shown: dict[int, dict[str, Picture]],
        answer,
        keep,
        report: Counter,
        ahead: int,
        beginnings: ByteCache | None,
    ) -> list[DepictQAError]:
        """Questions of one layout about pictures by role. Returns the errors of batches that failed."""
        from .prefill import SHORT_FLOOR, PromptReader, floors

        # Neighbours have as much of their beginning in common as can be, and are of about equal length.
        members = sorted(shown, key=lambda index: [(self._area(p), p.key) for p in shown[index].values()])
        keys = [_keys(parts, shown[index]) for index in members]
        lengths = [SHORT_FLOOR if isinstance(part, Slot) else len(part) for part in parts]
        ends = floors(keys, lengths, combined=beginnings is not None)
        reader = PromptReader(self.model.language, ends, report.check, beginnings)

        def run(batch: list[int]) -> None:
            prompts = self._prompts(parts, [shown[index] for index in batch], report)
            damaged = []
            for some, rows in self._fitting(batch, prompts, ahead):
                for index, found in zip(some, answer(reader, rows, some)):
                    if found is None:
                        damaged.append(shown[index])
                    else:
                        keep(index, found)
            if damaged:  # an answer made from NaN would be made up
                raise self._damaged(damaged[0])

        make_room = (lambda: None) if beginnings is None else beginnings.clear
        return run_in_batches(members, BATCH, run, lambda index: self._out_of_memory(shown[index]), make_room)

    def _area(self, picture: Picture) -> int:
        """Pixels that the network sees, a measure of how long a prompt becomes."""
        return math.prod(SizePolicy(**self.model.config.size).padded(picture.height, picture.width))

    def _fitting(self, batch: list[int], prompts: list, ahead: int):
        """Cut a batch so that its keys and values stay within ``reading_budget``: yields (indexes, prompts)."""
        from .prefill import bytes_per_token

        longest = max(sum(len(segment.embeds) for segment in prompt) for prompt in prompts) + ahead
        size = max(1, reading_budget(self.device) // (longest * bytes_per_token(self.model.language)))
        for start in range(0, len(batch), size):
            yield batch[start : start + size], prompts[start : start + size]

    def _out_of_memory(self, pictures: dict[str, Picture]) -> OutOfMemory:
        return OutOfMemory(
            f"{_names(pictures)}: not enough memory on {self.device} even for this question alone; free some, or load"
            " the model as float16, on another device, or a smaller checkpoint"
        )

    def _damaged(self, pictures: dict[str, Picture]) -> CheckpointError:
        return CheckpointError(
            f"{_names(pictures)}: {self.name} gave no finite probabilities: its weights are damaged, or too large for"
            " half precision (then load it as float32)"
        )

    def _prompts(self, parts, shown: list[dict[str, Picture]], report: Counter) -> list:
        """The segments of a prompt for each set of pictures."""
        import torch

        from .decoding import token_embeddings
        from .prefill import Segment

        tokens = self._sight.tokens(shown, report.check)
        with torch.inference_mode():
            words = [None if isinstance(part, Slot) else token_embeddings(self.model.language, part) for part in parts]
            like = next(row for row in words if row is not None)
            tokens = {slot: row.to(like) for slot, row in tokens.items()}  # the dtype and device of the words
        return [
            [Segment(key, tokens[key] if words[place] is None else words[place]) for place, key in enumerate(keys)]
            for keys in (_keys(parts, pictures) for pictures in shown)
        ]


def without_end(ids: list[int], end: list[int]) -> list[int]:
    """The written words only: an answer that was cut off has no end, and one may stop without the newline before it."""
    for size in range(len(end), 0, -1):
        if ids[-size:] == end[-size:]:
            return ids[:-size]
    return ids


def _names(pictures: dict[str, Picture]) -> str:
    return ", ".join(picture.name for picture in pictures.values())


def _keys(parts: list, pictures: dict[str, Picture]) -> list:
    """What tells each segment of a prompt from others: its picture's slot, or the ids of its words."""
    slot = slots(pictures)
    return [slot[part.role] if isinstance(part, Slot) else tuple(part) for part in parts]


def _size(answer) -> int:
    """About how many bytes a kept answer takes."""
    return ANSWER_OVERHEAD + (TOKEN_BYTES * len(answer.ids) if isinstance(answer, Written) else answer.nbytes)
