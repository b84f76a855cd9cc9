"""Finds what is wrong with a detailed answer: refusals, broken limits, and contradictions to the known truth."""

import re

from depictqa_core.tasks import DISTORTIONS

from .descriptions import GRADES
from .detailed_requests import MIN_WORDS, Expected

REFUSED, CUT_OFF, EMPTY, TOO_SHORT, TOO_LONG = "refused", "cut off", "empty", "too short", "too long"
REFERENCE, FOREIGN = "mentions the reference", "names a distortion that is not there"
LEFT_OUT, DEGREE = "leaves a distortion out", "wrong degree"
NO_WINNER, WRONG_WINNER = "names no winner", "names the wrong winner"
"""Why answers are dropped."""

_REFUSAL = re.compile(
    r"\bsorry\b|\bapologi[sz]e\b|\bas an ai\b|\bI(?:'m| am) (?:unable|not able)\b"
    r"|\bI (?:can(?:no|')t|am unable to|won't) (?:assist|help|see|view|assess|analy[sz]e|provide|comply|process)",
    re.IGNORECASE,
)
_STRICT = {label: re.compile(rf"\b{label}\b", re.IGNORECASE) for label in DISTORTIONS}
# other words for a distortion that is there; too weak to prove one that is not ("grain" may be that of wood)
_LOOSE = {
    label: re.compile(rf"\b{label}\b|{pattern}", re.IGNORECASE)
    for label, pattern in {
        "noise": r"\bnois(?:e|y)|\bgrain(?:y|iness)|\bspeckl",
        "blur": r"\bblur|\bout[- ]of[- ]focus",
        "compression": r"\bcompress|\bblock(?:y|iness)|\bJPEG",
        "oversharpening": r"\bover-?\s?sharpen",
        "pixelation": r"\bpixel+at",
        "color quantization": r"\bquanti[sz]|\bbanding|\bposteri[sz]",
        "insufficient saturation": r"\b(?:low|weak|reduced|poor|lack of) saturation|\b(?:de|under-?)saturat",
        "overly high saturation": r"\b(?:high|excessive|exaggerated|strong) saturation|\bover-?\s?saturat",
        "insufficient contrast": r"\b(?:low|weak|reduced|poor|lack of) contrast",
        "overly high contrast": r"\b(?:high|excessive|exaggerated|strong) contrast",
        "insufficient brightness": r"\b(?:low|reduced|poor|lack of) brightness|\b(?:too|overly) dark|\bunder-?\s?expos",
        "overly high brightness": r"\b(?:high|excessive) brightness|\b(?:too|overly) bright|\bover-?\s?expos",
    }.items()
}  # fmt: skip
_NEGATED = re.compile(
    r"\b(?:no|not|none|without|neither|nor|never|lacks?|free (?:of|from)|(?:absence|devoid|instead) of|rather than)\b",
    re.IGNORECASE,
)
# what is said of one picture must not be taken for the other: "Image A shows no distortion, and Image B shows blur"
_CLAUSES = re.compile(
    r"[.;:!?]|,?\s\b(?:but|however|while|whereas|although|though)\b|,?\s(?:and\s)?(?=(?:in\s)?Image [AB]\b)(?<!than\s)",
    re.IGNORECASE,
)
_GRADED = re.compile(rf"\b({'|'.join(GRADES)})\s+({'|'.join(DISTORTIONS)})\b", re.IGNORECASE)
_BETTER = r"better|superior|preferable|preferred|higher[\w\s-]{0,20}?quality|higher in quality"
_WORSE = r"worse|inferior|lower[\w\s-]{0,20}?quality|poorer|lower in quality"
_VERDICT = re.compile(
    rf"\bImage ([AB])\b(?P<between>(?:(?!\bImage [AB]\b)[^.;!?])*?)\b(?:(?P<better>{_BETTER})|(?P<worse>{_WORSE}))\b",
    re.IGNORECASE,
)


def problem(text: str, finish: str, want: Expected) -> str | None:
    """The first reason to drop an answer, or None for a good one.

    Args:
        text: the answer as one line (see ``one_line``).
        finish: why it ended, as the endpoint says it ("stop", "length", ...).
        want: what is true.
    """
    if finish in ("content_filter", "refusal") or _REFUSAL.search(text):
        return REFUSED
    if finish == "length":
        return CUT_OFF
    words = len(text.split())
    if not words:
        return EMPTY
    if words < MIN_WORDS:
        return TOO_SHORT
    if words > want.words:
        return TOO_LONG
    if not want.reference and re.search(r"\breferenc", text, re.IGNORECASE):
        return REFERENCE
    clauses = [(clause, _told(clause, want)) for clause in _CLAUSES.split(text)]
    if any(label not in told for clause, told in clauses for label in DISTORTIONS if _affirmed(_STRICT[label], clause)):
        return FOREIGN
    present = {label for picture in want.pictures for label in picture}
    if any(not any(_affirmed(_LOOSE[label], clause) for clause, _ in clauses) for label in present):
        return LEFT_OUT
    for clause, told in clauses:
        for grade, label in _GRADED.findall(clause):
            if grade.lower() not in told.get(label.lower(), ()) and not _NEGATED.search(clause):
                return DEGREE
    if want.pair:
        winner = stated_winner(text)
        if winner is None:
            return NO_WINNER
        if want.winner and winner != want.winner:
            return WRONG_WINNER
    return None


def stated_winner(text: str) -> str | None:
    """ "A" or "B": the picture that the last judging sentence calls better; None if there is none or it says both."""
    for sentence in reversed(re.split(r"[.;!?]", text)):
        named = set()
        for verdict in _VERDICT.finditer(sentence):
            negated = bool(_NEGATED.search(verdict["between"]))
            named.add(
                verdict[1].upper() if bool(verdict["better"]) != negated else {"A": "B", "B": "A"}[verdict[1].upper()]
            )
        if named:
            return named.pop() if len(named) == 1 else None
    return None


def one_line(text: str) -> str:
    """An answer as one line of plain text, without the emphasis marks that some models write."""
    return " ".join(re.sub(r"\*\*|__|^#+\s*|^\s*[-*]\s+", "", text, flags=re.MULTILINE).split())


def _told(clause: str, want: Expected) -> dict[str, set[str]]:
    """label -> grades that are true of the pictures which a clause speaks of (of all, unless it names just one)."""
    named = {letter.upper() for letter in re.findall(r"\bImage ([AB])\b", clause, re.IGNORECASE)}
    pictures = want.pictures
    if want.pair and len(named) == 1:
        pictures = (pictures["AB".index(named.pop())],)
    told: dict[str, set[str]] = {}
    for picture in pictures:
        for label, grade in picture.items():
            told.setdefault(label, set()).add(grade)
    return told


def _affirmed(pattern: re.Pattern, clause: str) -> bool:
    """Whether a clause names something without saying that it is absent."""
    return any(not _NEGATED.search(clause[: found.start()]) for found in pattern.finditer(clause))
