"""The questions of every task that models of this project are trained on: our own words, one list for each task.

The counts, and which questions mention the reference, follow the published data (method.md 3.2); the wording is ours.
"""

from dataclasses import dataclass
from functools import cache

from .tasks import ASSESSMENT, COMPARISON, DISTORTIONS, FAULT, FAULTS, IDENTIFICATION, RATING, SCORE, SEVERITY, Task

FORMS = ("open", "one", "two")
"""Number forms of an identification question: "issue(s)", "ONE issue", "TWO issues"."""


@dataclass(frozen=True)
class Identification:
    """An identification question.

    Attributes:
        pattern: the question with the slots {n} (number word), {x} (noun), {be} (is/are) and {s} (verb ending).
        noun: singular of the noun in {x}.
        plain: the open form writes a bare plural ("issues") instead of "issue(s)".
    """

    pattern: str
    noun: str
    plain: bool = False

    def question(self, form: str) -> str:
        """Word the question in one of ``FORMS``, without the short-answer tail.

        Raises:
            ValueError: the form is unknown.
        """
        if form not in FORMS:
            raise ValueError(f"unknown number form '{form}': choose one of {', '.join(FORMS)}")
        noun = {"open": self.noun + ("s" if self.plain else "(s)"), "one": self.noun, "two": self.noun + "s"}[form]
        number = {"open": "", "one": "ONE ", "two": "TWO "}[form]
        single = form == "one"
        return self.pattern.format(n=number, x=noun, be="is" if single else "are", s="s" if single else "")


IDENTIFICATION_SHARED = (
    Identification("What {be} the {n}most critical image quality {x} in the evaluated image?", "issue", plain=True),
    Identification("Which {n}{x} {be} most apparent in the evaluated image?", "distortion"),
    Identification("Name the {n}primary {x} of the evaluated image.", "degradation"),
    Identification("Identify the {n}main {x} that harm{s} the evaluated image.", "distortion"),
    Identification("Looking at the evaluated image, which {n}{x} stand{s} out the most?", "quality issue"),
    Identification("In the evaluated image, what {be} the {n}leading {x}?", "quality problem"),
    Identification("Please tell me the {n}most severe {x} found in the evaluated image.", "degradation"),
    Identification("Which {n}{x} lower{s} the quality of the evaluated image the most?", "distortion"),
    Identification("Point out the {n}most noticeable {x} in the evaluated image.", "quality issue"),
    Identification("What {be} the {n}key {x} present in the evaluated image?", "degradation"),
    Identification("State the {n}{x} that affect{s} the evaluated image most strongly.", "distortion"),
    Identification(
        "From the viewer's side, what {be} the {n}most disturbing {x} in the evaluated image?", "quality problem"
    ),
    Identification("Select the {n}{x} that best describe{s} the damage of the evaluated image.", "distortion"),
    Identification("What {be} the {n}dominant {x} that you can see in the evaluated image?", "quality issue"),
)
IDENTIFICATION_FR = (
    Identification(
        "Compared to the reference, what {be} the {n}most critical {x} in the evaluated image?", "distortion"
    ),
    Identification("Given the reference image, name the {n}most apparent {x} of the evaluated image.", "quality issue"),
    Identification("With the reference as a guide, which {n}{x} {be} strongest in the evaluated image?", "degradation"),
    Identification("Set the evaluated image against the reference: what {be} the {n}main {x}?", "quality problem"),
    Identification("Relative to the reference image, which {n}{x} {be} present in the evaluated image?", "distortion"),
    Identification("Which {n}{x} make{s} the evaluated image differ most from the reference?", "degradation"),
    Identification("Use the reference to find the {n}primary {x} of the evaluated image.", "quality issue"),
    Identification(
        "When the evaluated image is viewed next to the reference, what {be} the {n}clearest {x}?", "distortion"
    ),
    Identification("The reference is flawless. Which {n}{x} {be} added in the evaluated image?", "degradation"),
    Identification(
        "Judging by the reference image, what {be} the {n}gravest {x} of the evaluated image?", "quality problem"
    ),
    Identification(
        "Report the {n}most obvious {x} of the evaluated image with respect to the reference.", "distortion"
    ),
)
IDENTIFICATION_NR = (
    Identification("Judging from the evaluated image alone, what {be} the {n}most critical {x}?", "distortion"),
    Identification("Examine the evaluated image and name its {n}most apparent {x}.", "quality issue"),
    Identification("Which {n}{x} would you repair first in the evaluated image?", "degradation"),
    Identification("What {be} the {n}strongest {x} in the evaluated image?", "quality problem"),
    Identification("The evaluated image may be damaged. Which {n}{x} can you recognize?", "distortion"),
    Identification("Give the {n}most visible {x} of the evaluated image.", "degradation"),
    Identification(
        "Considering only what is shown, which {n}{x} {be} present in the evaluated image?", "quality issue"
    ),
    Identification("What {be} the {n}principal {x} that you notice in the evaluated image?", "distortion"),
    Identification("Determine the {n}{x} that hurt{s} the evaluated image most.", "quality problem"),
    Identification("How is the evaluated image degraded? List the {n}top {x}.", "degradation"),
)
"""Questions for images with and without a reference, those that mention the reference, and those for images without."""

