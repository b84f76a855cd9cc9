"""Checks of detailed answers: refusals, broken limits, and contradictions to the known truth."""

import re

from depictqa_core.tasks import BETTER, DISTORTIONS, GRADES, WORSE

from .answer_words import (
    AFTER,
    ASIDE,
    BAD,
    BEFORE,
    COMPARED,
    DEGREE,
    FOREIGN,
    FREE,
    GOOD,
    GRADED,
    LOOSE,
    NEGATED,
    NOTICED,
    REACH,
    REFUSAL,
    STRICT,
    grades_of,
)
from .requests import MIN_WORDS, Expected, instructions

REFUSED, CUT_OFF, EMPTY, TOO_SHORT, TOO_LONG = "refused", "cut off", "empty", "too short", "too long"
REFERENCE, FOREIGN_NAMED = "mentions the reference", "names a distortion that is not there"
LEFT_OUT, WRONG_DEGREE, QUALITY = "leaves a distortion out", "wrong degree", "wrong quality"
REPEATED = "repeats the request"
NO_WINNER, WRONG_WINNER = "names no winner", "names the wrong winner"
"""Why answers are dropped."""

# statements about one image must not be assigned to the other: "Image A shows no distortion, and Image B shows blur"
_CLAUSES = re.compile(
    r"[.;:!?]|,?\s\b(?:but|yet|however|while|whereas|although|though)\b"
    r"|,?\s(?:and\s)?(?=(?:in\s)?Image [AB]\b)(?<!than\s)",
    re.IGNORECASE,
)
OWN_WORDS = 6
"""Shorter sentences can be equal by chance."""
_BETTER = rf"{BETTER}|higher[\w\s-]{{0,20}}?quality|higher in quality"
_WORSE = rf"{WORSE}|lower[\w\s-]{{0,20}}?quality|lower in quality"
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
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if finish in ("content_filter", "refusal") or REFUSAL.search(text):
        return REFUSED
    if finish == "length":
        return CUT_OFF
    words = len(text.split())
    if not words:
        return EMPTY
    if _repeats(text, want):
        return REPEATED
    if words < MIN_WORDS:
        return TOO_SHORT
    if words > want.words:
        return TOO_LONG
    if not want.reference and re.search(r"\breferenc", text, re.IGNORECASE):
        return REFERENCE
    clauses = [(clause, _told(clause, want)) for clause in _CLAUSES.split(text)]
    if any(_names_foreign(clause, told) for clause, told in clauses):
        return FOREIGN_NAMED
    present = {label for picture in want.pictures for label in picture}
    if any(not any(_affirmed(LOOSE[label], clause) for clause, _ in clauses) for label in present):
        return LEFT_OUT
    if any(_wrong_degree(clause, told) for clause, told in clauses):
        return WRONG_DEGREE
    if not want.pair and any(_wrong_quality(clause, want.pictures[0]) for clause, _ in clauses):
        return QUALITY
    if want.pair:
        winner = stated_winner(text)
        if winner is None:
            return NO_WINNER
        if want.winner and winner != want.winner:
            return WRONG_WINNER
    return None


def _repeats(text: str, want: Expected) -> bool:
    """Whether an answer has a sentence of the instructions, of at least ``OWN_WORDS`` words, word by word."""
    said = f" {_words(text)} "
    asked = (_words(sentence) for sentence in instructions(want))
    return any(f" {sentence} " in said for sentence in asked if len(sentence.split()) >= OWN_WORDS)


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def stated_winner(text: str) -> str | None:
    """ "A" or "B": the image that the last judging sentence calls better; None if there is none or it says both."""
    for sentence in reversed(re.split(r"[.;!?]", text)):
        named = set()
        for verdict in _VERDICT.finditer(sentence):
            negated = bool(NEGATED.search(verdict["between"]))
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
    """label -> grades that are true of the images which a clause speaks of (of all, unless it names just one)."""
    named = {letter.upper() for letter in re.findall(r"\bImage ([AB])\b", clause, re.IGNORECASE)}
    pictures = want.pictures
    if want.pair and len(named) == 1:
        pictures = (pictures["AB".index(named.pop())],)
    told: dict[str, set[str]] = {}
    for picture in pictures:
        for label, grade in picture.items():
            told.setdefault(label, set()).add(grade)
    return told


def _names_foreign(clause: str, told: dict[str, set[str]]) -> bool:
    """Whether a clause names a distortion that its images do not have, by its label or in other words."""
    if any(label not in told and _affirmed(STRICT[label], clause) for label in DISTORTIONS):
        return True
    return any(not labels & told.keys() and _affirmed(pattern, clause) for pattern, labels in FOREIGN)


def _wrong_degree(clause: str, told: dict[str, set[str]]) -> bool:
    """Whether a clause gives a distortion another degree: as it was asked for to the word, or in other words."""
    for found in GRADED.finditer(clause):
        if found[1].lower() not in told.get(found[2].lower(), ()) and not _negated(clause, found.start()):
            return True
    return any(
        not grades & grades_of(degree) and _said_of(degree, LOOSE[label], clause)
        for degree in DEGREE.finditer(clause)
        if not _negated(clause, degree.start())
        for label, grades in told.items()
    )


def _said_of(degree: re.Match, distortion: re.Pattern, clause: str) -> bool:
    """Whether a degree belongs to a distortion: "only slightly blurry", "the blur is mild", "blur, hardly visible"."""
    between = BEFORE.match(clause, degree.end())
    if between and distortion.match(clause, between.end()):
        return True
    if COMPARED.match(clause, degree.end()):
        return False
    link = ASIDE if NOTICED.match(clause, degree.end()) else AFTER
    return any(
        (AFTER.fullmatch(clause, found.end(), degree.start()) or link.fullmatch(clause, found.end(), degree.start()))
        for found in distortion.finditer(clause, 0, degree.start())
    )


def _wrong_quality(clause: str, graded: dict[str, str]) -> bool:
    """Whether a clause calls a pristine image bad, or a seriously damaged one flawless."""
    if not graded:
        return _affirmed(BAD, clause)
    return any(GRADES.index(grade) >= 3 for grade in graded.values()) and _affirmed(GOOD, clause)


def _affirmed(pattern: re.Pattern, clause: str) -> bool:
    """Whether a clause names something without saying that it is absent."""
    found = pattern.finditer(clause)
    return any(not _negated(clause, one.start()) and not FREE.match(clause, one.end()) for one in found)


def _negated(clause: str, place: int) -> bool:
    """Whether a negation before a place in a clause reaches as far as that."""
    before = list(NEGATED.finditer(clause, 0, place))
    return bool(before) and not REACH.search(clause, before[-1].end(), place)
