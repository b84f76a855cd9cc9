"""Question templates of every task in our own words, with the sentence frames of longer answers (facts 3.2, 3.3).

The counts and which templates mention the reference follow the published data; the wording is ours.
"""

from dataclasses import dataclass

from depictqa_core import questions, tasks

PRISTINE = "The quality of the image is quite good without any distortion."
"""The one sentence that answers an identification question about a pristine picture."""

FORMS = ("open", "one", "two")
"""Number forms of an identification question: "issue(s)", "ONE issue", "TWO issues"."""


@dataclass(frozen=True)
class Identification:
    """An identification question with its answer frames.

    Attributes:
        pattern: the question with the slots {n} (number word), {x} (noun), {be} (is/are) and {s} (verb ending).
        noun: singular of the noun in {x}.
        one, two: sentence frames for one and two distortion names.
        plain: the open form writes a bare plural ("issues") instead of "issue(s)".
    """

    pattern: str
    noun: str
    one: str
    two: str
    plain: bool = False

    def question(self, form: str) -> str:
        """The question in one of ``FORMS``, without the short-answer tail."""
        if form not in FORMS:
            raise ValueError(f"unknown number form '{form}': choose one of {', '.join(FORMS)}")
        noun = {"open": self.noun + ("s" if self.plain else "(s)"), "one": self.noun, "two": self.noun + "s"}[form]
        number = {"open": "", "one": "ONE ", "two": "TWO "}[form]
        single = form == "one"
        return self.pattern.format(n=number, x=noun, be="is" if single else "are", s="s" if single else "")

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


_SHARED = (
    Identification(
        "What {be} the {n}most critical image quality {x} in the evaluated image?", "issue",
        "The most critical quality issue in the image is {}.", "The most critical quality issues are {} and {}.",
        plain=True,
    ),
    Identification(
        "Which {n}{x} {be} most apparent in the evaluated image?", "distortion",
        "The most apparent distortion is {}.", "The most apparent distortions are {} and {}.",
    ),
    Identification(
        "Name the {n}primary {x} of the evaluated image.", "degradation",
        "The primary degradation is {}.", "The primary degradations are {} and {}.",
    ),
    Identification(
        "Identify the {n}main {x} that harm{s} the evaluated image.", "distortion",
        "{} is the main distortion that harms the image.", "{} and {} are the main distortions that harm the image.",
    ),
    Identification(
        "Looking at the evaluated image, which {n}{x} stand{s} out the most?", "quality issue",
        "{} stands out the most.", "{} and {} stand out the most.",
    ),
    Identification(
        "In the evaluated image, what {be} the {n}leading {x}?", "quality problem",
        "The leading quality problem is {}.", "The leading quality problems are {} and {}.",
    ),
    Identification(
        "Please tell me the {n}most severe {x} found in the evaluated image.", "degradation",
        "The most severe degradation in the image is {}.", "The most severe degradations are {} and {}.",
    ),
    Identification(
        "Which {n}{x} lower{s} the quality of the evaluated image the most?", "distortion",
        "{} lowers the quality the most.", "{} and {} lower the quality the most.",
    ),
    Identification(
        "Point out the {n}most noticeable {x} in the evaluated image.", "quality issue",
        "The most noticeable quality issue is {}.", "The most noticeable quality issues are {} and {}.",
    ),
    Identification(
        "What {be} the {n}key {x} present in the evaluated image?", "degradation",
        "The image has {} as its key degradation.", "The image has {} and {} as its key degradations.",
    ),
    Identification(
        "State the {n}{x} that affect{s} the evaluated image most strongly.", "distortion",
        "The image is affected by {} most strongly.", "The image is affected by {} and {} most strongly.",
    ),
    Identification(
        "From the viewer's side, what {be} the {n}most disturbing {x} in the evaluated image?", "quality problem",
        "The most disturbing problem to a viewer is {}.", "The most disturbing problems to a viewer are {} and {}.",
    ),
    Identification(
        "Select the {n}{x} that best describe{s} the damage of the evaluated image.", "distortion",
        "The damage is best described as {}.", "The damage is best described as {} and {}.",
    ),
    Identification(
        "What {be} the {n}dominant {x} that you can see in the evaluated image?", "quality issue",
        "I can see {} as the dominant quality issue.", "I can see {} and {} as the dominant quality issues.",
    ),
)  # fmt: skip

