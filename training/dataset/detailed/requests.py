"""Requests to a vision-language model for detailed answers: the true distortions, three sections, a word limit."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from depictqa_core.chat.messages import image_part
from training.dataset.records.image_paths import read_image
from training.distortions import ANSWER

from ..building.samples import Kind
from ..records import labels
from ..records.descriptions import DOUBLE_GRADES, GRADES

WORDS = {
    ("assessment", False): 100, ("assessment", True): 120, ("comparison", False): 150, ("comparison", True): 170,
}  # fmt: skip
"""Most words of an answer by (task, sets of doubles); a pristine image is described in at most ``PRISTINE_WORDS``."""

PRISTINE_WORDS = 100
MIN_WORDS = 24
TEMPERATURE = 0.5

_SYSTEM = (
    "You are an expert in image quality assessment. You describe images for readers who cannot see how they were made, "
    "and you rely on the facts about their distortions that you are given."
)


@dataclass(frozen=True)
class Expected:
    """What a true answer may and must say.

    Attributes:
        pictures: one entry per image (A, B): distortion label (``tasks.DISTORTIONS``) -> grade word.
        words: most words.
        reference: whether the reference may be mentioned.
        winner: "A" or "B" where the better image is known, None where it is not; of no meaning for one image.
    """

    pictures: tuple[dict[str, str], ...]
    words: int
    reference: bool
    winner: str | None = None

    @property
    def pair(self) -> bool:
        return len(self.pictures) == 2


def expected(kind: Kind, sample: dict) -> Expected:
    """What is known about a sample of an assessment or comparison set."""
    variants = sample["variants"]
    pictures = tuple(_graded(variant["distortions"]) for variant in variants)
    if not kind.pair:
        words = WORDS["assessment", kind.double] if pictures[0] else PRISTINE_WORDS
        return Expected(pictures, words, reference=False)
    better = labels.better(*variants)
    winner = None if better is None else "A" if better else "B"
    # with two distortions the published answers never mention the reference, so that they serve without one as well
    return Expected(pictures, WORDS["comparison", kind.double], not kind.double, winner)


def max_tokens(kind: Kind) -> int:
    """Most tokens of an answer, as published."""
    return 230 if kind.pair and kind.double else 200


def digest(sample: dict) -> str:
    """Changes when the truth about a sample changes, so that an answer is never used for other images."""
    facts = [sample["reference"], [[one["image"], one["distortions"]] for one in sample["variants"]]]
    return hashlib.sha1(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def request_text(want: Expected) -> str:
    """The question of one sample, without its images."""
    names = ("Image A", "Image B") if want.pair else ("The image",)
    lines = [f"{name} {_facts(graded)}" for name, graded in zip(names, want.pictures)]
    if want.winner:
        lines.append(f"A quality model finds Image {want.winner} better. Follow it, unless it is obviously wrong here.")
    shown = "Image A and Image B, which were made from it" if want.pair else "the image, which was made from it"
    if want.pair:
        parts = (
            "First, the content that the images share. Second, the distortions of Image A and of Image B, and what "
            "they do to this content. Third, a conclusion that states in the words 'Image A is better than Image B' or "
            "'Image B is better than Image A' which one is better, and why."
        )
    else:
        parts = (
            "First, the content of the image. Second, its distortions and what they do to this content. Third, a "
            "conclusion about its overall quality."
        )
    mention = (
        "You may mention the reference image."
        if want.reference
        else "Never mention the reference image or a comparison with it: write as if it were not there."
    )
    return "\n".join(
        [
            f"You are shown a pristine reference image, then {shown}. These facts are certain:",
            *(f"- {line}" for line in lines),
            f"Write about {'both images' if want.pair else 'the image'} in three parts, as one paragraph of plain text "
            f"without headings or lists. {parts}",
            "Name each distortion exactly as above, with its degree word directly before it, and name no other "
            "distortion. Do not speak of facts, numbers or instructions that were given to you.",
            f"{mention} Write at least {MIN_WORDS + 6} and at most {want.words} words.",
        ]
    )


def instructions(want: Expected) -> list[str]:
    """The sentences of a request that are no facts about its images: an answer that has one of them repeats them."""
    lines = [line for line in request_text(want).splitlines() if not line.startswith("- ") or "quality model" in line]
    return [sentence for line in [_SYSTEM, *lines] for sentence in line.strip("- ").rstrip(".:").split(". ")]


def messages(sample: dict, want: Expected, root: str | Path) -> list[dict]:
    """The whole request: role, question, and the images in the order reference, A, B.

    Raises:
        ImageError: an image cannot be read, or is outside the data root.
    """
    titles = ("Image A:", "Image B:") if want.pair else ("Image:",)
    content = [{"type": "text", "text": request_text(want)}]
    paths = [sample["reference"], *(variant["image"] for variant in sample["variants"])]
    for title, path in zip(("Reference image:", *titles), paths):
        content += [{"type": "text", "text": title}, image_part(read_image(root, path))]
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]


def _graded(distortions: list[dict]) -> dict[str, str]:
    words = DOUBLE_GRADES if len(distortions) == 2 else GRADES
    return {ANSWER[one["category"]]: words[one["severity"] - 1] for one in distortions}


def _facts(graded: dict[str, str]) -> str:
    if not graded:
        return "has no distortion."
    listed = " and then ".join(f"{grade} {label}" for label, grade in graded.items())
    return f"has {listed}, and no other distortion."
