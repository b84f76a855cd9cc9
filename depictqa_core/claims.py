"""Finds what a text claims about winner, level, distortions and grades, and corrects what contradicts closed answers.

A closed answer (``Facts``) is exact and calibrated, a text is what the model writes word by word. Where a word of the
text contradicts a fact, ``contradiction`` gives the word that belongs there instead, from which the model can continue.
``settle`` removes what still contradicts, and states the fact in its place. Claims in wordings that the patterns below
do not cover are left alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .tasks import BETTER, DISTORTIONS, GRADES, LEVELS, WORSE

_SENTENCE = re.compile(r"[^.;!?]+(?:[.;!?]+|$)\s*")
_NEGATION = re.compile(
    r"\b(?:no|not(?! only)|none|without|neither|nor|never|lacks?|free (?:of|from)|absence of|rather than|hardly any)\b"
    r"|n't\b",
    re.IGNORECASE,
)
_REASON = re.compile(r",?\s+(?:because|as|since)\s", re.IGNORECASE)

_IMAGE = re.compile(
    r"\b(?:[Ii]mage ([AB])|[Tt]he (first|second) (?:image|picture|one))\b"
    r"|(?<![\w'])([AB])(?=(?:'s quality)? (?:is|has|looks|wins|beats)\b)"
)
_LETTER = {"A": "A", "B": "B", "first": "A", "second": "B"}
_OTHER = {"A": "B", "B": "A", "first": "second", "second": "first"}
_KIND = r"(?:(?:overall|general|visual|perceptual|perceived|image|picture|technical)\s+)*"
_WHOLE = (
    rf"(?=\s*(?:$|[,.;:!?)]|{_KIND}(?:quality(?!\s+(?:in|of)\s+(?!total|general))|image|one|picture|option|choice|version"
    rf"|condition)\b|(?:than|to|because|as|since|due|overall|here|of the|of both|among|between)\b"
    rf"|in (?:terms of )?(?:the |its )?{_KIND}(?:quality|comparison)\b))"
)
"""Behind a comparative: what makes it one of the whole image. "better contrast" is about an aspect alone."""
_BETTER = re.compile(
    rf"\b(?:(?:{BETTER}|finer|best){_WHOLE}|(?:higher|greater){_WHOLE}(?=[^,.;]*\bquality)"
    r"|quality (?:is|looks|appears|seems) (?:\w+ )?(?:higher|greater)|(?<!no )(?<!no clear )winner|has the edge"
    r"|better preserved|wins|beats|outperforms|surpasses|exceeds|less (?:distorted|damaged|degraded|damage)"
    r"|fewer (?:flaws|distortions|artifacts)|more pleasing)\b",
    re.IGNORECASE,
)
_WORSE = re.compile(
    rf"\b(?:(?:{WORSE}|worst){_WHOLE}|lower{_WHOLE}(?=[^,.;]*\bquality)|loses"
    r"|more (?:distorted|damaged|degraded)|quality (?:is|looks|appears|seems) (?:\w+ )?lower"
    r"|(?:distorted|damaged|degraded) (?:compared|relative|in comparison))\b",
    re.IGNORECASE,
)
_CHOSEN = re.compile(
    r"\b(?:prefer|choose|pick|select|favou?r)s?\s+(?:[Ii]mage ([AB])|the (first|second) image)\b"
    r"|\brates?\s+(?:[Ii]mage ([AB])|the (first|second) image) (?:higher|better)\b"
)
_ONLY_DAMAGED = re.compile(r"\b[Oo]nly (?:Image ([AB])|the (first|second) image) is (?:damaged|distorted|degraded)\b")
_DAMAGE_OF = re.compile(
    r"\b(?:[Dd]amage|[Dd]istortions?|[Dd]egradations?|[Ff]laws?) (?:of|in) (?:Image ([AB])|the (first|second) image)\b"
)
_ITS_OWN = re.compile(
    r"\b(?:its (?:damage|distortions?|degradations?|flaws?)\b|nothing disturbs its\b"
    r"|(?:it has no|with no|without(?: any)?) (?:distortion|damage|flaw)s?\b)",
    re.IGNORECASE,
)
"""In the reason of a verdict: "it" is the winner."""
_BLAMED = re.compile(
    r"\b(?:damage|distortions?|degradations?|flaws?) (?:of|in) Image ([AB])\b[^.,;]{0,20}?"
    r"\b(?:stronger|more|heavier|worse)\b"
    r"|\bonly Image ([AB]) is (?:damaged|distorted|degraded)\b"
)
_OBJECT = re.compile(r"\b(?:than|over|to|with|from|next to|against|(?:that|those) of)\s+$", re.IGNORECASE)
_NAMES = re.compile(r"^(?:\s+\w+){0,3}?\s*(?:is|was|be|are|:|goes to|remains)\s+$", re.IGNORECASE)
_EQUAL = re.compile(
    r"\b(?:equal|same|similar|comparable|identical)\b[\w\s]{0,20}\bquality\b|\bquality\b[\w\s]{0,30}\b(?:equal|the same"
    r"|similar|comparable|identical)\b|\bequally (?:good|bad|distorted|damaged)\b|\bneither\b[^.;]*\bbetter\b"
    rf"|\bno (?:\w+ )?difference in {_KIND}quality\b",
    re.IGNORECASE,
)

_ADJECTIVE = r"(?:very |overall |visual |image )*"
_LEVEL = re.compile(
    rf"\b({'|'.join(LEVELS)})(?=\s+{_ADJECTIVE}quality\b)"
    rf"|\bquality of (?:the|this) image (?:is|appears|looks|seems) {_ADJECTIVE}({'|'.join(LEVELS)})\b"
    rf"|\b{_KIND}quality (?:is|appears|looks|seems) {_ADJECTIVE}({'|'.join(LEVELS)})\b",
    re.IGNORECASE,
)
_GRADE = re.compile(rf"\b({'|'.join(GRADES)})\b", re.IGNORECASE)
_LABEL = re.compile(rf"\b({'|'.join(DISTORTIONS)})\b", re.IGNORECASE)
_CLEAN = re.compile(
    r"\b(?:no|without(?: any)?|free (?:of|from)(?: any)?) (?:visible |noticeable |obvious |apparent )?"
    r"(?:distortions?|degradations?|flaws?|damage)\b"
    r"|\bpristine\b|\bflawless\b|\bundistorted\b|\bnothing disturbs\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Contradiction:
    """A word, or words, that contradict a fact.

    Attributes:
        start, stop: where they are in the text.
        word: what belongs there instead; None where no words fit.
        probability: 0..1, that of the fact.
    """

    start: int
    stop: int
    word: str | None
    probability: float


@dataclass(frozen=True)
class Seen:
    """The distortions of one image: labels in the order of the brief answer, and their grade words where known.

    Attributes:
        labels: of ``tasks.DISTORTIONS``; empty for an image without distortions.
        grades: one of ``tasks.GRADES`` for each label, or empty where the model cannot grade.
        probability: 0..1, that of the labels.
    """

    labels: tuple[str, ...]
    grades: tuple[str, ...] = ()
    probability: float = 1.0

    def words(self) -> str:
        """``"slight blur and moderate noise"``, or ``"no distortion"``."""
        grades = [f"{grade} " for grade in self.grades] or [""] * len(self.labels)
        return " and ".join(f"{grade}{label}" for grade, label in zip(grades, self.labels)) or "no distortion"


@dataclass(frozen=True)
class Facts:
    """What a text must agree with; where a fact is None the text may claim anything.

    Attributes:
        winner: "A", "B" or "tie".
        level: one of ``tasks.LEVELS``.
        seen: of one image.
        pair: of both images of a pair, A first.
        winner_probability, level_probability: 0..1.
    """

    winner: str | None = None
    level: str | None = None
    seen: Seen | None = None
    pair: tuple[Seen, Seen] | None = None
    winner_probability: float = 1.0
    level_probability: float = 1.0

    @property
    def probability(self) -> float:
        """The lowest one of all facts, 0..1."""
        return min(self.winner_probability, self.level_probability, self.seen.probability if self.seen else 1.0)

    def contradiction(self, text: str) -> Contradiction | None:
        """Find the first word of a text that contradicts a fact."""
        return min(self._all(text), key=lambda found: found.start, default=None)

    def settle(self, text: str) -> str:
        """Remove every clause that contradicts a fact; a verdict that the text then lacks is stated at its end."""
        lacks_names = any(self._wrong_names(text))
        while found := self.contradiction(text):
            start, stop = _clause(text, found.start)
            kept = text[:start].rstrip()
            kept += "." if kept and kept[-1] not in ".;!?" else ""
            text = f"{kept} {text[stop:].lstrip()}".strip()
        stated = [f"{_named(self.seen)}."] if self.seen is not None and lacks_names else []
        if self.winner is not None and not self._names_winner(text):
            stated.append(f"{CONCLUSIONS[self.winner]}.")
        text = text if not text or text[-1] in ".;!?" or not stated else f"{text}."
        return " ".join(filter(None, [text, *stated]))

    def _all(self, text: str) -> Iterator[Contradiction]:
        yield from self._wrong_winners(text)
        yield from self._wrong_levels(text)
        yield from self._wrong_grades(text)
        yield from self._wrong_names(text)
        yield from self._wrong_damage(text)

    def _wrong_winners(self, text: str) -> Iterator[Contradiction]:
        if self.winner is None:
            return
        for start, word, wins in winner_claims(text):
            if self.winner == "tie":
                yield Contradiction(start, start + len(word), None, self.winner_probability)
            elif (_LETTER[word] == self.winner) != wins:
                yield Contradiction(start, start + len(word), _OTHER[word], self.winner_probability)
        if self.winner != "tie":
            for found in _EQUAL.finditer(text):
                yield Contradiction(found.start(), found.end(), None, self.winner_probability)

    def _names_winner(self, text: str) -> bool:
        return bool(_EQUAL.search(text)) if self.winner == "tie" else any(True for _ in winner_claims(text))

    def _wrong_levels(self, text: str) -> Iterator[Contradiction]:
        for found in _LEVEL.finditer(text) if self.level else ():
            place = _group(found)
            if found[place].lower() != self.level:
                yield Contradiction(found.start(place), found.end(place), self.level, self.level_probability)

    def _wrong_grades(self, text: str) -> Iterator[Contradiction]:
        """Grade words of the first sentence, one for each label in their order, as descriptions of ours have them.

        The correction is the rest of the sentence with all of its grades right: a model that learned to grade two
        distortions in fewer words does not continue well from one corrected word.
        """
        if self.seen is None or not self.seen.grades:
            return
        (first,) = _SENTENCE.findall(text)[:1] or ("",)
        first = first.rstrip()
        said = [found[0].lower() for found in _GRADE.finditer(first)]
        if len(said) == len(self.seen.grades) and tuple(_labels(first)) == self.seen.labels:
            right = iter(self.seen.grades)
            corrected = _GRADE.sub(lambda found: next(right), first)
            if said != list(self.seen.grades):
                start = next(i for i, (a, b) in enumerate(zip(first, corrected)) if a != b)
                start = next(found.start() for found in _GRADE.finditer(first) if found.end() > start)
                yield Contradiction(start, len(first), corrected[start:], self.seen.probability)

    def _wrong_names(self, text: str) -> Iterator[Contradiction]:
        """Names of distortions alone where none was found or only others, and praise where some were found."""
        if self.seen is None:
            return
        affirmed = [found for found in _LABEL.finditer(text) if not _negated(text, found.start(), found.end())]
        if not {found[0].lower() for found in affirmed} & set(self.seen.labels):
            for found in affirmed:
                yield Contradiction(found.start(), found.end(), None, self.seen.probability)
        for found in _CLEAN.finditer(text) if self.seen.labels else ():
            yield Contradiction(found.start(), found.end(), None, self.seen.probability)

    def _wrong_damage(self, text: str) -> Iterator[Contradiction]:
        """Reasons that call an image of a pair damaged where nothing was found in it, or undamaged where something was.

        Other words do not help: a model that sees no damage of the loser has no reason that it could name.
        """
        if self.pair is None:
            return
        damaged = {letter: bool(seen.labels) for letter, seen in zip("AB", self.pair)}
        probability = min(seen.probability for seen in self.pair)

        def damage(found: re.Match) -> Contradiction:
            return Contradiction(found.start(), found.end(), None, probability)

        for found in _ONLY_DAMAGED.finditer(text):
            letter = _LETTER[found[_group(found)]]
            if not damaged[letter] or damaged[_OTHER[letter]]:
                yield damage(found)
        for found in _DAMAGE_OF.finditer(text):
            if not damaged[_LETTER[found[_group(found)]]]:
                yield damage(found)
        of_winner = damaged.get(self.winner or "")
        for found in _ITS_OWN.finditer(text) if of_winner is not None else ():
            start, _ = _clause(text, found.start())
            if _REASON.match(text, start) and of_winner != found[0].lower().startswith("its "):
                yield damage(found)


def _named(seen: Seen) -> str:
    if not seen.labels:
        return "No distortion was found in the image"
    several = len(seen.labels) > 1
    return f"The most critical distortion{'s are' if several else ' is'} {' and '.join(seen.labels)}"


def _group(found: re.Match) -> int:
    """Which group of a pattern of alternatives matched."""
    return found.lastindex or 0


CONCLUSIONS = {
    "A": "Overall, Image A is better than Image B",
    "B": "Overall, Image B is better than Image A",
    "tie": "Overall, neither image is clearly better",
}


def winner_claims(text: str) -> Iterator[tuple[int, str, bool]]:
    """Find where a text says that an image is better or worse than the other as a whole.

    Yields:
        for every claim the place of the word that tells the images apart ("A", "B", "first" or "second"), that word,
        and whether its image is said to be better.
    """
    for sentence in _SENTENCE.finditer(text):
        images = list(_IMAGE.finditer(text, sentence.start(), sentence.end()))
        for pattern, better in ((_BETTER, True), (_WORSE, False)):
            for word in pattern.finditer(text, sentence.start(), sentence.end()):
                if claim := _compared(text, sentence.start(), images, word):
                    image, same = claim
                    yield image.start(_group(image)), image[_group(image)], better == same
    for pattern, better in ((_CHOSEN, True), (_BLAMED, False)):
        for found in pattern.finditer(text):
            place = _group(found)
            negated = _NEGATION.search(text, max(0, found.start() - 12), found.start())
            yield found.start(place), found[place], better == (not negated)


def _compared(text: str, start: int, images: list[re.Match], word: re.Match) -> tuple[re.Match, bool] | None:
    """The image that a comparative is said of, and whether it says so (or that of the other, or the opposite)."""
    before = [image for image in images if image.end() <= word.start()]
    if before and not _OBJECT.search(text, start, before[-1].start()):
        subject, between = before[-1], text[before[-1].end() : word.start()]
        if re.search(r"\bneither\b|\bwhether\b|\bwhich\b", text[start : word.start()], re.IGNORECASE):
            return None
        return subject, not _NEGATION.search(between)
    behind = next((image for image in images if image.start() >= word.end()), None)
    if behind is None:
        return None
    between = text[word.end() : behind.start()]
    if _NAMES.match(between):
        return behind, not _NEGATION.search(text, start, word.start())
    opening = text[start : word.start()]
    if re.search(r"\bthan\s+$", between) and not before and not re.search(r"\bneither\b", opening, re.IGNORECASE):
        return behind, bool(_NEGATION.search(opening))
    return None


def _labels(text: str) -> list[str]:
    return [found[0].lower() for found in _LABEL.finditer(text)]


def _negated(text: str, start: int, stop: int) -> bool:
    """Whether the words before a place in its clause, or "-free" behind it, say that it is absent."""
    clause = max(text.rfind(mark, 0, start) for mark in (".", ";", ":", ",", "!", "?")) + 1
    return bool(_NEGATION.search(text, clause, start)) or text[stop : stop + 5].lower() == "-free"


def _clause(text: str, place: int) -> tuple[int, int]:
    """The reason ("..., since ...") or else the whole sentence that a place lies in."""
    for sentence in _SENTENCE.finditer(text):
        if sentence.start() <= place < sentence.end():
            reasons = list(_REASON.finditer(text, sentence.start(), place + 1))
            return (reasons[-1].start() if reasons else sentence.start()), sentence.end()
    return place, len(text)
