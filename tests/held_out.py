"""Answers of a checkpoint to held-out images of known quality, for ``tests/training/test_held_out_answers.py``:

    python -m tests.held_out CHECKPOINT ROOT SOURCES.json RECORDS.json...

The records are those that ``python -m training calibrate --only orders scores`` was fitted on; SOURCES.json names the
pristine image that each image below ROOT was made from.
"""

import json
import sys
from pathlib import Path

from depictqa_core.judge import Judge, load_judge
from training.evaluation.order_calibration import ranked_sets
from training.evaluation.score_calibration import scored_sets
from training.evaluation.sets import read_set

OUTPUT = Path(__file__).parent / "training" / "held_out_answers.json"
DIGITS = 5


class Recorder:
    """A judge that notes which images each call ranked."""

    def __init__(self, judge: Judge):
        self.judge, self.ranked = judge, []

    def compare_many(self, pairs, references):
        """As of ``Judge``; the pairs are all of some images, in order."""
        count = round((1 + (1 + 8 * len(pairs)) ** 0.5) / 2)
        self.ranked.append([pairs[0][0], *(other for _, other in pairs[: count - 1])])
        return self.judge.compare_many(pairs, references)


def main(checkpoint: str, root: str, sources: str, *records: str) -> None:
    judge, sets = load_judge(checkpoint), [read_set(file, root) for file in records]
    known = json.loads(Path(sources).read_text())
    numbers = {source: number for number, source in enumerate(sorted(set(known.values())))}
    by_name = {str((Path(root) / image).resolve()): numbers[source] for image, source in known.items()}
    found: dict[str, list[dict]] = {}
    for key, rows in scored_sets(judge, sets).items():
        found[key.replace("score_error", "score")] = [
            {
                "source": by_name[_path(score.picture, root)],
                "levels": [round(level.probability, DIGITS) for level in score.levels],
                "quality": round(truth, 2),
            }
            for score, truth in rows
        ]
    recorder = Recorder(judge)
    ranked = ranked_sets(recorder, sets)
    shown = iter(recorder.ranked)
    for key, rankings in ranked.items():
        found[key] = [
            {
                "sources": [by_name[_path(image.name, root)] for image in next(shown)],
                "wins": [round(win, DIGITS) for win in one.wins],
                "better": [list(pair) for pair in one.decided],
            }
            for one in rankings
        ]
    OUTPUT.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _path(name: str, root: str) -> str:
    return str((Path(root) / name).resolve())


if __name__ == "__main__":
    main(*sys.argv[1:])
