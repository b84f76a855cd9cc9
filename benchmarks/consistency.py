"""Whether a judge agrees with itself: one scale for all images, no position bias, no contradictions between verbs.

`PARTS` are parts of ``python -m benchmarks.quality``, as those of ``everyday``.
"""

import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
from scipy.stats import spearmanr

from depictqa_core.claims import Facts
from depictqa_core.judge import Judge
from depictqa_core.results import Identification
from training import distortions, drawn
from training.dataset.building import looks
from training.dataset.records.descriptions import named

from .everyday import Material, Part, Rows, chunks, scaled, scores, small
from .shares import share

POINTS = 18
"""Of the true quality that one step of severity takes (``training.dataset.records.labels``)."""
CONTRADICTING = 10
"""Points by which the worse image of a comparison must have the higher score to contradict it."""
DAMAGED, CLEAN = 50, 87.5
"""An image without distortions contradicts a score below the first, one with a distortion of severity 3 and more a
score above the second."""
EQUAL_BIAS = 0.05
"""Largest position bias on equal images."""
SPEED = {512: 24, 1024: 10, 4096: 2}
"""Side in pixels -> images that the speed is measured on."""


def one_scale(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """SRCC of score and severity over the images of all domains together, and of each."""
    points: list[float] = []
    severities: list[int] = []
    for name, images in domains(material, rng).items():
        some, steps = [], []
        for chunk in chunks(copies(images, (0, 1, 2, 3, 4, 5), rng)):
            some += scores(judge, [image for image, _ in chunk])
            steps += [severity for _, severity in chunk]
        if some:
            yield f"one scale: {name}", scale_row(some, steps)
        points, severities = points + some, severities + steps
    if points:
        yield "one scale: all together", scale_row(points, severities)


def domains(material: Material, rng: np.random.Generator) -> dict[str, Iterator[np.ndarray]]:
    """Clean images by domain; each domain has up to as many as a row."""
    count = -(-material.count // 4)
    greys = (looks.apply("greyscale", image, rng) for image in material.photographs_of(count=count))
    files = [file for some in material.styles().values() for file in some][: material.count]
    kinds = (*drawn.VALIDATION_KINDS, *drawn.TRAINING_KINDS[::3])
    return {
        "photographs, 512 px": material.photographs_of(),
        "photographs, 1024 px": material.photographs_of(1024, count),
        "greyscale": greys,
        "non-photographs": small(files),
        "drawn by program": (image for kind in kinds for image in material.drawn(kind, max(1, count // 2))),
    }


def copies(
    images: Iterator[np.ndarray], severities: tuple[int, ...], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, int]]:
    """(image, severity) of each image with one random distortion at each severity; 0 is clean."""
    for image in images:
        for severity in severities:
            name = distortions.sample_one(rng)[0]
            yield (distortions.apply(name, image, severity, rng) if severity else image), severity


def scale_row(points: list[float], severities: list[int]) -> dict:
    """SRCC of scores with falling severity, the mean error, and the median score of the clean images."""
    found, truth = np.array(points), 100.0 - POINTS * np.array(severities)
    return {
        "images": len(points),
        "SRCC": round(float(spearmanr(found, truth).statistic), 4),
        "mean error": round(float(np.abs(found - truth).mean()), 2),
        "median score of clean images": round(float(np.median(found[np.array(severities) == 0])), 2),
    }


def position_bias(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Position bias on equal images, which no order can decide, and on a clean image and its damaged copy."""
    for name, images in domains(material, rng).items():
        equal = list(islice(images, -(-material.count // 2)))
        if not equal:
            continue
        damaged = [copy for copy, _ in copies(iter(equal), (3,), rng)]
        row: dict = {"images": len(equal)}
        for words, others in (("equal images", equal), ("different images", damaged)):
            bias = [one.disagreement for some in chunks(zip(equal, others)) for one in judge.compare_many(some)]
            row[words] = round(float(np.mean(bias)), 4)
            if others is equal:
                row[f"at most {EQUAL_BIAS:g} on equal images"] = share(value <= EQUAL_BIAS for value in bias)
        yield f"position bias: {name}", row


def contradictions(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """How often two verbs contradict each other about the same images: shares of images and of pairs."""
    made = [
        image
        for images in domains(material, rng).values()
        for image, _ in copies(islice(images, -(-material.count // 2)), (0, 2, 4), rng)
    ]
    wrong: dict[str, list[bool]] = {"describe and identify": [], "describe and score": [], "identify and score": []}
    points: list[float] = []
    for some in chunks(made):
        texts = [one.text for one in judge.describe(some, count=1, max_new_tokens=120)]
        for text, labelled, score in zip(texts, judge.identify(some, faults=False), judge.score(some)):
            level = max(score.levels, key=lambda one: one.probability).label
            points.append(score.score)
            wrong["describe and identify"].append(named(text) != set(labelled.labels))
            wrong["describe and score"].append(Facts(level=level).contradiction(text) is not None)
            wrong["identify and score"].append(contradicts(labelled, score.score))
    wrong["compare and score"] = against_scores(judge, made, points, rng)
    for verbs, found in wrong.items():
        if found:
            yield f"contradictions: {verbs}", {"images": len(found), "contradictions": share(found)}


def contradicts(found: Identification, point: float) -> bool:
    """Whether distortions contradict a score in points."""
    if not found.labels:
        return point < DAMAGED
    return point > CLEAN and max(found.severities or (0,)) >= 3


def against_scores(judge: Judge, images: list[np.ndarray], points: list[float], rng: np.random.Generator) -> list[bool]:
    """Whether each comparison contradicts the scores: of neighbours, mostly versions of one image, and of any two."""
    order = rng.permutation(len(images)).tolist()
    pairs = [*zip(range(len(images)), range(1, len(images))), *zip(order, order[1:])]
    wrong = []
    for some in chunks((images[a], images[b], points[a] - points[b]) for a, b in pairs):
        answers = judge.compare_many([(a, b) for a, b, _ in some])
        for answer, (*_, gap) in zip(answers, some):
            lead = gap if answer.verdict == "A" else -gap
            wrong.append(answer.verdict != "tie" and lead < -CONTRADICTING)
    return wrong


def speed(judge: Judge, material: Material, rng: np.random.Generator) -> Rows:
    """Images a second for identify and score together, by side in pixels; other programs should rest."""
    for side, count in SPEED.items():
        images = [scaled(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8), side) for _ in range(count + 1)]
        judge.identify(images[:1]), judge.score(images[:1])
        start = time.perf_counter()
        judge.identify(images[1:]), judge.score(images[1:])
        yield (
            f"identify and score, {side} x {side} px",
            {"images": count, "images a second": round(count / (time.perf_counter() - start), 2)},
        )


PARTS: dict[str, Part] = {
    "one scale": one_scale,
    "position bias": position_bias,
    "contradictions": contradictions,
    "speed": speed,
}
"""Name -> measurement of a judge on the images of a table."""
