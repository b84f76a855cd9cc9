"""Write the record files of a plan's samples: each set with and without a reference (method.md 3.2, 3.3, 6.3)."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np

from training.random_choice import pick

from ..building.plan import Plan, Wanted
from ..building.samples import KINDS, Kind, sample_store
from . import descriptions, labels
from . import question_templates as questions
from .fr_to_nr import no_reference_record
from .scene_records import (
    ListFile,
    Part,
    excluded,
    identification,
    pair_record,
    rated,
    record_rng,
    single_record,
    truth,
)
from .variant_pairs import SceneVariant

Answers = Mapping[int, str]
"""Detailed answers of a set by sample index."""

SUBTLE, UNDECIDED, UNANSWERED, MENTIONED = "too subtle", "undecided", "no answer", "mentions the reference"
BEYOND = "beyond the count"
"""Why a sample has no record."""


def write_plan_records(
    plan: Plan,
    root: str | Path,
    answers: Callable[[str], Answers | None] = lambda set_name: None,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, dict[str, int]]:
    """Write the record files of the sets of a plan: ``<root>/records/<task>_<fr|nr>_<single|double>.json``.

    The same samples, plan and answers give the same bytes. Paths in the records are relative to the root.

    Args:
        answers: set name -> detailed answers of its samples, or None to compose them. Where there are answers, samples
            without one have no record.
        progress: called with (set name, samples done) now and then.

    Returns:
        File name -> {"records": written, and reason -> samples that have none}.

    Raises:
        ValueError: a line of samples is damaged.
        StorageError: a file cannot be written; no part of it stays.
    """
    written = {}
    for set_name, wanted in plan.sets.items():
        task, distortions = set_name.split("_")
        files = {setting: f"{task}_{setting}_{distortions}.json" for setting in ("fr", "nr")}
        counts = _write_set(plan, Path(root), set_name, wanted, files, answers(set_name), progress)
        written.update({files[setting]: dict(counts[setting]) for setting in files})
    return written


def _write_set(
    plan: Plan,
    root: Path,
    set_name: str,
    wanted: Wanted,
    files: dict[str, str],
    texts: Answers | None,
    progress: Callable[[str, int], None] | None,
) -> dict[str, Counter]:
    kind = KINDS[set_name]
    mix = replace(plan.mix, pristine_as_double=float(kind.double))
    parts = {setting: Part(Path(name).stem, setting == "fr", plan.form, mix) for setting, name in files.items()}
    most = {setting: getattr(wanted, setting) for setting in files}
    counts = {setting: Counter(records=0) for setting in files}
    with ExitStack() as stack:
        lists = {setting: stack.enter_context(ListFile(root / "records" / name)) for setting, name in files.items()}
        for sample in islice(sample_store(root, set_name).read(), wanted.samples):
            for setting, made in _records(parts, kind, sample, plan.seed, texts).items():
                if most[setting] is not None and lists[setting].count >= most[setting]:
                    made = BEYOND
                if isinstance(made, dict):
                    lists[setting].append(made)
                counts[setting][made if isinstance(made, str) else "records"] += 1
            if progress and sample["scene"] % 1000 == 0:
                progress(set_name, sample["scene"])
    return counts


def _records(
    parts: dict[str, Part], kind: Kind, sample: dict, seed: int, texts: Answers | None
) -> dict[str, dict | str]:
    """The records of one sample by setting, or the reasons why there are none."""
    shown = [SceneVariant(sample["scene"], sample["source"], sample["reference"], one) for one in sample["variants"]]
    rngs = {setting: record_rng(seed, part.name, sample["scene"]) for setting, part in parts.items()}
    if kind.task == "identification":
        made = {setting: identification(part, shown, rngs[setting]) for setting, part in parts.items()}
        return {setting: next((record for _, record in found), SUBTLE) for setting, found in made.items()}
    record = _with_reference(parts["fr"], kind, shown, rngs["fr"], texts)
    if isinstance(record, str):
        return {"fr": record, "nr": record}
    if kind.task != "rating" and any(excluded(parts["nr"], one, rngs["nr"]) for one in shown):
        return {"fr": record, "nr": SUBTLE}
    key = record["id"].replace(parts["fr"].name, parts["nr"].name)
    return {"fr": record, "nr": no_reference_record(record, key) or MENTIONED}


def _with_reference(
    part: Part, kind: Kind, shown: list[SceneVariant], rng: np.random.Generator, texts: Answers | None
) -> dict | str:
    text = None if texts is None else texts.get(shown[0].scene)
    if kind.task in ("assessment", "comparison") and texts is not None and text is None:
        return UNANSWERED
    if kind.task == "assessment":
        (one,) = shown
        text = text or descriptions.assessment(one.variant, rng, part.reference)
        return single_record(part, 0, one, pick(questions.ASSESSMENT, rng), text, truth(one.variant, kind.double))
    a, b = shown
    better = labels.better(a.variant, b.variant)
    if kind.task == "rating":
        return UNDECIDED if better is None else next(rated(part, [(a, b, better)], rng, count()))[1]
    if not text:
        if better is None:
            return UNDECIDED
        text = descriptions.comparison(a.variant, b.variant, better, rng, part.reference)
    return pair_record(part, 0, a, b, pick(questions.COMPARISON, rng), text, {})