ASSESSMENTS = (
    ASSESSMENT.question,
    "How good is the image? Explain your judgement.",
    "Assess the image's quality and explain why.",
    "Describe the quality of the image together with its distortions.",
    "What is wrong with this image, and how much does it matter?",
    "Give an evaluation of the image, with your reasons.",
    "Please describe the flaws of the image and your overall verdict.",
    "Could you judge the quality of the image and support it with reasons?",
    "Look closely at the image and comment on its visual quality.",
    "Discuss the distortions in the image and their effect on its quality.",
    "Write a short report about the quality of the image.",
    "Explain how well the image is preserved and where it is damaged.",
    "Analyze the image's quality in detail.",
    "What do you think about the quality of the image, and why?",
    "Provide a detailed quality evaluation of the image.",
    "Please examine the image and explain what lowers its quality.",
    "Review the image: name its distortions, their strength and the overall quality.",
    "Is the quality of the image good? Give reasons for your opinion.",
    "Tell me about the quality of the image and the causes of any damage.",
    "Evaluate the visual quality of the image and justify your conclusion.",
)

RATINGS = (
    RATING.question,
    "Which image is better, Image A or Image B?",
    "Between Image A and Image B, which one has the higher quality?",
    "Choose the better image from Image A and Image B.",
    "Which of Image A and Image B looks better?",
    "Image A or Image B: which would a viewer prefer?",
    "Decide which image is less distorted, Image A or Image B.",
    "Tell me whether Image A or Image B has superior quality.",
    "Of the two images, Image A and Image B, which is of better quality?",
    "Pick the image with fewer flaws: Image A or Image B.",
    "Does Image A or Image B show better visual quality?",
    "Please compare Image A and Image B and name the better one.",
    "Which image suffers less damage, Image A or Image B?",
    "Select the image of higher quality from Image A and Image B.",
    "If you could keep only Image A or Image B, which has the quality to be kept?",
    "Which is visually more pleasing, Image A or Image B?",
    "Judge Image A against Image B: which wins in quality?",
    "State which of Image A and Image B is better preserved.",
    "Considering the overall quality, is Image A or Image B better?",
    "Out of Image A and Image B, which image is in better condition?",
)

COMPARISONS = (
    COMPARISON.question,
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

SCORES = (
    SCORE.question,
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

SEVERITIES = (
    "How severe is the {} in the evaluated image?",
    "How strong is the {} of the evaluated image?",
    "How severe would you call the {} that the evaluated image shows?",
    "How strong is the {} that you can see in the evaluated image?",
)
"""Severity questions; {} is the name of a distortion or ``MAIN_DISTORTION``."""

ONE_FAULT = (
    "Does the evaluated image show the fault {}?",
    "Is the fault {} present in the evaluated image?",
    "Can you see the fault {} in the evaluated image?",
    "Does the evaluated image suffer from the fault {}?",
)
"""Yes-or-no questions about one fault; {} is its name. The first one is ``tasks.fault_question``."""

ANY_FAULT = (
    FAULT.question,
    "Is there any fault of generation or delivery in the evaluated image?",
    "Can you see a fault of generation or delivery in the evaluated image?",
    "Does the evaluated image suffer from any fault of generation or delivery?",
)
"""Yes-or-no questions about all faults together."""


@cache
def trained_questions(task: Task) -> tuple[str, ...]:
    """List the training questions of a task, without the short-answer tail; none for a task without fixed questions."""
    identifications = (*IDENTIFICATION_SHARED, *IDENTIFICATION_FR, *IDENTIFICATION_NR)
    questions = {
        ASSESSMENT: ASSESSMENTS,
        RATING: RATINGS,
        COMPARISON: COMPARISONS,
        SCORE: SCORES,
        IDENTIFICATION: tuple(one.question(form) for one in identifications for form in FORMS),
        SEVERITY: tuple(one.format(label) for one in SEVERITIES for label in (*DISTORTIONS, MAIN_DISTORTION)),
        FAULT: (*ANY_FAULT, *(one.format(fault) for one in ONE_FAULT for fault in FAULTS)),
    }
    return questions.get(task, ())
