"""The trained questions of every task, with the sentence frames of longer answers (method.md 3.2, 3.3)."""

from dataclasses import dataclass

from depictqa_core import wordings

FORMS = wordings.FORMS
PRISTINE = "The quality of the image is quite good without any distortion."
"""The one sentence that answers an identification question about a pristine image."""


@dataclass(frozen=True)
class IdentificationQuestion:
    """An identification question with its answer frames.

    Attributes:
        asked: the question.
        one, two: sentence frames for one and two distortion names.
    """

    asked: wordings.Identification
    one: str
    two: str

    def question(self, form: str) -> str:
        """The question in one of ``FORMS``, without the short-answer tail."""
        return self.asked.question(form)

    def sentence(self, labels: tuple[str, ...]) -> str:
        """The answer sentence for no, one or two lower-case distortion names, in order of application."""
        if not labels:
            return PRISTINE
        frame = {1: self.one, 2: self.two}[len(labels)].format(*labels)
        return frame[0].upper() + frame[1:]


@dataclass(frozen=True)
class Rating:
    """A rating question with the frame of its answer sentence; {w} is "Image A" or "Image B"."""

    question: str
    frame: str

    def sentence(self, winner: str) -> str:
        return self.frame.format(w=winner)


def _framed(asked: tuple[wordings.Identification, ...], frames) -> tuple[IdentificationQuestion, ...]:
    return tuple(IdentificationQuestion(question, *both) for question, both in zip(asked, frames, strict=True))


_SHARED = _framed(
    wordings.IDENTIFICATION_SHARED,
    (
        ("The most critical quality issue in the image is {}.", "The most critical quality issues are {} and {}."),
        ("The most apparent distortion is {}.", "The most apparent distortions are {} and {}."),
        ("The primary degradation is {}.", "The primary degradations are {} and {}."),
        ("{} is the main distortion that harms the image.", "{} and {} are the main distortions that harm the image."),
        ("{} stands out the most.", "{} and {} stand out the most."),
        ("The leading quality problem is {}.", "The leading quality problems are {} and {}."),
        ("The most severe degradation in the image is {}.", "The most severe degradations are {} and {}."),
        ("{} lowers the quality the most.", "{} and {} lower the quality the most."),
        ("The most noticeable quality issue is {}.", "The most noticeable quality issues are {} and {}."),
        ("The image has {} as its key degradation.", "The image has {} and {} as its key degradations."),
        ("The image is affected by {} most strongly.", "The image is affected by {} and {} most strongly."),
        ("The most disturbing problem to a viewer is {}.", "The most disturbing problems to a viewer are {} and {}."),
        ("The damage is best described as {}.", "The damage is best described as {} and {}."),
        ("I can see {} as the dominant quality issue.", "I can see {} and {} as the dominant quality issues."),
    ),
)

_WITH_REFERENCE = _framed(
    wordings.IDENTIFICATION_FR,
    (
        ("The most critical distortion is {}.", "The most critical distortions are {} and {}."),
        ("The most apparent quality issue is {}.", "The most apparent quality issues are {} and {}."),
        ("The strongest degradation is {}.", "The strongest degradations are {} and {}."),
        ("The main quality problem is {}.", "The main quality problems are {} and {}."),
        ("The distortion present in the image is {}.", "The distortions present in the image are {} and {}."),
        ("{} makes the largest difference.", "{} and {} make the largest difference."),
        ("The primary quality issue is {}.", "The primary quality issues are {} and {}."),
        ("The clearest distortion is {}.", "The clearest distortions are {} and {}."),
        ("The added degradation is {}.", "The added degradations are {} and {}."),
        ("The gravest quality problem is {}.", "The gravest quality problems are {} and {}."),
        ("The most obvious distortion is {}.", "The most obvious distortions are {} and {}."),
    ),
)

_WITHOUT_REFERENCE = _framed(
    wordings.IDENTIFICATION_NR,
    (
        ("The most critical distortion is {}.", "The most critical distortions are {} and {}."),
        ("Its most apparent quality issue is {}.", "Its most apparent quality issues are {} and {}."),
        ("I would repair {} first.", "I would repair {} and {} first."),
        ("The strongest quality problem is {}.", "The strongest quality problems are {} and {}."),
        ("I can recognize {}.", "I can recognize {} and {}."),
        ("The most visible degradation is {}.", "The most visible degradations are {} and {}."),
        ("The quality issue present in the image is {}.", "The quality issues present in the image are {} and {}."),
        ("I notice {} as the principal distortion.", "I notice {} and {} as the principal distortions."),
        ("{} hurts the image most.", "{} and {} hurt the image most."),
        ("The top degradation is {}.", "The top degradations are {} and {}."),
    ),
)

IDENTIFICATION_FR = _SHARED + _WITH_REFERENCE
"""25 templates for images with a reference; the last 11 mention it."""

IDENTIFICATION_NR = _SHARED + _WITHOUT_REFERENCE
"""24 templates for images without a reference; the first 14 are those of ``IDENTIFICATION_FR``."""

ASSESSMENT = wordings.ASSESSMENTS

RATING = tuple(
    Rating(question, frame)
    for question, frame in zip(
        wordings.RATINGS,
        (
            "{w} exhibits higher quality.",
            "{w} is the better image.",
            "{w} has the higher quality.",
            "The better image is {w}.",
            "{w} looks better.",
            "A viewer would prefer {w}.",
            "{w} is less distorted.",
            "{w} has superior quality.",
            "{w} is of better quality.",
            "{w} has fewer flaws.",
            "{w} shows better visual quality.",
            "The better one is {w}.",
            "{w} suffers less damage.",
            "The image of higher quality is {w}.",
            "{w} should be kept.",
            "{w} is visually more pleasing.",
            "{w} wins in quality.",
            "{w} is better preserved.",
            "Considering the overall quality, {w} is better.",
            "{w} is in better condition.",
        ),
        strict=True,
    )
)

COMPARISON = wordings.COMPARISONS
SCORE = wordings.SCORES
MAIN_DISTORTION = wordings.MAIN_DISTORTION
SEVERITY = wordings.SEVERITIES
FAULT = wordings.ONE_FAULT
ANY_FAULT = wordings.ANY_FAULT
