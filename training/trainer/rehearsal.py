"""Rehearsal of a fine-tuned judge: questions about distorted copies of the user's images, answered by the start.

The records name what was done to each image, but their loss is the distance from the probabilities that the judge
gave before the tuning (distillation): it keeps its answers, right or wrong, on images like the user's.
"""

import contextlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa_core import tasks
from depictqa_core.errors import DocumentError, ImageError
from depictqa_core.images.size_policy import SizePolicy, fit
from depictqa_core.loading.checkpoint_folder import file_hash
from depictqa_core.storage.documents import read_json

from ..dataset.records.descriptions import assessment
from ..dataset.records.image_paths import image_path, read_image
from ..dataset.records.record_models import RECORD_BYTES
from ..distortions import ANSWER, CATEGORY, MIN_SIDE, apply, sample_one
from .state import digest, replaced

SHORT = SizePolicy(short=384, long=768, min=MIN_SIDE, multiple=1)
"""Images are made smaller to this before they are distorted, which keeps the work short."""

DAMAGE = ("blur", "noise", "compression", "oversharpen", "pixelate", "quantization")
"""Categories that are worse than none whatever one prefers; brightness, contrast and colour are a matter of taste."""


def make_rehearsal(folder: Path, root: Path, paths: list[str], count: int, known: list[str], seed: int) -> list[dict]:
    """Distort images and write records about them; what was made before for the same images is taken as it is.

    Args:
        folder: where ``records.json`` and the images go.
        root: folder that ``paths`` are relative to.
        count: most images that are used.
        known: tasks that the start supports; no other is rehearsed.
        seed: seed of the choice and of the distortions.

    Returns:
        records in training form; their images are absolute paths.

    Raises:
        ImageError: none of the images can be read.
    """
    rng = np.random.default_rng(seed)
    chosen = [paths[i] for i in rng.permutation(len(paths))[:count]]
    contents = [_hash(root, path) for path in chosen]
    place = str(folder.absolute())  # records name their images by it
    source = {"pictures": chosen, "contents": contents, "known": sorted(known), "seed": seed, "folder": place}
    listed = folder / "records.json"
    with contextlib.suppress(DocumentError, KeyError):  # a file that cannot be used is written again
        stored = read_json(listed, limit=RECORD_BYTES)
        if stored["source"] == source:
            return stored["records"]
    records, mark = [], digest(source)[:8]
    with replaced(folder) as new:
        for number, path in enumerate(chosen):
            try:
                clean = fit(read_image(root, path), SHORT)
            except ImageError:
                continue  # it is named when it is read for its own records
            name, severity = sample_one(rng)
            files = {kind: f"{mark}_{number}_{kind}.png" for kind in ("clean", "distorted")}
            Image.fromarray(clean).save(new / files["clean"])
            Image.fromarray(apply(name, clean, severity, rng)).save(new / files["distorted"])
            clean_path, distorted_path = (str((folder / file).absolute()) for file in files.values())
            found = [{"category": CATEGORY[name], "name": name, "severity": severity}]
            made = _records(clean_path, distorted_path, found, rng)
            records += [r for task, r in made if task.name in known]
        if not records:
            raise ImageError(f"none of the {len(chosen)} images for rehearsal can be read; the first is {chosen[0]}")
        (new / "records.json").write_text(json.dumps({"source": source, "records": records}), encoding="utf-8")
    return records


def _hash(root: Path, path: str) -> str | None:
    try:
        return file_hash(image_path(root, path))
    except (OSError, ImageError):
        return None


def _records(clean: str, distorted: str, found: list[dict], rng: np.random.Generator):
    """(task, record) of every question about one image and its distorted copy."""
    label = tasks.answer_text((ANSWER[found[0]["category"]],))
    quality = 1 - 0.18 * found[0]["severity"]
    level = tasks.LEVELS[round((1 - quality) * (len(tasks.LEVELS) - 1))].capitalize()
    identify, score = tasks.IDENTIFICATION.ask(tasks.ONE_ISSUE), tasks.SCORE.ask()
    for reference in (None, clean):
        yield tasks.IDENTIFICATION, _record(identify, label, distorted, reference=reference)
        yield tasks.SCORE, _record(score, level, distorted, reference=reference)
        text = assessment({"distortions": found, "quality": quality}, rng, reference is not None)
        yield tasks.ASSESSMENT, _record(tasks.ASSESSMENT.ask(), text, distorted, reference=reference)
    yield tasks.IDENTIFICATION, _record(identify, tasks.answer_text(()), clean)
    yield tasks.SCORE, _record(score, tasks.LEVELS[0].capitalize(), clean)
    if found[0]["category"] in DAMAGE:
        first = int(rng.integers(2))
        a, b = (clean, distorted) if first == 0 else (distorted, clean)
        yield tasks.RATING, _record(tasks.RATING.ask(), tasks.WINNERS[first], a, b)


def _record(question: str, answer: str, a: str, b: str | None = None, reference: str | None = None) -> dict:
    task = ("quality_compare" if b else "quality_single_A") + ("" if reference else "_noref")
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"task_type": task, "image_ref": reference, "image_A": a, "image_B": b, "conversations": talk}