_WITH_REFERENCE = (
    Identification(
        "Compared to the reference, what {be} the {n}most critical {x} in the evaluated image?", "distortion",
        "The most critical distortion is {}.", "The most critical distortions are {} and {}.",
    ),
    Identification(
        "Given the reference image, name the {n}most apparent {x} of the evaluated image.", "quality issue",
        "The most apparent quality issue is {}.", "The most apparent quality issues are {} and {}.",
    ),
    Identification(
        "With the reference as a guide, which {n}{x} {be} strongest in the evaluated image?", "degradation",
        "The strongest degradation is {}.", "The strongest degradations are {} and {}.",
    ),
    Identification(
        "Set the evaluated image against the reference: what {be} the {n}main {x}?", "quality problem",
        "The main quality problem is {}.", "The main quality problems are {} and {}.",
    ),
    Identification(
        "Relative to the reference image, which {n}{x} {be} present in the evaluated image?", "distortion",
        "The distortion present in the image is {}.", "The distortions present in the image are {} and {}.",
    ),
    Identification(
        "Which {n}{x} make{s} the evaluated image differ most from the reference?", "degradation",
        "{} makes the largest difference.", "{} and {} make the largest difference.",
    ),
    Identification(
        "Use the reference to find the {n}primary {x} of the evaluated image.", "quality issue",
        "The primary quality issue is {}.", "The primary quality issues are {} and {}.",
    ),
    Identification(
        "When the evaluated image is viewed next to the reference, what {be} the {n}clearest {x}?", "distortion",
        "The clearest distortion is {}.", "The clearest distortions are {} and {}.",
    ),
    Identification(
        "The reference is flawless. Which {n}{x} {be} added in the evaluated image?", "degradation",
        "The added degradation is {}.", "The added degradations are {} and {}.",
    ),
    Identification(
        "Judging by the reference image, what {be} the {n}gravest {x} of the evaluated image?", "quality problem",
        "The gravest quality problem is {}.", "The gravest quality problems are {} and {}.",
    ),
    Identification(
        "Report the {n}most obvious {x} of the evaluated image with respect to the reference.", "distortion",
        "The most obvious distortion is {}.", "The most obvious distortions are {} and {}.",
    ),
)  # fmt: skip

_WITHOUT_REFERENCE = (
    Identification(
        "Judging from the evaluated image alone, what {be} the {n}most critical {x}?", "distortion",
        "The most critical distortion is {}.", "The most critical distortions are {} and {}.",
    ),
    Identification(
        "Examine the evaluated image and name its {n}most apparent {x}.", "quality issue",
        "Its most apparent quality issue is {}.", "Its most apparent quality issues are {} and {}.",
    ),
    Identification(
        "Which {n}{x} would you repair first in the evaluated image?", "degradation",
        "I would repair {} first.", "I would repair {} and {} first.",
    ),
    Identification(
        "What {be} the {n}strongest {x} in the evaluated image?", "quality problem",
        "The strongest quality problem is {}.", "The strongest quality problems are {} and {}.",
    ),
    Identification(
        "The evaluated image may be damaged. Which {n}{x} can you recognize?", "distortion",
        "I can recognize {}.", "I can recognize {} and {}.",
    ),
    Identification(
        "Give the {n}most visible {x} of the evaluated image.", "degradation",
        "The most visible degradation is {}.", "The most visible degradations are {} and {}.",
    ),
    Identification(
        "Considering only what is shown, which {n}{x} {be} present in the evaluated image?", "quality issue",
        "The quality issue present in the image is {}.", "The quality issues present in the image are {} and {}.",
    ),
    Identification(
        "What {be} the {n}principal {x} that you notice in the evaluated image?", "distortion",
        "I notice {} as the principal distortion.", "I notice {} and {} as the principal distortions.",
    ),
    Identification(
        "Determine the {n}{x} that hurt{s} the evaluated image most.", "quality problem",
        "{} hurts the image most.", "{} and {} hurt the image most.",
    ),
    Identification(
        "How is the evaluated image degraded? List the {n}top {x}.", "degradation",
        "The top degradation is {}.", "The top degradations are {} and {}.",
    ),
)  # fmt: skip

