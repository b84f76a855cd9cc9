"""The task paradigm as data: tasks, settings, labels, default questions, answer formats and strict parsers.

Source: DepictQA-Wild (arXiv 2405.18842), sections 3 and 4. The short-answer tail and the answer spellings are fixed by
the published checkpoints; every model of this project uses the same.
"""

import re
from dataclasses import dataclass

from .errors import TaskError

NONE = "none"
DISTORTIONS = (
    "noise",
    "blur",
    "compression",
    "oversharpening",
    "pixelation",
    "color quantization",
    "insufficient saturation",
    "overly high saturation",
    "insufficient contrast",
    "overly high contrast",
    "insufficient brightness",
    "overly high brightness",
)
LABELS = DISTORTIONS + (NONE,)
"""The 13 labels of a single-distortion answer; ``NONE`` is a pristine image."""

LEVELS = ("excellent", "good", "fair", "poor", "bad")
LEVEL_SCORES = (100.0, 75.0, 50.0, 25.0, 0.0)
"""Rating levels (ITU-R BT.500) and their points."""

GRADES = ("slight", "moderate", "obvious", "serious", "catastrophic")
"""The words for severities 1 to 5 of a distortion."""

WINNERS = ("Image A", "Image B")
BETTER, WORSE = "better|superior|preferable|preferred", "worse|inferior|poorer"
"""Words of a verdict, as alternatives of a pattern."""

FAULTS = (
    "seams",
    "grid pattern",
    "banding",
    "color cast",
    "color fringing",
    "ghosting",
    "moire",
    "row glitches",
    "missing region",
    "overlay",
    "waxy smoothing",
    "sharpening halos",
    "latent noise",
    "burned contrast",
    "failed frame",
)
"""Faults of generation and delivery, a second closed vocabulary next to ``DISTORTIONS``. An image can have several."""

FAULT_ANSWERS = ("Yes", "No")

SHORT_TAIL = " Answer the question using a single word or phrase."
_SHORT_PHRASES = ("single word", "one word", "a word", "single phrase", "one phrase", "a phrase")


@dataclass(frozen=True)
class Task:
    """One kind of question.

    Attributes:
        name: identification, assessment, rating, comparison, score, severity, faults or question.
        pair: True if it is about Image A and Image B, False for one image.
        brief: True if the answer is one of a closed set (``answers``), False for free text.
        question: the default question, without the short-answer tail.
    """

    name: str
    pair: bool
    brief: bool
    question: str

    def ask(self, question: str | None = None) -> str:
        """Return the question for the prompt: one line without the separator ``</s>``; brief tasks end in the
        short-answer tail, exactly once."""
        question = " ".join((question or self.question).replace("</s>", " ").split())
        return question + SHORT_TAIL if self.brief and not is_short(question) else question


IDENTIFICATION = Task(
    "identification", False, True, "What are the most critical image quality issues in the evaluated image?"
)
ASSESSMENT = Task("assessment", False, False, "Please evaluate the image's quality and provide your reasons.")
RATING = Task("rating", True, True, "Determine which image exhibits higher quality between Image A and Image B.")
COMPARISON = Task(
    "comparison",
    True,
    False,
    "Compare the overall quality of Image A with Image B and provide a comprehensive explanation.",
)
SCORE = Task("score", False, True, "How would you rate the quality of the evaluated image?")
SEVERITY = Task("severity", False, True, "How severe is the main distortion in the evaluated image?")
FAULT = Task("faults", False, True, "Does the evaluated image show any fault of generation or delivery?")
QUESTION = Task("question", False, False, "Is the quality of the image good?" + SHORT_TAIL)
PAIR_QUESTION = Task("question", True, False, "Is Image A sharper than Image B?" + SHORT_TAIL)
"""Short questions of any other kind: yes or no, a choice of options, or one word. The allowed answers are those that
the question lists (``listed_answers``), or any."""
TASKS = {task.name: task for task in (IDENTIFICATION, ASSESSMENT, RATING, COMPARISON, SCORE, SEVERITY, FAULT, QUESTION)}

ONE_ISSUE = "What is the ONE most critical image quality issue in the evaluated image?"
TWO_ISSUES = "What are the TWO most critical image quality issues in the evaluated image?"
"""Identification questions with a fixed number of distortions."""


def severity_question(label: str) -> str:
    """Return the severity question about one distortion of ``DISTORTIONS``."""
    return f"How severe is the {label} in the evaluated image?"


def fault_question(fault: str | None = None) -> str:
    """Return the yes-or-no question about one fault of ``FAULTS``, or about any fault.

    Each fault has a separate question with the answers ``FAULT_ANSWERS``: several can be true, every probability is
    exact, and the questions share the prompt prefix up to the fault's name, so the image is prefilled once.

    Raises:
        TaskError: the fault is not in ``FAULTS``.
    """
    if fault is None:
        return FAULT.question
    if fault not in FAULTS:
        raise TaskError(f"unknown fault '{fault}': choose one of {', '.join(FAULTS)}")
    return f"Does the evaluated image show the fault {fault}?"


