"""How far the brief answers of two checkpoints lie apart, such as one and the same stored in float16.

    python -m benchmarks.agreement FIRST SECOND RECORDS... --root DATA [--limit N] [--output results.json]

Prints, over N records spread evenly over the record files, the largest and the mean difference of any probability, and
how many answers (labels, levels, winners) differ.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from depictqa_core import tasks
from depictqa_core.judge import Judge, load_judge
from training.evaluation.sets import TestSet, read_set

CHUNK = 32


def probabilities(judge: Judge, test_set: TestSet, indexes: list[int]) -> list[np.ndarray]:
    """Probabilities of the allowed answers to each of the records, in the order of their groups."""
    rows = []
    for task_type, query, members in test_set.groups(indexes):
        task = tasks.task_of(query, tasks.setting(task_type).pair)
        for start in range(0, len(members), CHUNK):
            _, shown, _ = test_set.shown(members[start : start + CHUNK])
            rows += [np.asarray(row, dtype=np.float64) for row in judge.ask(shown, task, query)[1]]
    return rows


def measure(judges: tuple[Judge, Judge], sets: list[TestSet], limit: int) -> dict[str, float]:
    """Differences between the answers of two judges to up to ``limit`` records."""
    gaps, changed, margins = [], 0, []
    for test_set in sets:
        count = min(len(test_set.records), -(-limit // len(sets)))
        indexes = np.linspace(0, len(test_set.records) - 1, count).astype(int).tolist()
        first, second = (probabilities(judge, test_set, indexes) for judge in judges)
        for one, other in zip(first, second, strict=True):
            gaps.append(float(np.abs(one - other).max()))
            changed += int(one.argmax() != other.argmax())
            margins.append(float(np.diff(np.sort(one))[-1]))
        print(
            f"{test_set.name}: {count} records, difference up to {max(gaps):.2e}, changed {changed}",
            flush=True,
        )
    return {
        "records": len(gaps),
        "largest_difference": max(gaps),
        "mean_difference": float(np.mean(gaps)),
        "changed_answers": changed,
        "smallest_margin": min(margins),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="checkpoint folder, or 'bundled'")
    parser.add_argument("second", help="checkpoint folder")
    parser.add_argument("records", nargs="+", type=Path, help="test files of brief questions, in the published form")
    parser.add_argument("--root", type=Path, required=True, help="folder that the image paths are relative to")
    parser.add_argument("--limit", type=int, default=2000, help="number of records (default: %(default)s)")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    sets = [read_set(path, arguments.root) for path in arguments.records]
    result = measure((load_judge(arguments.first), load_judge(arguments.second)), sets, arguments.limit)
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
