"""Answer test sets in the published format, score the answers, compare with peers, and write a report."""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from depictqa_core import tasks
from depictqa_core.chat.client import Client
from depictqa_core.errors import TaskError
from depictqa_core.judge import Judge
from depictqa_core.metrics import registry
from depictqa_core.network.vision import PREPROCESSING

from ..output_files import write_text
from . import judged, mistakes, peers, voting
from .answer_files import AnswerFile, judge_answers
from .peer_vlm import vlm_answers
from .report import html
from .scoring import score
from .sets import TestSet, read_set

Truth = dict[str, dict[str, float]]


def evaluate(
    judge: Judge,
    records_path: str | Path,
    root: str | Path,
    task_type: str | None,
    answers_path: str | Path,
    swap: bool = True,
) -> dict:
    """Answer every record of a test file and score the answers.

    Args:
        judge: the judge under test.
        records_path: JSON list with id, image_ref, image_A, image_B, query and, if scored, answer (method.md 3.4).
        root: folder that image paths are relative to.
        task_type: one of the six published task types (method.md 3.1), or None to take each record's own.
        answers_path: JSON lines are written here: id, text, confidence, and label probabilities for brief questions.
            Answers of an interrupted evaluation of the same judge are reused.
        swap: also ask ratings with the images swapped.

    Returns:
        ``scoring.score``: counts, and the metrics by kind of question.

    Raises:
        TaskError: the task type is unknown, a record lacks a field, or no record has readable images.
    """
    if task_type is not None:
        tasks.setting(task_type)
    test_set = read_set(records_path, root, task_type)
    return score(test_set, answer(judge, test_set, answers_path, swap))


def answer(judge: Judge, test_set: TestSet, answers_path: str | Path, swap: bool = True) -> list[dict]:
    """Return the judge's answers to a test set, in the order of its records; see ``evaluate``."""
    depends = {**judge.backend.identity(), "preprocessing": PREPROCESSING, "swap": swap, **test_set.stamp()}
    source = judge_answers(judge, test_set, swap)
    answers = AnswerFile(answers_path, depends).fill(test_set.ids, source, test_set.name)
    if answers and all("error" in answer for answer in answers):
        first = answers[0]["error"].rstrip(".")
        raise TaskError(
            f"none of the {len(answers)} records of {test_set.name} can be shown; the first: {first}. "
            f"Image paths are relative to --root, which is {test_set.root}"
        )
    return answers


@dataclass(frozen=True)
class Extras:
    """Options for evaluations in addition to the judge's accuracies.

    Attributes:
        metrics: whether classical metrics answer ratings and scores as peers.
        models: vision-language models that answer the same questions in words as peers.
        judges: judges that answer them as peers, by their names.
        grader: a language model that scores detailed answers; None for no scores.
        version: how it scores, "v2" or "v1" (method.md 8.4, 8.5).
        truths: voting files by name (``voting.read_truth``).
        swap: whether ratings are asked in both orders.
    """

    metrics: bool = True
    models: Sequence[Client] = ()
    judges: Mapping[str, Judge] = field(default_factory=dict)
    grader: Client | None = None
    version: str = "v2"
    truths: dict[str, Truth] = field(default_factory=dict)
    swap: bool = True


