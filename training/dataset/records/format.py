"""Records in the published JSON format: what a part shares, the fields and the file of records (method.md 3.4)."""

import json
import zlib
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from depictqa_core.storage.files import replacing
from depictqa_core.storage.rules import Rule, list_of, number, one_of, whole
from training.distortions import ANSWER
from training.output_files import writing
from training.validation import Allowed, data_model

from .variant_pairs import SceneVariant

FORMS = ("train", "test")

SUBTLE = ("brighten", "darken", "contrast_strengthen", "contrast_weaken", "saturate_strengthen", "saturate_weaken")
"""Categories whose severity 1 can hardly be told from another image's natural look when there is no reference."""

PUBLISHED_EXCLUDE = (*SUBTLE, "quantization", "oversharpen")
"""What the published filter drops, always (``exclude_probability=1``)."""


SHARE = number(0, 1)
COUNT = whole(1, 10**9)


@data_model
class Mix:
    """How records are drawn from scenes.

    Attributes:
        number_word: share of identification questions for training that say ONE or TWO.
        short_tail, rating_tail: share of identification and rating questions for training that have the short tail.
        exclude: categories whose severity 1 is dropped without a reference, except from ratings and scores ...
        exclude_probability: ... this often.
        pristine_as_double: share of pristine images that count as doubles (the question may then say TWO).
        score_draws: records of each image's score for training; each draws one of the two nearest levels.
        rating_pairs, comparison_pairs: most pairs of one scene in each part.
        pool: variants kept in memory as partners for pairs of different images.
    """

    number_word: Annotated[float, Allowed(SHARE)] = 0.5
    short_tail: Annotated[float, Allowed(SHARE)] = 0.75
    rating_tail: Annotated[float, Allowed(SHARE)] = 0.8
    exclude: Annotated[
        tuple[str, ...], Allowed(Rule(f"a list of any of {', '.join(ANSWER)}", list_of(one_of(*ANSWER), 0, 1000).fits))
    ] = SUBTLE
    exclude_probability: Annotated[float, Allowed(SHARE)] = 0.5
    pristine_as_double: Annotated[float, Allowed(SHARE)] = 0.25
    score_draws: Annotated[int, Allowed(COUNT)] = 3
    rating_pairs: Annotated[int, Allowed(COUNT)] = 8
    comparison_pairs: Annotated[int, Allowed(COUNT)] = 3
    pool: Annotated[int, Allowed(COUNT)] = 20_000


@dataclass(frozen=True)
class Part:
    """What the records of one part have in common: name (which begins their ids), setting, form and mix."""

    name: str
    reference: bool
    form: str
    mix: Mix

    @property
    def test(self) -> bool:
        return self.form == "test"


def excluded(part: Part, picture: SceneVariant, rng: np.random.Generator) -> bool:
    """Whether an image is dropped because its distortion cannot be seen without a reference."""
    subtle = any(d["category"] in part.mix.exclude and d["severity"] < 2 for d in picture.variant["distortions"])
    return subtle and not part.reference and rng.random() < part.mix.exclude_probability


def single_record(part: Part, number: int, picture: SceneVariant, question: str, answer: str, extra: dict) -> dict:
    """A record about one image in the published format."""
    images = {
        "image_ref": picture.reference if part.reference else None,
        "image_A": picture.variant["image"],
        "image_B": None,
    }
    return make_record(
        part, "quality_single_A", f"{part.name}_{picture.scene:06d}_{number}", images, question, answer, extra
    )


def pair_record(
    part: Part, number: int, a: SceneVariant, b: SceneVariant, question: str, answer: str, extra: dict
) -> dict:
    """A record about two images in the published format, with the truth of both."""
    images = {
        "image_ref": a.reference if part.reference else None,
        "image_A": a.variant["image"],
        "image_B": b.variant["image"],
    }
    sides = {f"distortions_{name}": truth(picture.variant, picture.double) for name, picture in (("A", a), ("B", b))}
    return make_record(
        part, "quality_compare", f"{part.name}_{a.scene:06d}_{number}", images, question, answer, {**sides, **extra}
    )


def make_record(part: Part, task_type: str, key: str, images: dict, question: str, answer: str, extra: dict) -> dict:
    """A record in the form and setting of its part; ``extra`` are its fields beyond the conversation."""
    if part.test:
        return {"id": key, **images, "query": question, "answer": answer, **extra}
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {
        "id": key,
        "task_type": task_type + ("" if part.reference else "_noref"),
        **images,
        "conversations": talk,
        **extra,
    }


def truth(variant: dict, double: bool) -> dict:
    """The distortion fields of a record: lists for doubles; null and severity 0 for a pristine image."""
    found = variant["distortions"]
    keys = (
        ("distortion_classes", "distortion_names", "severities")
        if double
        else ("distortion_class", "distortion_name", "severity")
    )
    if not found:
        return dict(zip(keys, (None, None, 0), strict=True))
    columns = ([d[key] for d in found] for key in ("category", "name", "severity"))
    return dict(zip(keys, columns if double else (column[0] for column in columns), strict=True))


class ListFile:
    """A JSON list written record by record under another name and renamed at the end: never seen half written.

    Raises StorageError where the file cannot be written; no part of it stays.
    """

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self._whole = ExitStack()

    def __enter__(self) -> "ListFile":
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self._whole.enter_context(replacing(self.path))
            self.file = self._whole.enter_context(part.open("w", encoding="utf-8", newline="\n"))
        return self

    def append(self, record: dict) -> None:
        with writing(self.path):
            self.file.write(("[\n" if not self.count else ",\n") + json.dumps(record, ensure_ascii=False))
        self.count += 1

    def __exit__(self, *failure) -> None:
        if failure[0] is not None:
            with suppress(OSError):  # the disk may be full for the rest of the buffer, too
                self._whole.__exit__(*failure)
            return
        with writing(self.path), self._whole:
            self.file.write("\n]\n" if self.count else "[]\n")


def record_rng(seed: int, key: str, scene: int) -> np.random.Generator:
    """The generator of one record: it depends on nothing that was drawn before."""
    return np.random.default_rng([seed, zlib.crc32(key.encode()), scene])
