"""Quality of a judge on a data root of test records: accuracies, order of severities, agreement of texts.

    python -m benchmarks.quality data/reserved [--checkpoint DIR] [--output results.json] [--resaved]

The data root comes from ``python -m training build IMAGES ROOT --scenes N --form test``. ``--resaved`` repeats the
accuracies with every image saved as JPEG quality 95, and scaled to 90 %. ``--blank`` shows black images instead:
what is left is chance.
"""

import argparse
import io
import json
import tempfile
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from depictqa_core import tasks
from depictqa_core.calibration import WITHIN
from depictqa_core.judge import Judge, load_judge
from depictqa_core.ranking.bradley_terry import bradley_terry, estimate_weight
from depictqa_core.storage.documents import parse_json
from training.dataset.building.scenes import read_scenes
from training.dataset.records.descriptions import named
from training.dataset.records.image_paths import read_image
from training.dataset.records.labels import better, seen_severity, severity_decides
from training.evaluation.evaluate import evaluate
from training.evaluation.metrics import calibration_error, calibration_error_by_chance
from training.evaluation.order_calibration import ranked_sets
from training.evaluation.score_calibration import scored_sets
from training.evaluation.sets import read_set
from training.trainer.record_files import read_records

SETS = {
    "identification_nr_single": "quality_single_A_noref",
    "identification_fr_single": "quality_single_A",
    "identification_nr_double": "quality_single_A_noref",
    "identification_fr_double": "quality_single_A",
    "rating_nr_single": "quality_compare_noref",
    "rating_fr_single": "quality_compare",
    "rating_cross_nr_single": "quality_compare_noref",
}


def accuracies(judge: Judge, root: Path, records: Path, limit: int, kept: Path | None = None) -> dict:
    """Set name -> published metrics without the confidence bins; answers go to ``kept``."""
    results = {}
    for name, task_type in SETS.items():
        chosen = read_records(records / f"{name}.json")[:limit]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "records.json").write_text(json.dumps(chosen))
            answers = (kept or Path(folder)) / f"{name}.jsonl"
            metrics = evaluate(judge, Path(folder) / "records.json", root, task_type, answers, swap=False)["metrics"]
            lines = [parse_json(line, str(answers)) for line in answers.read_bytes().splitlines()]
        results[name] = {kind: {key: m[key] for key in ("accuracy", "count")} for kind, m in metrics.items()}
        hits = [float(line["text"] == record["answer"]) for line, record in zip(lines, chosen)]
        confidences = [line["confidence"] for line in lines]
        results[name]["ece"] = round(calibration_error(confidences, hits), 4)
        results[name]["minimum confidence"] = by_minimum(confidences, hits)
        results[name]["ece by chance"] = round(calibration_error_by_chance(confidences), 4)
    return results


