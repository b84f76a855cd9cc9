"""The state of a running study: who takes part, what each person is shown next, and the votes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import StorageError, TaskError
from .design import Trial, trials_of
from .votes import CHOICES, EQUAL, Plan, Record, Vote, add_person, add_vote

MOST_PEOPLE = 1000
LONGEST_NAME = 60
MOST_REVISIONS = 5
"""How often an answer may be changed."""
LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Answer:
    """The stored answer to a trial, and how many there have been."""

    choice: str
    revisions: int


class Session:
    """A study that people take part in; safe to use from several threads.

    Args:
        path: the file of the study.
        record: its content.
    """

    def __init__(self, path: Path, record: Record):
        self.path, self.plan = path, record.plan
        self._people = {name: number for number, name in enumerate(record.people)}
        self._answers: dict[int, dict[int, Answer]] = {number: {} for number in self._people.values()}
        for vote in record.votes:
            self._answers[vote.person][vote.trial] = Answer(vote.choice, vote.revision + 1)
        self._trials: dict[int, list[Trial]] = {}
        self._lock = threading.Lock()

    def enter(self, name: str) -> int:
        """Let a person take part, or resume; returns the number of the person.

        Raises:
            TaskError: the name is empty or too long, or there are too many people.
            StorageError: the file cannot be written.
        """
        name = " ".join("".join(char if char.isprintable() else " " for char in name).split())
        if not 0 < len(name) <= LONGEST_NAME:
            raise TaskError(f"give a name or a number of 1 to {LONGEST_NAME} characters")
        with self._lock:
            if name not in self._people:
                if len(self._people) >= MOST_PEOPLE:
                    raise TaskError(f"this study has {MOST_PEOPLE} people already; no more can take part")
                number = len(self._people)
                add_person(self.path, number, name, _now())
                self._people[name] = number
                self._answers[number] = {}
            return self._people[name]

    def trials(self, person: int) -> list[Trial]:
        """Return what a person is shown, in order."""
        if person not in self._trials:
            self._trials[person] = plan_trials(self.plan, person)
        return self._trials[person]

    def state(self, person: int, trial: int | None = None) -> dict[str, Any]:
        """Return where a person is, for the page: the next trial without an answer, or an earlier one to change.

        Raises:
            TaskError: there is no such trial, or it is not this person's turn to see it.
        """
        answers, total = self._answers[person], len(self.trials(person))
        following = next((number for number in range(total) if number not in answers), total)
        shown = following if trial is None else trial
        if not 0 <= shown <= following:
            raise TaskError("this comparison is not open yet")
        given = answers.get(shown)
        return {
            "trial": shown if shown < total else None,
            "done": len(answers),
            "total": total,
            "revision": given.revisions if given else 0,
            "choice": given.choice if given else None,
            "reference": shown < total and self.reference(person, shown) is not None,
            "question": self.plan.question,
            "ties": self.plan.ties,
        }

    def reference(self, person: int, trial: int) -> int | None:
        """Return the index of the reference of a trial, None if it has none."""
        return self.plan.images[self.trials(person)[trial].left].reference

    def vote(self, person: int, trial: int, choice: str, revision: int, seconds: float | None = None) -> None:
        """Store an answer.

        A request that is repeated, because its acknowledgement was lost, changes nothing: its ``revision`` is known.

        Args:
            trial: number of the trial; it has an answer, or is the next one.
            choice: one of ``CHOICES``.
            revision: number of earlier answers to this trial.
            seconds: that the answer took.

        Raises:
            TaskError: the answer is not possible.
            StorageError: it cannot be stored; nothing has changed.
        """
        if choice not in CHOICES or (choice == EQUAL and not self.plan.ties):
            raise TaskError(f"{choice[:20]!r} is not an answer here")
        with self._lock:
            self.state(person, trial)
            shown, answers = self.trials(person), self._answers[person]
            if trial >= len(shown):
                raise TaskError("there is no such comparison")
            before = answers.get(trial, Answer("", 0)).revisions
            if 0 <= revision < before:
                return
            if revision != before or revision > MOST_REVISIONS:
                raise TaskError("this answer can no longer be changed")
            one = shown[trial]
            took = None if seconds is None else round(min(max(seconds, 0.0), LONGEST_SECONDS), 2)
            facts = (one.kind, one.left, one.right, one.damaged, choice, took, _now())
            add_vote(self.path, Vote(person, trial, revision, *facts))
            answers[trial] = Answer(choice, before + 1)


def plan_trials(plan: Plan, person: int) -> list[Trial]:
    """Lay out what a person of a study is shown."""
    return trials_of(
        person,
        plan.pairs,
        len(plan.images),
        per_person=plan.per_person,
        checks=plan.checks,
        both_orders=plan.both_orders,
        ties=plan.ties,
        seed=plan.seed,
    )


def require_resumable(record: Record, path: Path) -> None:
    """Check that the votes of a file belong to the trials of its plan, as this version lays them out.

    Raises:
        StorageError: another version of DepictQA began the study, with another layout.
    """
    trials: dict[int, list[Trial]] = {}
    for vote in record.votes:
        shown = trials.setdefault(vote.person, plan_trials(record.plan, vote.person))
        seen = Trial(vote.left, vote.right, vote.kind, vote.damaged)
        if vote.trial >= len(shown) or shown[vote.trial] != seen:
            raise StorageError(
                f"{path}: the study was begun by DepictQA {record.plan.version}, which laid out its trials in another"
                " way; resume it with that version, or begin a new study"
            )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
