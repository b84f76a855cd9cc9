"""The published task on a data root of test records: accuracies, order of severities, certainty, agreement of texts.

The data root comes from ``python -m training build IMAGES ROOT --scenes N --form test``. `PARTS` are the parts of
``python -m benchmarks.quality`` for each root.
"""

import json
import tempfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from depictqa_core import tasks
from depictqa_core.calibration import WITHIN
from depictqa_core.judge import Judge
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

from .everyday import saved, scaled
from .shares import wilson

SETS = {
    "identification_nr_single": "quality_single_A_noref",
    "identification_fr_single": "quality_single_A",
    "identification_nr_double": "quality_single_A_noref",
    "identification_fr_double": "quality_single_A",
    "rating_nr_single": "quality_compare_noref",
    "rating_fr_single": "quality_compare",
    "rating_cross_nr_single": "quality_compare_noref",
}


def accuracies(judge: Judge, root: Path, records: Path, limit: int) -> dict:
    """Set name -> published metrics without the confidence bins."""
    results = {}
    for name, task_type in SETS.items():
        chosen = read_records(records / f"{name}.json")[:limit]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "records.json").write_text(json.dumps(chosen))
            answers = Path(folder) / f"{name}.jsonl"
            metrics = evaluate(judge, Path(folder) / "records.json", root, task_type, answers, swap=False)["metrics"]
            lines = [parse_json(line, str(answers)) for line in answers.read_bytes().splitlines()]
        results[name] = {kind: with_interval(m["accuracy"], m["count"]) for kind, m in metrics.items()}
        hits = [float(same_answer(line["text"], record["answer"])) for line, record in zip(lines, chosen)]
        confidences = [line["confidence"] for line in lines]
        results[name]["ece"] = round(calibration_error(confidences, hits), 4)
        results[name]["minimum confidence"] = by_minimum(confidences, hits)
        results[name]["ece by chance"] = round(calibration_error_by_chance(confidences), 4)
    return results


def same_answer(text: str, truth: str) -> bool:
    """Whether an answer is the true one: its confidence is that of its labels in whatever order."""
    labels, true = tasks.parse_labels(text), tasks.parse_labels(truth)
    return text == truth or (labels is not None and true is not None and set(labels) == set(true))


def with_interval(accuracy: float, count: int) -> dict:
    """An accuracy with its number of answers and its 95 % interval."""
    low, high = wilson(accuracy, count)
    return {"accuracy": accuracy, "count": count, "low": round(low, 4), "high": round(high, 4)}


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
            "mean width": round(float(np.mean([score.high - score.low for score in scores])), 1),
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
                    k: v if isinstance(v, int) else round(float(v), 4) for k, v in facts.items()
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


def severity_order(judge: Judge, root: Path) -> dict:
    """SRCC of score and quality: the mean over scenes, and over the images of all scenes together."""
    found = {}
    for setting, reference in (("without reference", False), ("with reference", True)):
        in_scene, scores, qualities = [], [], []
        for scene in read_scenes(root):
            images = [read_image(root, v["image"]) for v in scene["variants"]]
            some = judge.score(images, read_image(root, scene["reference"]) if reference else None)
            in_scene.append(([one.score for one in some], [v["quality"] for v in scene["variants"]]))
            scores += in_scene[-1][0]
            qualities += in_scene[-1][1]
        found[setting] = round(float(np.nanmean([spearmanr(*one).statistic for one in in_scene])), 4)
        found[f"{setting}, all images together"] = round(float(spearmanr(scores, qualities).statistic), 4)
    return found


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


def changed_copy(root: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The same data root with every distorted image changed; references stay as they are."""
    for scene in read_scenes(root):
        for path, altered in [(scene["reference"], False), *((v["image"], True) for v in scene["variants"])]:
            image = read_image(root, path).rgb
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(change(image) if altered else image).save(folder / path)
    return folder


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG 95": lambda image: saved(image, "JPEG", 95),
    "scaled to 90 %": lambda image: scaled(image, round(min(image.shape[:2]) * 0.9)),
    "black images": np.zeros_like,
}
"""How every distorted image is changed; with black images what is left is chance."""


def changed_accuracies(judge: Judge, root: Path, limit: int, change: str) -> dict:
    """`accuracies` with every distorted image changed as `CHANGES` says."""
    with tempfile.TemporaryDirectory() as folder:
        return accuracies(judge, changed_copy(root, Path(folder), CHANGES[change]), root / "records", limit)


def facts(root: Path) -> dict:
    """How many images, scenes and distorted versions a data root has."""
    scenes = list(read_scenes(root))
    return {
        "images": len({scene["source"] for scene in scenes}),
        "scenes": len(scenes),
        "versions": sum(len(scene["variants"]) for scene in scenes),
    }


PARTS: dict[str, Callable[[Judge, Path, int], dict]] = {
    "data": lambda judge, root, limit: facts(root),
    "as made": lambda judge, root, limit: accuracies(judge, root, root / "records", limit),
    "order of scores (SRCC)": lambda judge, root, limit: severity_order(judge, root),
    "certainty": lambda judge, root, limit: certainty(judge, root, root / "records"),
    "pairs with a reference": lambda judge, root, limit: reference_baseline(judge, root, root / "records", limit),
    "descriptions": lambda judge, root, limit: honest_words(judge, root, root / "records", min(limit, 300)),
    "severity of single distortions": lambda judge, root, limit: severity_error(judge, root, root / "records", limit),
    **{
        name: lambda judge, root, limit, change=name: changed_accuracies(judge, root, limit, change) for name in CHANGES
    },
}
"""Name -> measurement of a judge on a data root, with up to a number of records per set."""
