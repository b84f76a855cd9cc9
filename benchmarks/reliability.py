"""Whether what a judge prints as a probability or a confidence holds, before and after calibration, verb by verb.

    python -m benchmarks.reliability --records ROOT... [--limit 400] [--output JSON] [--figure PNG]
    python -m benchmarks.reliability --output JSON --figure PNG     # only draws what is measured

ROOT is a data root of test records (``python -m training build ... --form test``) of images that the judge was neither
trained nor calibrated on. Before calibration means without the temperatures and error models of the checkpoint. Parts,
for images without and with a reference:

identify, one label / two labels: the confidence of the named labels; right if they are exactly the true ones.
identify, each label: the probability of each of the 13 labels, against whether it is the true one.
faults: the probability of each fault that the records ask about, against whether it is there; up to ``--limit``
    images.
score: the confidence, against whether the score is within 10 points of the quality of the records; and how many true
    qualities the 95 % interval contains.
compare: the confidence of the winner, of both orders together; of versions of one image, and of two images.
rank: the certainty of the order of each two images in rankings of up to 12.
describe: the confidence of the text, which is stated not to be calibrated; right if it names exactly the true
    distortions.

ECE, reliability, risk and coverage are those of docs/evaluation.md. Each part is stored as soon as it is done.
``--clean-share`` weighs the records of the two confidences of identify as if this share of the images were clean, which
is what probabilities of "None" are calibrated for (``calibrate --clean-share``).
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from depictqa_core import tasks
from depictqa_core.calibration import WITHIN
from depictqa_core.errors import DepictQAError
from depictqa_core.judge import Judge, load_judge
from depictqa_core.prompts import REFERENCE, A, B
from depictqa_core.storage.documents import read_json
from training.dataset.records.descriptions import named as named_labels
from training.evaluation.metrics import (
    area_under_risk,
    calibration_error,
    calibration_error_by_chance,
    reliability,
    risk_coverage,
)
from training.evaluation.order_calibration import ranked_sets
from training.evaluation.score_calibration import scored_sets
from training.evaluation.sets import TestSet, read_set
from training.evaluation.temperatures import calibrated, prior_weights

from .ending import ended
from .published_task import stated_orders
from .quality import Results, named
from .shares import share

OUTPUT = Path("runs/reliability.json")
TEXTS = 60
"""Maximum number of descriptions of a part: they take longer than other answers."""
CHUNK = 64
POINTS = 40
"""Maximum number of points of a risk-coverage curve in the file."""
SETTINGS = {"nr": "no reference", "fr": "with reference"}


@dataclass
class Stated:
    """What was stated about the answers of a part, and what was true.

    Attributes:
        probabilities: 0..1, as printed.
        hits: whether what each is the probability of is true.
        clean: whether the image of each answer is clean, for ``--clean-share``; empty where that plays no part.
        facts: other figures of the part.
    """

    probabilities: list[float] = field(default_factory=list)
    hits: list[float] = field(default_factory=list)
    clean: list[bool] = field(default_factory=list)
    facts: dict = field(default_factory=dict)

    def add(self, probability: float, hit: bool) -> None:
        """Add one answer."""
        self.probabilities.append(float(probability))
        self.hits.append(float(hit))


def measured(stated: Stated, clean_share: float | None = None) -> dict:
    """The figures of a part. A probability below one half counts as the decision against, for risk and coverage."""
    probability, hits = np.array(stated.probabilities), np.array(stated.hits)
    weights = None
    if clean_share and any(stated.clean) and not all(stated.clean):
        weights = prior_weights(np.array(stated.clean), clean_share)
    against = probability < 0.5 if stated.facts.get("binary") else np.zeros(len(hits), bool)
    confidence, right = np.where(against, 1 - probability, probability), np.where(against, 1 - hits, hits)
    points = risk_coverage(confidence, right)
    every = max(1, -(-len(points) // POINTS))
    return {
        "count": len(hits),
        "right": share(right),
        "mean stated": round(float(np.average(probability, weights=weights)), 4),
        "true": round(float(np.average(hits, weights=weights)), 4),
        "ece": round(calibration_error(probability, hits, weights=weights) or 0.0, 4),
        "ece by chance": round(calibration_error_by_chance(probability) or 0.0, 4),
        "brier": round(float(np.average((probability - hits) ** 2, weights=weights)), 4),
        "reliability": [
            {key: round(value, 4) for key, value in one.items()}
            for one in reliability(probability, hits, weights=weights)
        ],
        "risk coverage": [[round(float(x), 4) for x in point] for point in (*points[:-1:every], points[-1])],
        "aurc": round(area_under_risk(points) or 0.0, 4),
        **{key: value for key, value in stated.facts.items() if key != "binary"},
    }


# ---------------------------------------------------------------------- verbs


Parts = dict[str, Stated]


def files(root: Path, kind: str, setting: str, limit: int) -> list[TestSet]:
    """The test sets of a kind such as "rating", with up to ``limit`` records each, spread evenly."""
    found = []
    for path in sorted((root / "records").glob(f"{kind}_{setting}_*.json")):
        whole = read_set(path, root)
        some = np.linspace(0, len(whole.records) - 1, min(limit, len(whole.records))).astype(int).tolist()
        found.append(
            TestSet(whole.name, whole.root, [whole.records[i] for i in some], [whole.task_types[i] for i in some])
        )
    return found


def shown(sets: Sequence[TestSet], least: Callable[[dict], bool] = bool) -> Iterator[tuple[list[dict], list[dict]]]:
    """(records, images by role) of the readable records with an answer, in chunks."""
    for one in sets:
        chosen = [i for i, record in enumerate(one.records) if record.get("answer") is not None and least(record)]
        for start in range(0, len(chosen), CHUNK):
            kept, images, _ = one.readable(chosen[start : start + CHUNK])
            if kept:
                yield [one.records[i] for i in kept], images


def references(images: Sequence[dict]) -> list | None:
    """The references of images by role, or None if they have none."""
    return [roles[REFERENCE] for roles in images] if REFERENCE in images[0] else None


def identify(judge: Judge, root: Path, setting: str, limit: int) -> Parts:
    """Confidences of named labels, and the probability of each label."""
    parts: Parts = {"identify, each label": Stated(facts={"binary": True})}
    for words, count, kind in (("one label", 1, "single"), ("two labels", 2, "double")):
        stated = parts.setdefault(f"identify, {words}", Stated())
        sets = [one for one in files(root, "identification", setting, limit) if one.name.endswith(kind)]
        for records, images in shown(sets, lambda record, count=count: tasks.issue_count(record["query"]) == count):
            found = judge.identify([roles[A] for roles in images], references(images), count=count, faults=False)
            for record, answer in zip(records, found):
                truth = tasks.parse_labels(record["answer"]) or ()
                stated.add(answer.confidence, set(answer.labels) == set(truth))
                stated.clean.append(not truth)
                for one in answer.probabilities if count == 1 else ():
                    parts["identify, each label"].add(one.probability, one.label in (truth or (tasks.NONE,)))
    return parts


def faults(judge: Judge, root: Path, setting: str, limit: int) -> Parts:
    """Probabilities of faults: all that the records ask about each of up to ``limit`` images."""
    stated = Stated(facts={"binary": True})
    if tasks.FAULT.name not in judge.backend.capabilities.tasks:
        return {"faults": stated}
    for one in files(root, "faults", setting, sys.maxsize):
        asked: dict[tuple, list[int]] = {}
        for index, record in enumerate(one.records):
            if record.get("fault") and record.get("answer"):
                asked.setdefault((record.get("image_ref"), record["image_A"]), []).append(index)
        groups = list(asked.values())
        groups = groups[:: max(1, -(-len(groups) // limit))]
        for start in range(0, len(groups), CHUNK):
            first = {group[0]: group for group in groups[start : start + CHUNK]}
            kept, images, _ = one.readable(list(first))
            found = judge.identify([roles[A] for roles in images], references(images)) if kept else []
            for index, answer in zip(kept, found):
                known = {label.label: label.probability for label in answer.faults or ()}
                for record in (one.records[place] for place in first[index]):
                    stated.add(known[record["fault"]], record["answer"] == "Yes")
    return {"faults": stated}


def score(judge: Judge, root: Path, setting: str, limit: int) -> Parts:
    """Confidences and intervals of scores."""
    stated = Stated()
    if tasks.SCORE.name in judge.backend.capabilities.tasks:
        found = [row for rows in scored_sets(judge, files(root, "score", setting, limit)).values() for row in rows]
        for one, truth in found:
            stated.add(one.confidence, abs(one.score - truth) <= WITHIN)
        if found:
            stated.facts["in the 95 % interval"] = share(one.low <= truth <= one.high for one, truth in found)
            stated.facts["mean width"] = round(float(np.mean([one.high - one.low for one, _ in found])), 1)
    return {"score": stated}


def compare(judge: Judge, root: Path, setting: str, limit: int) -> Parts:
    """Confidences of winners."""
    parts: Parts = {}
    for words, kind in (("versions of one image", "rating"), ("two images", "rating_cross")):
        stated = parts.setdefault(f"compare, {words}", Stated())
        for records, images in shown(files(root, kind, setting, limit)):
            pairs = [(roles[A], roles[B]) for roles in images]
            for record, answer in zip(records, judge.compare_many(pairs, references(images))):
                if winner := tasks.parse_winner(record["answer"]):
                    stated.add(answer.confidence, (answer.probability_a > 0.5) == (winner == "A"))
    return parts


def rank(judge: Judge, root: Path, setting: str, limit: int) -> Parts:
    """Certainties of orders."""
    stated = Stated()
    for some in ranked_sets(judge, files(root, "rating", setting, limit)).values():
        probabilities, right = stated_orders(some, judge.backend.calibration.order(setting == "fr"))
        for probability, hit in zip(probabilities, right):
            stated.add(probability, hit)
    return {"rank": stated}


def describe(judge: Judge, root: Path, setting: str, limit: int) -> Parts:
    """Confidences of texts."""
    stated = Stated()
    for records, images in shown(files(root, "assessment", setting, min(limit, TEXTS))):
        found = judge.describe([roles[A] for roles in images], references(images), max_new_tokens=120)
        for record, answer in zip(records, found):
            if answer.confidence is not None:
                stated.add(answer.confidence, named_labels(answer.text) == named_labels(record["answer"]))
    return {"describe (not calibrated)": stated}


VERBS = {
    "identify": identify,
    "faults": faults,
    "score": score,
    "compare": compare,
    "rank": rank,
    "describe": describe,
}
"""Name -> measurement of a judge on a data root in one setting, with up to a number of records per file."""


def before_and_after(judge: Judge, root: Path, verb: str, setting: str, limit: int, clean_share: float | None) -> dict:
    """Part -> its figures without and with the calibration of the judge; parts without records are left out."""
    after = VERBS[verb](judge, root, setting, limit)
    with calibrated(judge, {}):
        before = VERBS[verb](judge, root, setting, limit) if any(one.hits for one in after.values()) else {}
    return {
        name: {
            "count": len(stated.hits),
            "before": measured(before[name], clean_share),
            "after": measured(stated, clean_share),
        }
        for name, stated in after.items()
        if stated.hits
    }


# ---------------------------------------------------------------------- command


def main(argv: list[str] | None = None) -> int:
    """Measure the parts that are not in the file yet, and draw the figure; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", nargs="+", type=Path, default=[], metavar="ROOT", help="data roots")
    parser.add_argument("--limit", type=int, default=400, help="maximum number of records per file")
    parser.add_argument("--clean-share", type=float, metavar="SHARE", help="of images for identify (0 to 1)")
    parser.add_argument("--only", nargs="+", choices=VERBS, metavar="VERB", help=f"some of {', '.join(VERBS)}")
    parser.add_argument("--checkpoint", help="checkpoint folder (default: the bundled one)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file (default: %(default)s)")
    parser.add_argument("--figure", type=Path, help="also draw the parts of the file on one page (PNG)")
    parser.add_argument("--restart", action="store_true", help="measure again what the file holds")
    arguments = parser.parse_args(argv)
    if arguments.clean_share is not None and not 0 < arguments.clean_share < 1:
        parser.error("--clean-share must be above 0 and below 1")

    def work() -> None:
        if arguments.records:
            run(arguments)
        elif not arguments.figure:
            parser.error("give --records to measure, or --figure to draw what --output holds")
        if arguments.figure:
            from .reliability_figure import draw

            arguments.figure.write_bytes(draw(read_json(arguments.output)))
            print(f"written: {arguments.figure}")

    return ended(work)


