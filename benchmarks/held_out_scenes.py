"""How a judge does on held-out scenes at native resolution: what a stage of training is chosen by.

    python -m benchmarks.held_out_scenes DATA_ROOT [--checkpoint DIR ...] [--output results.json]

DATA_ROOT is one of validation scenes (``python -m training build IMAGES DATA_ROOT --native --held-out --split
validation --form test --scenes 200``). All images are identified and scored, and all pairs of a scene of which one is
known to be better are compared. Everything is asked without a reference, and printed for all images, and for
scenes of photographs, of real drawings, and of those drawn by program. With several checkpoints, one column each.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from depictqa_core.judge import Judge, load_judge
from depictqa_core.tasks import FAULTS
from training.dataset.building.scenes import read_scenes
from training.dataset.records import labels
from training.dataset.records.image_paths import read_image
from training.distortions import ANSWER
from training.sources.manifest import load_manifest
from training.trainer.roc import area_under_curve

from .ending import ended

RECIPES = Path(__file__).parent.parent / "training" / "recipes" / "mini"


def domains(root: Path) -> dict[str, list[dict]]:
    """Scenes by what they show; "all" has them all."""
    photographs = {source.id for source in load_manifest(RECIPES / "pictures.yaml").sources}
    found: dict[str, list[dict]] = {"all": [], "photographs": [], "drawings": [], "drawn by program": []}
    for scene in read_scenes(root):
        source = (scene["source"] or "").partition("__")[0]
        drawn = "photographs" if source in photographs else "drawings"
        found["drawn by program" if scene["drawn"] else drawn].append(scene)
        found["all"].append(scene)
    return found


def measure(judge: Judge, root: Path) -> dict[str, dict[str, float]]:
    """Domain -> the figures of its scenes."""
    scenes = domains(root)
    first = _compared(judge, root, scenes["all"])
    paths = [variant["image"] for scene in scenes["all"] for variant in scene["variants"]]
    answers = {}
    for start in range(0, len(paths), 64):
        part = paths[start : start + 64]
        images = [read_image(root, path) for path in part]
        named, scored = judge.identify(images, faults=True), judge.score(images)
        answers |= {path: (one, score.score) for path, one, score in zip(part, named, scored)}
    return {name: _figures(part, answers, first) for name, part in scenes.items() if part}


def _decided(scene: dict) -> Iterator[tuple[dict, dict, bool]]:
    """The pairs of variants of a scene of which one is known to be better, and whether it is the first."""
    for one, other in combinations(scene["variants"], 2):
        better = labels.better(one, other)
        if better is not None:
            yield one, other, better


def _compared(judge: Judge, root: Path, scenes: list[dict]) -> dict[tuple[str, str], float]:
    """The probability that the first is better of each pair of images of a scene."""
    found = {}
    for scene in scenes:
        pairs = [(one["image"], other["image"]) for one, other, _ in _decided(scene)]
        images = {path: read_image(root, path) for pair in pairs for path in pair}
        answers = judge.compare_many([(images[one], images[other]) for one, other in pairs])
        found |= {pair: answer.probability_a for pair, answer in zip(pairs, answers)}
    return found


def _figures(scenes: list[dict], answers: dict, first: dict[tuple[str, str], float]) -> dict[str, float]:
    variants = [variant for scene in scenes for variant in scene["variants"]]
    found = [answers[variant["image"]] for variant in variants]
    none = np.array([_of(one.probabilities, "none") for one, _ in found])
    scores = np.array([score for _, score in found])
    truth = np.array([100 * variant["quality"] for variant in variants])
    whole = np.array([bool(v["distortions"]) and not v.get("region") and not v["faults"] for v in variants])
    local = np.array([bool(v["distortions"]) and bool(v.get("region")) for v in variants])
    faulty = np.array([bool(v["faults"]) for v in variants])
    clean = ~whole & ~local & ~faulty
    called = np.array([not one.labels for one, _ in found])
    sure = np.array(
        [max((p.probability for p in one.probabilities if p.label != "none"), default=0) for one, _ in found]
    )
    result = {"images": len(variants), "clean": int(clean.sum())}
    result |= {"clean called none": _mean(called[clean]), "wrong at 0.9": _mean(sure[clean] >= 0.9)}
    result |= {
        "clean score": np.median(scores[clean]) if clean.any() else np.nan,
        "clean below 50": _mean(scores[clean] < 50),
    }
    for name, bad in (("whole", whole), ("a region", local)):
        result[f"AUC of none, {name}"] = area_under_curve(none[clean], none[bad])
        result[f"AUC of score, {name}"] = area_under_curve(scores[clean], scores[bad])
    single = [
        (one, v["distortions"][0]) for (one, _), v, w in zip(found, variants, whole) if w and len(v["distortions"]) == 1
    ]
    result["right label of one distortion"] = _mean([_label(item) in one.labels for one, item in single])
    result["SRCC of scores"] = spearmanr(scores, truth).statistic
    by_score = {path: score for path, (_, score) in answers.items()}
    result |= _pairs(scenes, "pairs in order", lambda one, other: by_score[one] > by_score[other])
    result |= _pairs(scenes, "pairs compared right", lambda one, other: first[one, other] > 0.5)
    return {**result, **_faults(found, variants)}


def _pairs(scenes: list[dict], name: str, prefers_first: Callable[[str, str], bool]) -> dict[str, float]:
    """Shares of the pairs of a scene that are ordered as in the truth."""
    right: dict[str, list[bool]] = {name: [], f"{name}, a region": [], f"{name}, a fault": []}
    for scene in scenes:
        for one, other, better in _decided(scene):
            kind = ", a fault" if one["faults"] or other["faults"] else ""
            kind = kind or (", a region" if one.get("region") or other.get("region") else "")
            right[f"{name}{kind}"].append(prefers_first(one["image"], other["image"]) == better)
    return {name: float(np.mean(hits)) for name, hits in right.items() if hits}


def _faults(found: list, variants: list[dict]) -> dict[str, float]:
    """How faults are told: mean AUC over the kinds, shares of faults named and of false alarms on clean images."""
    there = [{item["fault"] for item in v["faults"]} for v in variants]
    clean = [not v["faults"] and not v["distortions"] for v in variants]
    areas, named = [], []
    for fault in FAULTS:
        probability = np.array([_of(one.faults or (), fault) for one, _ in found])
        has = np.array([fault in faults for faults in there])
        if has.any():
            areas.append(area_under_curve(probability[has], probability[clean]))
            named += (probability[has] > 0.5).tolist()
    alarms = [bool(one.probable_faults) for (one, _), good in zip(found, clean) if good]
    return {"AUC of faults": _mean(areas), "faults named": _mean(named), "false alarms": _mean(alarms)}


def _of(probabilities, label: str) -> float:
    return next((one.probability for one in probabilities if one.label.lower() == label), 0.0)


def _label(item: dict) -> str:
    return ANSWER[item["category"]]


def _mean(values) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A Markdown table for each domain, with a column for each checkpoint."""
    lines = []
    for domain in next(iter(results.values())):
        lines += [f"| {domain} | {' | '.join(results)} |", "| --- |" + " --- |" * len(results)]
        for row in next(iter(results.values()))[domain]:
            cells = [f"{found[domain][row]:.3g}" for found in results.values()]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and store the result; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="DATA_ROOT")
    parser.add_argument("--checkpoint", nargs="+", default=["bundled"], help="folders (default: the bundled one)")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)

    def work() -> None:
        results = {Path(name).name: measure(load_judge(name), arguments.root) for name in arguments.checkpoint}
        print(table(results))
        if arguments.output:
            arguments.output.write_text(json.dumps(results, indent=1, default=float) + "\n")

    return ended(work)


if __name__ == "__main__":
    raise SystemExit(main())