def evaluate_sets(
    judge: Judge, sets: Sequence[TestSet], output: str | Path, extras: Extras | None = None, checkpoint: str = ""
) -> dict:
    """Evaluate a judge, and its peers, on several test sets.

    Everything is written to ``output``: ``answers/<set>.jsonl``, the peers' values and answers in ``peers/``, the
    scores of detailed answers in ``judged/``, ``results.json`` and ``report.html``. A repeated call with the same
    arguments computes only what is missing.

    Args:
        checkpoint: folder or address of the judge, for the report.

    Returns:
        The content of results.json: ``{"judge", "sets": {set: scoring.score with voting, judged and mistakes}, "peers",
        "unavailable": {peer: why}}``.

    Raises:
        TaskError: two sets have one name or different roots, or none of the images of a set can be read.
        EndpointError: the endpoint cannot be used; finished answers are stored.
        StorageError: a file cannot be written; earlier answers are stored.
    """
    extras, output = extras or Extras(), Path(output)
    names = [test_set.name for test_set in sets]
    if double := {name for name in names if names.count(name) > 1}:
        raise TaskError(f"two record files are named {sorted(double)[0]}: rename one")
    if len({test_set.root for test_set in sets}) > 1:
        raise TaskError("the sets have different roots: evaluate them one after the other")
    by_set = {s.name: answer(judge, s, output / "answers" / f"{s.name}.jsonl", extras.swap) for s in sets}
    usable, unavailable = registry.usable(list(registry.known().values())) if extras.metrics else ([], {})
    results: dict[str, Any] = {
        "judge": {**judge.info, "calibration": judge.backend.calibration.settings},
        "checkpoint": checkpoint,
        "date": time.strftime("%Y-%m-%d"),
        "sets": _scored(sets, by_set, output / "judged", extras),
        "peers": _metric_peers(usable, sets, output, extras),
        "unavailable": unavailable,
    }
    for name, peer in extras.judges.items():
        folder = _peer_folder(output, name)
        some = [test_set for test_set in sets if test_set.tasks <= set(peer.backend.capabilities.tasks)]
        by_set = {s.name: answer(peer, s, folder / f"{s.name}.jsonl", extras.swap) for s in some}
        results["peers"][name] = {"kind": "model", "sets": _scored(some, by_set, folder / "judged", extras)}
    for client in extras.models:
        name = client.endpoint.model
        folder = _peer_folder(output, name)
        by_set = {}
        for test_set in sets:
            depends = {"base": client.endpoint.identity, "model": name, **test_set.stamp()}
            file = AnswerFile(folder / f"{test_set.name}.jsonl", depends)
            by_set[test_set.name] = file.fill(test_set.ids, vlm_answers(client, test_set), f"{name}: {test_set.name}")
        results["peers"][name] = {"kind": "model", "sets": _scored(sets, by_set, folder / "judged", extras)}
    write_text(output / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_text(output / "report.html", html(results, sets[0].root))
    return results


def _peer_folder(output: Path, name: str) -> Path:
    return output / "peers" / re.sub(r"[^\w.-]+", "_", name)


def _scored(sets: Sequence[TestSet], by_set: dict[str, list[dict]], folder: Path, extras: Extras) -> dict:
    """Set name -> its metrics, with the votes and the graded words where there are any."""
    results = {}
    for test_set in sets:
        answers = by_set[test_set.name]
        result = score(test_set, answers)
        votes = {
            name: voting.vote(test_set, answers, truth)
            for name, truth in extras.truths.items()
            if voting.covers(test_set, truth)
        }
        if votes:
            result["voting"] = votes
        scores: dict = {}
        if extras.grader and judged.detailed(test_set):
            rows = _graded(test_set, answers, folder, extras.grader, extras.version)
            scores = {row["id"]: row.get("score") for row in rows}
            facts = {"model": extras.grader.endpoint.model, "version": extras.version}
            result["judged"] = {**facts, **judged.summary(rows)}
        result["mistakes"] = mistakes.worst(test_set, answers, scores)
        results[test_set.name] = result
    return results


def _graded(test_set: TestSet, answers: list[dict], folder: Path, grader: Client, version: str) -> list[dict]:
    """The scores of the detailed answers, with the id of each."""
    ids, source = judged.judged_answers(grader, test_set, answers, version)
    texts = hashlib.sha256(repr([(answer["id"], answer["text"]) for answer in answers]).encode()).hexdigest()
    where = {"base": grader.endpoint.identity, "model": grader.endpoint.model, "version": version}
    file = AnswerFile(folder / f"{test_set.name}.jsonl", {**where, "answers": texts, **test_set.stamp()})
    return file.fill(ids, source, f"scores of {test_set.name}")


def _metric_peers(usable: Sequence[registry.Metric], sets: Sequence[TestSet], output: Path, extras: Extras) -> dict:
    """Peer name -> ``{"kind": "metric", "reference", "sets": {set: {"rating", "score"}}, "voting": {file: {...}}}``."""
    results: dict[str, dict[str, Any]] = {
        peer.name: {"kind": "metric", "reference": peer.reference, "sets": {}, "voting": {}} for peer in usable
    }
    root = sets[0].root
    rated = {
        name: [(path, reference) for reference, opinions in truth.items() for path in opinions]
        for name, truth in extras.truths.items()
    }
    shown = [pair for test_set in sets for pair in peers.shown_in(test_set)]
    shown += [pair for pairs in rated.values() for pair in pairs]
    if not shown or not usable:
        return {}
    values = peers.values_of(shown, root, output / "peers" / "metrics.jsonl", usable)
    for test_set in sets:
        for name, result in peers.compare(test_set, values, usable).items():
            results[name]["sets"][test_set.name] = result
    for file, truth in extras.truths.items():
        for name, result in peers.follow_opinions(truth, values, usable).items():
            results[name]["voting"][file] = result
    return {name: result for name, result in results.items() if result["sets"] or result["voting"]}