def run(arguments: argparse.Namespace) -> None:
    """Measure the verbs and settings that are not in the file, and store each."""
    for root in arguments.records:
        if not any((root / "records").glob("*.json")):
            raise DepictQAError(f"{root}: no records; make them with python -m training build IMAGES ROOT --form test")
    judge = load_judge(arguments.checkpoint)
    settings = {
        "model": f"{judge.info.get('name')} {judge.info.get('version')}",
        "weights": judge.info.get("files", {}).get("model.safetensors", {}).get("sha256"),
        "clean share": arguments.clean_share,
    }
    names = [
        (root, verb, setting) for root in arguments.records for verb in arguments.only or VERBS for setting in SETTINGS
    ]
    key = {one: f"{one[0].name}/{one[1]}, {SETTINGS[one[2]]}" for one in names}
    results = Results(arguments.output, settings, list(key.values()) if arguments.restart else ())
    for number, one in enumerate(names, 1):
        if key[one] in results.parts:
            continue
        start, (root, verb, setting) = time.monotonic(), one
        found = before_and_after(judge, root, verb, setting, arguments.limit, arguments.clean_share)
        if not found:
            continue
        results.add(key[one], found, command(arguments))
        for name, part in found.items():
            print(
                f"[{number}/{len(names)}] {root.name}: {name}, {SETTINGS[setting]}: {part['count']} answers, "
                f"ECE {part['before']['ece']:.3f} -> {part['after']['ece']:.3f} "
                f"({time.monotonic() - start:.0f} s)",
                flush=True,
            )
    print(f"written: {arguments.output}")


def command(arguments: argparse.Namespace) -> str:
    """The command as documents have it."""
    words = ["python", "-m", "benchmarks.reliability", "--records", *map(named, arguments.records)]
    words += ["--only", *arguments.only] if arguments.only else []
    words += ["--limit", str(arguments.limit)]
    words += ["--clean-share", f"{arguments.clean_share:g}"] if arguments.clean_share else []
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