@dataclass(frozen=True)
class Setting:
    """The images of a published task type: the slots in prompt order and the record field of each."""

    pair: bool
    reference: bool
    fields: tuple[str, ...]


SETTINGS = {
    "quality_single_A": Setting(False, True, ("image_ref", "image_A")),
    "quality_single_B": Setting(False, True, ("image_ref", "image_B")),
    "quality_single_A_noref": Setting(False, False, ("image_A",)),
    "quality_single_B_noref": Setting(False, False, ("image_B",)),
    "quality_compare": Setting(True, True, ("image_ref", "image_A", "image_B")),
    "quality_compare_noref": Setting(True, False, ("image_A", "image_B")),
}
"""The six published task types (``task_type`` of a record)."""


def setting(task_type: str) -> Setting:
    """Return the setting of a published task type; raise a TaskError that lists the known ones."""
    if task_type not in SETTINGS:
        raise TaskError(f"unknown task '{task_type}': choose one of {', '.join(SETTINGS)}")
    return SETTINGS[task_type]


def is_short(question: str) -> bool:
    """Return whether a question asks for an answer in one word or phrase."""
    return any(phrase in question.lower() for phrase in _SHORT_PHRASES)


_POLAR = re.compile(
    r"(?:^|[,.:;?!]\s+)(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|may|might|must)(?:n't)?\s+"
    r"(?!you\b)",
    re.IGNORECASE,
)
"""Matches a yes-or-no question: it, or a clause of it, begins with a verb. "Could you name ..." is a request."""
_YES_OR_NO = re.compile(r"\byes\s*(?:or|/)\s*no\b", re.IGNORECASE)
_A_OR_B = re.compile(r"\bImage A or (?:is |does |in )?(?:Image )?B\b", re.IGNORECASE)
_OPTION = re.compile(r"(?<!Image )(?<!\w)\(?([A-H])[.):]\s+")
_OPTIONS_END = re.compile(r"\s*(?:\n|(?:^|(?<=[.?!\s]))(?:Answer|Choose|Select|Reply|Respond|Pick)\b)")
_DISTORTION = re.compile(
    r"\b(?:distortion|degradation|issue|problem|artifact|defect|flaw|impairment)(?:s|\(s\))?(?!\w)", re.IGNORECASE
)
_SEVERITY = re.compile(r"\bHow (?:severe|strong)\b")
_NAMED_DISTORTION = re.compile(rf"\b(?:{'|'.join(DISTORTIONS)})\b", re.IGNORECASE)
_RATE = r"\brat(?:e|ing)\b"
_SCORE = re.compile(
    rf"\bquality level\b|\bquality\b.*{_RATE}|{_RATE}.*\bquality\b"
    rf"|{_RATE}(?:\s+(?:does|do|of|for|the|this|that|evaluated))*\s+(?:image|picture)(?=\W*$|[,.;:?!]|\s+(?:deserve|overall|on)\b)",
    re.IGNORECASE,
)
"""Matches a question for the rating of the whole image; "rate the sharpness of the image" is not one."""
_WHAT = re.compile(r"(?:^|[,.:;?!]\s+)(?:what|how|where|who|why|when)\b", re.IGNORECASE)
_WHICH = re.compile(
    r"\b(?:which|what (?:image|picture|one)|better|best|higher|superior|preferable|preferred|prefer)\b", re.IGNORECASE
)
_FAULT = re.compile(rf"\bthe fault (?:{'|'.join(FAULTS)})\b|\bfault of generation or delivery\b")
"""Matches a question of the task ``faults``, about one fault by its name or about all of them."""


def task_of(question: str, pair: bool) -> Task:
    """Return the task of a question in published form.

    A question is brief if it has the short-answer tail or lists its options ("yes or no" too); otherwise it is
    detailed. A brief question belongs to a task with a fixed set of answers only if it asks for one of these answers:
    distortions by name, a rating of the whole image, the severity of a distortion, or Image A or Image B. All others
    are ``QUESTION`` (``PAIR_QUESTION``).
    """
    other = PAIR_QUESTION if pair else QUESTION
    if _options(question) or _YES_OR_NO.search(question):
        return other
    if not is_short(question):
        return COMPARISON if pair else ASSESSMENT
    polar = _POLAR.search(question.replace(SHORT_TAIL, ""))
    if pair:
        open_ended = polar or (_WHAT.search(question) and not _WHICH.search(question))
        return other if open_ended and not _A_OR_B.search(question) else RATING
    if _FAULT.search(question):
        return FAULT
    if polar:
        return other
    distortion = _DISTORTION.search(question)
    if _SEVERITY.search(question):
        return SEVERITY if distortion or _NAMED_DISTORTION.search(question) else other
    if _SCORE.search(question):
        return SCORE
    return IDENTIFICATION if distortion else other


