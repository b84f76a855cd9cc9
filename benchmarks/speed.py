"""How fast the engine is: naive against engine in pairs of runs, growth with the number of images, memory, formats.

    python -m benchmarks.speed [--runs 5] [--part PART ...] [--output FILE]

Naive is one call per question: every image is encoded for every question, nothing is kept or batched, all pairs are
asked in both orders. ``SAMPLE`` of its questions are timed, and the others counted alike. Both
ways of a row are timed in turn, in one process, and must give the same answers. Parts: ratios, stages, growth, memory,
products, formats. Other programs should rest meanwhile: the load before is printed with the machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from depictqa_core import tasks
from depictqa_core.ranking import pair_selection
from depictqa_core.runtime.progress import ProgressCounter
from depictqa_core.runtime.threads import keep_freed_memory
from depictqa_core.storage.documents import read_json

from . import speed_setup as setup
from .speed_products import formats, products
from .speed_setup import COUNT, WORDS, seconds, show

RESULTS = Path(__file__).parent / "results" / "speed.json"
SAMPLE = 4
"""Questions that the naive way is timed on; it would need the same time for each of the others."""

# ---------------------------------------------------------------------- naive against engine


def ratio_rows(checkpoint) -> dict:
    """Row -> (naive way, engine way, factor by which the naive way asks more than what is timed, check of both)."""
    made, original = setup.pictures(64)
    rows = {}
    for setting, reference in (("NR", None), ("FR", original)):
        few = [(picture, reference) for picture in made[:COUNT]]
        for name, task, question in (
            ("identify", tasks.IDENTIFICATION, tasks.ONE_ISSUE),
            ("score", tasks.SCORE, tasks.SCORE.question),
        ):
            rows[f"{name} {COUNT} {setting}"] = _chosen(checkpoint, [(task, question)], few)
        both = [(tasks.IDENTIFICATION, tasks.ONE_ISSUE), (tasks.SCORE, tasks.SCORE.question)]
        rows[f"identify + score {COUNT} {setting}"] = _chosen(checkpoint, both, few)
        pairs = [(made[2 * i], made[2 * i + 1], reference) for i in range(COUNT // 2)]
        turned = [(b, a, reference) for a, b, reference in pairs]
        rows[f"compare {COUNT // 2} pairs {setting}"] = _chosen(checkpoint, [(tasks.RATING, None)], pairs + turned)
        for count in (16, 64):
            rows[f"rank {count} {setting}"] = _ranked(checkpoint, made[:count], reference)
        rows[f"describe {COUNT} {setting}"] = _described(checkpoint, few)
    return rows


def _chosen(checkpoint, questions, asked):
    some = asked[:: len(asked) // SAMPLE]

    def naive():
        return [setup.choose_naively(checkpoint, *question, some) for question in questions]

    def engine():
        judge = setup.judge(checkpoint)
        return [
            judge.backend.choose(*question, asked, ProgressCounter(None, 0)).probabilities for question in questions
        ]

    def same(rows, found):
        mine = [all_of_them[:: len(asked) // SAMPLE] for all_of_them in found]
        return _agreement(np.concatenate(rows, 1), np.concatenate(mine, 1), [row.shape[1] for row in rows])

    return naive, engine, len(asked) / len(some), same


def _ranked(checkpoint, pictures, reference):
    pairs = pair_selection.all_pairs(len(pictures))
    some = [pairs[i] for i in np.linspace(0, len(pairs) - 1, SAMPLE // 2).astype(int)]
    asked = [(pictures[a], pictures[b], reference) for i, j in some for a, b in ((i, j), (j, i))]

    def naive():
        return setup.choose_naively(checkpoint, tasks.RATING, None, asked)

    def engine():
        judge = setup.judge(checkpoint)
        judge.rank(pictures, reference, reasons=False)
        return judge

    def same(rows, judge):
        return _agreement(
            rows, judge.backend.choose(tasks.RATING, None, asked, ProgressCounter(None, 0)).probabilities, [2]
        )

    return naive, engine, len(pairs) / len(some), same


def _described(checkpoint, asked):
    some = asked[:: len(asked) // SAMPLE]

    def naive():
        return setup.write_naively(checkpoint, some, WORDS)

    def engine():
        written = setup.judge(checkpoint).backend.write(tasks.ASSESSMENT, None, asked, WORDS, ProgressCounter(None, 0))
        return [answer.ids for answer in written[:: len(asked) // SAMPLE]]

    def same(naive, engine):
        return 0.0, all(a[: len(b)] == b for a, b in zip(naive, engine))

    return naive, engine, len(asked) / len(some), same


def _agreement(rows: np.ndarray, mine: np.ndarray, widths: list[int]) -> tuple[float, bool]:
    """Largest difference of probabilities, and whether every question has the same most probable answer."""
    ends = np.cumsum(widths)[:-1]
    best = [[part.argmax(1) for part in np.split(one, ends, 1)] for one in (rows, mine)]
    return float(np.abs(rows - mine).max()), bool(np.array_equal(*best))


def ratios(checkpoints: dict, runs: int) -> dict:
    """Times of both ways in ``runs`` pairs of runs, after one that does not count; the order alternates."""
    results = {}
    show("\nnaive against engine", "naive s", "engine s", "ratio", "of runs", "answers within")
    for model, checkpoint in checkpoints.items():
        for name, (naive, engine, factor, same) in ratio_rows(checkpoint).items():
            gap, alike = same(naive(), engine())
            slow, fast = [], []
            for run in range(runs):
                for way, times in ((naive, slow), (engine, fast))[:: 1 if run % 2 else -1]:
                    times.append(seconds(way)[0])
            per_run = [factor * a / b for a, b in zip(slow, fast)]
            results[f"{model}, {name}"] = row = {
                "naive_s": round(factor * statistics.median(slow), 4),
                "engine_s": round(statistics.median(fast), 4),
                "ratio": round(statistics.median(per_run), 2),
                "ratios": [round(value, 2) for value in per_run],
                "naive_counted": round(factor, 2),
                "largest_difference": gap,
                "same_answers": alike,
            }
            spread = f"{min(per_run):.1f} .. {max(per_run):.1f}"
            answers = f"{gap:.0e}" if alike else f"DIFFERENT {gap:.0e}"
            numbers = f"{row['naive_s']:.2f}", f"{row['engine_s']:.2f}", f"{row['ratio']:.1f}"
            show(f"{model}, {name}", *numbers, spread, answers)
    return results


# ---------------------------------------------------------------------- stages


def stages(model: str, checkpoint, runs: int) -> dict:
    """What one image of 512 x 512 costs on one thread, stage by stage, in milliseconds.

    Every way has to look at an image once: to resize it, take its statistics, and run the tower. So "limit" is how
    many times faster than naive one question per image could be if nothing else cost any time.
    """
    made, original = setup.pictures(32)
    network = checkpoint.model
    config = network.config
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            looked = [setup.prepare(picture, config) for picture in made]
            pooled = network.encode(looked)
            compared = [setup.prepare_comparison(picture, original, config) for picture in made[:1]]
            judge = setup.judge(checkpoint)
            judge.encode(made)
            asked = [(picture, None) for picture in made]

            def answer():
                judge.backend.forget_answers()
                judge.backend.choose(tasks.SCORE, None, asked, ProgressCounter(None, 0))

            work = {
                "resize, normalise, statistics": lambda: setup.prepare(made[0], config),
                "vision tower, pooling": lambda: network.encode(looked[:1]),
                "comparison with a reference": lambda: setup.prepare_comparison(made[0], original, config),
                "connector": lambda: network.connect(pooled[:1], [pooled[1]], compared),
                "language model, one of 32 scores": answer,
                "naive score": lambda: setup.choose_naively(checkpoint, tasks.SCORE, None, asked[:1]),
            }
            results = {}
            show(f"\none image on one thread, {model}", "ms")
            for name, one in work.items():
                took = statistics.median(seconds(one)[0] for _ in range(3 * runs))
                results[name] = round(1000 * took / (len(asked) if one is answer else 1), 2)
                show(name, f"{results[name]:.2f}")
    finally:
        torch.set_num_threads(threads)
    looking = results["resize, normalise, statistics"] + results["vision tower, pooling"]
    results["limit"] = round(results["naive score"] / looking, 2)
    show("limit of one question without a reference", f"{results['limit']:.2f}")
    return results


# ---------------------------------------------------------------------- growth


def growth(checkpoint, scored: tuple[int, ...], ranked: tuple[int, ...], runs: int) -> dict:
    """Time per image of ``identify`` + ``score``, and of ``rank``, for more and more images of 512 x 512."""
    made, original = setup.pictures(max(*scored, *ranked))
    results = {"score": {}, "identify_and_score": {}, "rank_nr": {}, "rank_fr": {}}

    def both(count):
        judge = setup.judge(checkpoint)
        judge.identify(made[:count])
        judge.score(made[:count])

    show("\ngrowth", "images", "s", "ms an image", "images/s", "pairs")
    for name, counts, work in (
        ("score", scored, lambda count: setup.judge(checkpoint).score(made[:count])),
        ("identify_and_score", scored[:-1], both),
        ("rank_nr", ranked, lambda count: setup.judge(checkpoint).rank(made[:count])),
        ("rank_fr", ranked, lambda count: setup.judge(checkpoint).rank(made[:count], original)),
    ):
        for count in counts:
            times = [seconds(lambda count=count, work=work: work(count))[0] for _ in range(runs if count <= 64 else 1)]
            took = statistics.median(times)
            pairs = pair_selection.default_budget(count) if name.startswith("rank") else 0
            results[name][count] = {"s": round(took, 3), "ms_a_picture": round(1000 * took / count, 2), "pairs": pairs}
            numbers = f"{took:.2f}", f"{1000 * took / count:.1f}", f"{count / took:.1f}"
            show(name.replace("_", " "), str(count), *numbers, str(pairs or ""))
    return results


# ---------------------------------------------------------------------- memory


def memory(counts: tuple[int, ...]) -> dict:
    """Peak memory of whole runs of the command line over folders of many images of 3 megapixels."""
    results = {}
    show("\npeak memory of the command line", "images", "MB")
    with tempfile.TemporaryDirectory() as folder:
        made, _ = setup.pictures(8, 256)
        for index in range(max(counts)):
            small = Image.fromarray(made[index % 8].rgb).rotate(index % 360, resample=Image.Resampling.BILINEAR)
            small.resize((2000, 1500), Image.Resampling.BICUBIC).save(f"{folder}/{index:04d}.jpg", quality=90)
        files = sorted(str(path) for path in Path(folder).glob("*.jpg"))
        for verb in ("score", "rank"):
            for count in counts:
                results[f"{verb} {count}"] = used = _peak([verb, *files[:count], "--quiet"])
                show(f"depictqa {verb}", str(count), f"{used:.0f}")
    return results


_REPORT = """
import resource, sys
from depictqa_core.cli.commands import main
status = main(sys.argv[1:])
try:  # getrusage would count what the parent of this process had used, too
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(peak, file=sys.stderr)
sys.exit(status)
"""


def _peak(words: list[str]) -> float:
    """Peak resident memory in MB of one run of the command line in a process of its own."""
    run = subprocess.run([sys.executable, "-c", _REPORT, *words], capture_output=True, text=True, check=True)
    return int(run.stderr.split()[-1]) / 1024


# ---------------------------------------------------------------------- all of it

PARTS = ("ratios", "stages", "growth", "memory", "products", "formats")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs of every ratio")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="only these")
    parser.add_argument("--output", type=Path, default=RESULTS, help="results as JSON")
    options = parser.parse_args()
    keep_freed_memory()  # as the command line does
    checkpoints = {"mini": setup.bundled(), "reduced": setup.reduced()}
    facts = {"machine": setup.machine(), "command": f"python -m benchmarks.speed --runs {options.runs}"}
    facts["reduced"] = {"what": " ".join(setup.REDUCED_NOTE.split()), **setup.REDUCED}
    if options.output.exists():  # parts that are not measured now stay as they were
        facts = {**read_json(options.output), **facts}
    print("\n".join(f"{key}: {value}" for key, value in facts["machine"].items()))
    print(facts["reduced"]["what"])
    measure = {
        "ratios": lambda: ratios(checkpoints, options.runs),
        "stages": lambda: {name: stages(name, checkpoint, options.runs) for name, checkpoint in checkpoints.items()},
        "growth": lambda: growth(checkpoints["mini"], (16, 64, 256, 1024), (4, 16, 64, 256), min(options.runs, 3)),
        "memory": lambda: memory((16, 64)),
        "products": lambda: {name: products(name, checkpoint) for name, checkpoint in checkpoints.items()},
        "formats": lambda: formats(
            {"mini": checkpoints["mini"], "reduced without LoRA": setup.reduced(lora=None)}, options.runs
        ),
    }
    for part in options.part:
        facts[part] = measure[part]()
        options.output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {options.output}")


if __name__ == "__main__":
    main()
