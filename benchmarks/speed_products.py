"""How fast the matrix products of a judge are, and what other formats of its weights cost and save."""

import statistics

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from depictqa_core import tasks
from depictqa_core.runtime.progress import ProgressCounter

from . import speed_setup as setup
from .speed_formats import FORMATS
from .speed_setup import COUNT, WORDS, seconds, show

# ---------------------------------------------------------------------- matrix products

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "conv2d", "scaled_dot_product")


def products(model: str, checkpoint) -> dict:
    """Of the language model's and the tower's time on one thread: the share of matrix products, and their speed."""
    made, _ = setup.pictures(32)
    judge = setup.judge(checkpoint)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = {}
    show(f"\nmatrix products on one thread, {model}", "share of time", "GFLOP/s", "plain GFLOP/s", "of the shape")
    try:
        judge.encode(made)
        language = checkpoint.model.language.config
        shape = (32 * 40, language.hidden_size, language.intermediate_size)
        with torch.inference_mode():
            prepared = [setup.prepare(picture, checkpoint.model.config) for picture in made[:8]]
            pairs = list(zip(made, made[1:] + made[:1], [None] * 32))
            for name, work, plain in (
                (
                    "language model, 32 pairs",
                    lambda: judge.backend.choose(tasks.RATING, None, pairs, ProgressCounter(None, 0)),
                    shape,
                ),
                ("vision tower, 8 images", lambda: checkpoint.model.encode(prepared), (784, 480, 480)),
            ):
                work()
                judge.backend.forget_answers()
                with FlopCounterMode(display=False) as counter:
                    work()
                judge.backend.forget_answers()
                with profile(activities=[ProfilerActivity.CPU]) as trace:
                    work()
                events = trace.key_averages()
                total = sum(event.self_cpu_time_total for event in events)
                inside = sum(e.self_cpu_time_total for e in events if any(p in e.key for p in _PRODUCTS))
                speed = counter.get_total_flops() / inside / 1e3
                reached = _plain_speed(*plain)
                results[name] = {
                    "share": round(inside / total, 3),
                    "gflops": round(speed, 1),
                    "plain": round(reached, 1),
                }
                numbers = f"{inside / total:.0%}", f"{speed:.1f}", f"{reached:.1f}"
                show(name, *numbers, " x ".join(map(str, plain)))
    finally:
        torch.set_num_threads(threads)
    return results


def _plain_speed(m: int, k: int, n: int) -> float:
    """GFLOP/s of torch.mm [m, k] x [k, n], the best of 20."""
    a, b = torch.randn(m, k), torch.randn(k, n)
    return 2 * m * k * n / min(seconds(lambda: a @ b)[0] for _ in range(20)) / 1e9


# ---------------------------------------------------------------------- number formats


def formats(checkpoints: dict, runs: int) -> dict:
    """The language model in other number formats, and compiled: time from known embeddings, agreement with float32.

    Asked for are 32 scores and ``COUNT`` descriptions; the first time of each, which may compile, stands by itself.
    """
    made, _ = setup.pictures(32)
    asked = [(picture, None) for picture in made]
    results = {}
    columns = "ms a score", "ratio", "ms a text", "ratio", "first s", "same level", "largest gap", "same text"
    show("\nnumber format of the language model", *columns)
    for model, checkpoint in checkpoints.items():
        language, levels, texts = checkpoint.model.language, {}, {}
        for name, change in FORMATS.items():
            try:
                checkpoint.model.language = change(language)
                engine = setup.judge(checkpoint).backend
                engine.encode_images(asked, ProgressCounter(None, 0))

                def score(engine=engine):
                    return engine.choose(tasks.SCORE, None, asked, ProgressCounter(None, 0)).probabilities

                def describe(engine=engine):
                    written = engine.write(tasks.ASSESSMENT, None, asked[:COUNT], WORDS, ProgressCounter(None, 0))
                    return [one.ids for one in written]

                first_score, scoring, levels[name] = _again(engine, score, runs)
                first_text, writing, texts[name] = _again(engine, describe, runs)
            finally:
                checkpoint.model.language = language
            results[f"{model}, {name}"] = row = {
                "ms_a_score": round(1000 * scoring / len(made), 3),
                "ms_a_description": round(1000 * writing / COUNT, 3),
                "first_s": round(first_score + first_text, 2),
                "same_level": float((levels[name].argmax(1) == levels["float32"].argmax(1)).mean()),
                "largest_gap": float(np.abs(levels[name] - levels["float32"]).max()),
                "same_description": sum(map(list.__eq__, texts[name], texts["float32"])) / COUNT,
            }
            plain = results[f"{model}, float32"]
            numbers = []
            for what in ("ms_a_score", "ms_a_description"):
                numbers += [f"{row[what]:.2f}", f"{plain[what] / row[what]:.2f}"]
            agreement = f"{row['same_level']:.0%}", f"{row['largest_gap']:.0e}", f"{row['same_description']:.0%}"
            show(f"{model}, {name}", *numbers, f"{row['first_s']:.1f}", *agreement)
    return results


def _again(engine, work, runs: int) -> tuple[float, float, object]:
    """Seconds of a first call and of a later one (median of ``runs``), none with known answers, and what came."""
    times = []
    for _ in range(runs + 1):
        engine.forget_answers()
        took, found = seconds(work)
        times.append(took)
    return times[0], statistics.median(times[1:]), found