MINIMUMS = (0.5, 0.7, 0.9)
"""Least confidences for which it is measured what they drop and leave."""
STATED = (0.5, 0.7, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Ends of the bins of a stated certainty."""


def by_minimum(confidences, hits, **means) -> dict:
    """What each of ``MINIMUMS`` drops, and of what it leaves the share of hits and the means of other values."""
    confidences, values = np.asarray(confidences, float), {"right": hits, **means}
    found = {}
    for least in MINIMUMS:
        kept = np.round(confidences, 6) >= least
        left = (
            {name: round(float(np.asarray(v, float)[kept].mean()), 4) for name, v in values.items()}
            if any(kept)
            else {}
        )
        found[f"{least:g}"] = {"dropped": round(float(np.mean(~kept)), 4), **left}
    return found


def certainty(judge: Judge, root: Path, records: Path) -> dict:
    """Whether confidences of scores and certainties of orders hold on these images.

    Scores: against the ``quality`` of the records, in points. Orders: pairs of known order in rankings of up to 12
    images; the certainty is that of the order which the ranking gives.
    """
    sets = {
        kind: [read_set(path, root) for path in sorted(records.glob(f"{kind}_*.json"))] for kind in ("score", "rating")
    }
    found = {}
    for name, some in scored_sets(judge, sets["score"]).items():
        scores, truths = [score for score, _ in some], np.array([truth for _, truth in some])
        errors = np.abs(truths - [score.score for score in scores])
        confidences = np.array([score.confidence for score in scores])
        found[name] = {
            "count": len(some),
            "certainty": scores[0].certainty,
            "mean error": round(float(errors.mean()), 2),
            "within 10 points": round(float(np.mean(errors <= WITHIN)), 4),
            "mean confidence": round(float(confidences.mean()), 4),
            "ece": round(calibration_error(confidences, errors <= WITHIN), 4),
            "ece by chance": round(calibration_error_by_chance(confidences), 4),
            "confidence and error (SRCC)": round(float(spearmanr(confidences, errors).statistic), 3),
            "in the 95 % interval": np.mean([s.low <= truth <= s.high for s, truth in zip(scores, truths)]).round(4),
            "minimum confidence": by_minimum(confidences, errors <= WITHIN, **{"mean error": errors}),
        }
    for name, some in ranked_sets(judge, sets["rating"]).items():
        stated, right = stated_orders(some, judge.backend.calibration.order(name.endswith("fr")))
        found[name] = {"count": len(stated), "by stated certainty": {}}
        for low, high in zip(STATED, STATED[1:]):
            chosen = (stated >= low) & ((stated < high) | (high == 1))
            if chosen.any():
                facts = {"count": int(chosen.sum()), "stated": stated[chosen].mean(), "right": right[chosen].mean()}
                found[name]["by stated certainty"][f"{low:g} to {high:g}"] = {
                    k: round(float(v), 4) for k, v in facts.items()
                }
    return found


def stated_orders(some, calibration) -> tuple[np.ndarray, np.ndarray]:
    """The certainty 0.5..1 of the order of every decided pair, and whether the order is right (equal strengths: no)."""
    rows = []
    for ranked in some:
        weight = calibration.weight if calibration else estimate_weight(ranked.count, ranked.pairs, ranked.wins)
        fit = bradley_terry(ranked.count, ranked.pairs, ranked.wins, weight, calibration=calibration)
        rows += [fit.probability(i, j) for i, j in ranked.decided]
    rows = np.array(rows)
    return np.maximum(rows, 1 - rows), rows > 0.5


PAIRS = ("rating_fr_single", "rating_fr_double")
"""Record files of pairs with a reference."""


def reference_baseline(judge: Judge, root: Path, records: Path, limit: int) -> dict:
    """Pairs with a reference: the judge, and what it must beat, on the same pairs.

    Limits of this measurement: a pair whose severities do not decide is labelled by the vote of six full-reference
    metrics (``training.dataset.records.labels``), and what five of the six see (all but VSI) is among the inputs of the
    judge; pairs on which the metrics disagree are left out. So the same accuracies are given for each way in which
    pairs were decided, and beside the judge's those of the metrics themselves: the plain mean of the six, each on the
    scale of severity steps (``labels.seen_severity``), and the best single one.
    """
    scenes = list(read_scenes(root))
    variants = {variant["image"]: variant for scene in scenes for variant in scene["variants"]}
    seen = {image: seen_severity(variant["metrics"]) for image, variant in variants.items()}
    all_pairs = [pair for scene in scenes for pair in combinations(scene["variants"], 2)]
    rows = []
    for name in PAIRS:
        chosen = read_records(records / f"{name}.json")[:limit]
        shown = [tuple(read_image(root, r[key]) for key in ("image_A", "image_B", "image_ref")) for r in chosen]
        answers = judge.compare_many([(a, b) for a, b, _ in shown], [reference for *_, reference in shown])
        for record, answer in zip(chosen, answers):
            a, b = record["image_A"], record["image_B"]
            gaps = {metric: seen[b][metric] - seen[a][metric] for metric in seen[a]}  # positive: A is better
            gaps |= {"mean of six metrics": np.mean(list(gaps.values())), "judge": answer.probability_a - 0.5}
            sign = 1 if tasks.parse_winner(record["answer"]) == "A" else -1
            decided = "severity" if severity_decides(variants[a], variants[b]) else "vote of metrics"
            rows.append((decided, {name: float(np.sign(sign * gap) + 1) / 2 for name, gap in gaps.items()}))
    found = {
        "pairs of one scene": len(all_pairs),
        "undecided, left out": sum(better(a, b) is None for a, b in all_pairs),
    }
    for kind in ("all decided", "severity", "vote of metrics"):
        hits = [hit for decided, hit in rows if kind in (decided, "all decided")]
        if hits:
            shares = {name: round(float(np.mean([hit[name] for hit in hits])), 4) for name in hits[0]}
            found[f"measured, decided by {kind}" if kind != "all decided" else "measured"] = {
                "count": len(hits),
                "judge": shares.pop("judge"),
                "mean of six metrics": shares.pop("mean of six metrics"),
                "each metric": shares,
            }
    return found


def severity_order(judge: Judge, root: Path, reference: bool) -> float:
    """Mean over scenes of the SRCC between score and effective quality of the scene's images."""
    values = []
    for scene in read_scenes(root):
        pictures = [read_image(root, v["image"]) for v in scene["variants"]]
        scores = judge.score(pictures, read_image(root, scene["reference"]) if reference else None)
        values.append(spearmanr([s.score for s in scores], [v["quality"] for v in scene["variants"]]).statistic)
    return round(float(np.nanmean(values)), 4)


def honest_words(judge: Judge, root: Path, records: Path, limit: int) -> dict:
    """How often descriptions, free to name one distortion or two, name exactly the true ones; and how often they name
    what ``identify`` names when both are asked for the true number of distortions: always, and where it is right.
    """
    right, agree, sure = [], [], []
    for kind in ("single", "double"):
        chosen = read_records(records / f"assessment_nr_{kind}.json")[:limit]
        pictures = [read_image(root, record["image_A"]) for record in chosen]
        words, count = judge.describe(pictures, max_new_tokens=120), 1 if kind == "single" else 2
        asked = judge.describe(pictures, count=count, max_new_tokens=120)
        found = judge.identify(pictures, count=count)
        for record, free, said, answer in zip(chosen, words, asked, found):
            truth, labels = named(record["answer"]), set(answer.labels)
            right.append(named(free.text) == truth)
            agree.append(named(said.text) == labels)
            if labels == truth:
                sure.append(agree[-1])
    return {
        "names exactly the true distortions": np.mean(right).round(4),
        "names what identify names": np.mean(agree).round(4),
        "names the truth where identify does": np.mean(sure).round(4),
        "count": len(right),
    }


def severity_error(judge: Judge, root: Path, records: Path, limit: int) -> dict:
    """How far the severity of a rightly named single distortion is from the true one (1 to 5), without a reference."""
    chosen = [r for r in read_records(records / "identification_nr_single.json")[:limit] if r["severity"]]
    found = judge.identify([read_image(root, record["image_A"]) for record in chosen])
    pairs = [
        (answer.severities[0], record["severity"])
        for answer, record in zip(found, chosen)
        if answer.severities and answer.text == record["answer"]
    ]
    if not pairs:
        return {"count": 0}
    seen, true = np.array(pairs).T
    srcc = spearmanr(seen, true).statistic
    return {"mean error": np.abs(seen - true).mean().round(4), "SRCC": srcc.round(4), "count": len(pairs)}


def changed_copy(root: Path, folder: Path, change) -> Path:
    """The same data root with every distorted image changed; references stay as they are."""
    for scene in read_scenes(root):
        for path, altered in [(scene["reference"], False), *((v["image"], True) for v in scene["variants"])]:
            image = Image.fromarray(read_image(root, path).rgb)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (change(image) if altered else image).save(folder / path)
    return folder


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _smaller(image: Image.Image) -> Image.Image:
    return image.resize((round(image.width * 0.9), round(image.height * 0.9)), Image.Resampling.BICUBIC)


def _black(image: Image.Image) -> Image.Image:
    return Image.new("RGB", image.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="data root with test records")
    parser.add_argument("--checkpoint", help="checkpoint folder (default: the bundled one)")
    only = "measure only those whose names start with one of these, such as certainty, or pairs (with the baseline)"
    parser.add_argument("--only", nargs="+", metavar="NAME", help=only)
    parser.add_argument("--limit", type=int, default=1000, help="most records per set")
    parser.add_argument("--resaved", action="store_true")
    parser.add_argument("--changed-limit", type=int, help="most records per set of changed images")
    parser.add_argument("--answers", type=Path, help="folder in which the answers about the images as made are kept")
    parser.add_argument("--blank", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    judge, root = load_judge(arguments.checkpoint), arguments.root
    records, results = root / "records", defaultdict(dict)
    if arguments.answers:
        arguments.answers.mkdir(parents=True, exist_ok=True)
    limit = arguments.limit
    parts = {
        "as made": lambda: accuracies(judge, root, records, limit, arguments.answers),
        "order of scores in a scene (SRCC)": lambda: {
            "without reference": severity_order(judge, root, False),
            "with reference": severity_order(judge, root, True),
        },
        "certainty": lambda: certainty(judge, root, records),
        "pairs with a reference": lambda: reference_baseline(judge, root, records, limit),
        "descriptions": lambda: honest_words(judge, root, records, min(limit, 300)),
        "severity of single distortions": lambda: severity_error(judge, root, records, limit),
    }
    for name, measure in parts.items():
        if not arguments.only or any(name.startswith(wanted) for wanted in arguments.only):
            results[name] = measure()
            print(json.dumps({name: results[name]}, indent=1, default=float), flush=True)
    if arguments.changed_limit:  # what the changed images are to be compared with
        results[f"as made, first {arguments.changed_limit}"] = accuracies(judge, root, records, arguments.changed_limit)
    changes = {"JPEG 95": _jpeg, "scaled to 90 %": _smaller} if arguments.resaved else {}
    changes |= {"black images": _black} if arguments.blank else {}
    for name, change in changes.items():
        with tempfile.TemporaryDirectory() as folder:
            limit = arguments.changed_limit or arguments.limit
            results[name] = accuracies(judge, changed_copy(root, Path(folder), change), records, limit)
    text = json.dumps(results, indent=1, default=float)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