IDENTIFICATION_FR = _SHARED + _WITH_REFERENCE
"""25 templates for pictures with a reference; the last 11 mention it."""

IDENTIFICATION_NR = _SHARED + _WITHOUT_REFERENCE
"""24 templates for pictures without a reference; the first 14 are those of ``IDENTIFICATION_FR``."""

ASSESSMENT = questions.ASSESSMENTS

RATING = tuple(
    Rating(question, frame)
    for question, frame in zip(
        questions.RATINGS,
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

COMPARISON = (
    tasks.COMPARISON.question,
    "Which is better, Image A or Image B? Explain your choice.",
    "Compare Image A and Image B and give reasons for your decision.",
    "Describe the quality differences of Image A and Image B, then name the better image.",
    "Explain in detail which of Image A and Image B has higher quality.",
    "Please contrast the distortions of Image A with those of Image B and give a verdict.",
    "How do Image A and Image B differ in quality? State your reasons.",
    "Give a detailed comparison of Image A and Image B.",
    "Between Image A and Image B, which would you choose, and why?",
    "Analyze the flaws of Image A and Image B and decide which is better.",
    "Discuss the quality of Image A relative to Image B.",
    "Look at Image A and Image B: what is wrong with each, and which is better?",
    "Write a short report that compares Image A with Image B in quality.",
    "Justify which image is better preserved, Image A or Image B.",
    "Evaluate Image A and Image B side by side and explain your conclusion.",
    "Tell me the strengths and flaws of Image A and Image B, and which one wins.",
    "Is Image A better than Image B? Support your answer with reasons.",
    "Could you compare how Image A and Image B are damaged and pick the better one?",
    "Review Image A and Image B and explain which one viewers would prefer.",
    "Provide a reasoned judgement about the quality of Image A versus Image B.",
)

SCORE = (
    tasks.SCORE.question,
    "Please rate the quality of the evaluated image.",
    "What is the quality level of the evaluated image?",
    "Look at the evaluated image and rate its visual quality.",
    "Give a quality rating for the evaluated image.",
    "Which quality level fits the evaluated image?",
    "What rating does the evaluated image deserve?",
    "State the quality level that the evaluated image reaches.",
    "On a scale from bad to excellent, how would you rate the evaluated image?",
    "Considering its overall look, what is your rating of the evaluated image?",
    "Decide on the quality level of the evaluated image.",
    "How would a viewer rate the evaluated image's quality?",
)

MAIN_DISTORTION = "main distortion"
"""Stands for a distortion that a severity question does not name."""

SEVERITY = (
    "How severe is the {} in the evaluated image?",
    "How strong is the {} of the evaluated image?",
    "How severe would you call the {} that the evaluated image shows?",
    "How strong is the {} that you can see in the evaluated image?",
)
"""Severity questions; {} is the name of a distortion or ``MAIN_DISTORTION``."""

FAULT = (
    "Does the evaluated image show the fault {}?",
    "Is the fault {} present in the evaluated image?",
    "Can you see the fault {} in the evaluated image?",
    "Does the evaluated image suffer from the fault {}?",
)
"""Yes-or-no questions about one fault; {} is its name. The first one is ``tasks.fault_question``."""

ANY_FAULT = (
    tasks.FAULT.question,
    "Is there any fault of generation or delivery in the evaluated image?",
    "Can you see a fault of generation or delivery in the evaluated image?",
    "Does the evaluated image suffer from any fault of generation or delivery?",
)
"""Yes-or-no questions about all faults together."""