def listed_answers(question: str) -> dict[str, tuple[str, ...]]:
    """Return the answers that a question of the task ``question`` lists.

    Returns:
        Every answer with its accepted spellings: the options of "A. low B. high" by their text, "Yes" and "No" for a
        yes-or-no question; empty if any answer is possible.
    """
    if options := _options(question):
        return {
            text: tuple(dict.fromkeys((text, text.capitalize(), letter, f"{letter}.", f"{letter}. {text}")))
            for letter, text in options.items()
        }
    question, asked = _YES_OR_NO.subn("", question.replace(SHORT_TAIL, ""))
    if asked or (_POLAR.search(question) and not re.search(r"\bor\b", question, re.IGNORECASE)):
        return {"Yes": ("Yes",), "No": ("No",)}
    return {}


def _options(question: str) -> dict[str, str]:
    """Return the lettered options of a question, at least A and B in this order: letter -> text."""
    found = list(_OPTION.finditer(question))
    if len(found) < 2 or [option[1] for option in found] != list("ABCDEFGH"[: len(found)]):
        return {}
    ends = [option.start() for option in found[1:]] + [len(question)]
    options = {}
    for option, end in zip(found, ends):
        text = question[option.end() : end]
        text = text[: stop.start()] if (stop := _OPTIONS_END.search(text)) else text
        options[option[1]] = text.strip().rstrip(",;.?!").strip()
    return options if all(options.values()) and len(set(options.values())) == len(options) else {}


def issue_count(question: str) -> int | None:
    """Return how many distortions an identification question asks for: 1, 2, or None if it is open."""
    words = set(re.findall(r"\b(ONE|TWO)\b", question))
    return {frozenset({"ONE"}): 1, frozenset({"TWO"}): 2}.get(frozenset(words))


def temperature_names(task: Task, question: str, reference: bool) -> tuple[str, ...]:
    """Return the names under which a checkpoint stores the temperature of a brief question, the most specific one
    first.

    ``identification_two_nr`` for two distortions without a reference, ``identification_nr`` for all other questions of
    that task and setting (``_fr`` with a reference), ``identification`` for both settings.
    """
    setting = "fr" if reference else "nr"
    two = task is IDENTIFICATION and issue_count(question) == 2
    return (*([f"{task.name}_two_{setting}"] if two else []), f"{task.name}_{setting}", task.name)


def answer_text(labels: tuple[str, ...]) -> str:
    """Spell labels as the answer does: ``("noise", "blur")`` -> ``"Noise and blur"``, ``()`` -> ``"None"``."""
    return " and ".join(labels or (NONE,)).capitalize()


def clean_answer(task: Task) -> str | None:
    """Return the answer that a clean image gets to a question of a task; None where there is none."""
    return {IDENTIFICATION: answer_text(()), SCORE: LEVELS[0].capitalize()}.get(task)


def identification_answers(count: int | None = None) -> tuple[str, ...]:
    """Return all allowed answers of an identification question.

    Args:
        count: 1 for the 13 single labels, 2 for "None" and the ordered pairs of two distortions, None for all of them.
    """
    single = tuple(answer_text((label,)) for label in LABELS)
    pairs = tuple(answer_text((a, b)) for a in DISTORTIONS for b in DISTORTIONS if a != b)
    return {1: single, 2: (answer_text(()),) + pairs, None: single + pairs}[count]


def answers(task: Task, question: str) -> tuple[str, ...]:
    """Return the closed set of answers of a brief task, as the model spells them; raise TaskError for detailed
    tasks."""
    if task is RATING:
        return WINNERS
    if task is SCORE:
        return tuple(level.capitalize() for level in LEVELS)
    if task is SEVERITY:
        return tuple(grade.capitalize() for grade in GRADES)
    if task is FAULT:
        return FAULT_ANSWERS
    if task is IDENTIFICATION:
        return identification_answers(issue_count(question))
    raise TaskError(f"the {task.name} task has no closed set of answers")


def parse_labels(text: str) -> tuple[str, ...] | None:
    """Parse a brief identification answer: ``"Noise and blur"`` -> ``("noise", "blur")``, ``"None"`` -> ``()``.

    Return None for anything that is not exactly an answer of this format; nothing is guessed.
    """
    text = text.strip()
    if text == answer_text(()):
        return ()
    names = tuple(text.lower().split(" and "))
    known = all(name in DISTORTIONS for name in names) and len(set(names)) == len(names) <= 2
    return names if known and text == answer_text(names) else None


def parse_winner(text: str) -> str | None:
    """Parse a brief rating answer: ``"A"``, ``"B"``, or None for anything else."""
    return {"Image A": "A", "Image B": "B"}.get(text.strip())
