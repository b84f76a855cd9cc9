"""Written answers without contradictions to the closed answers about the same images."""

from collections.abc import Sequence

from ..backends.base import Backend, ImageSet, Opening, WrittenAnswer
from ..claims import Facts
from ..runtime.progress import OnText, ProgressCounter, renumbered
from ..tasks import Task

CORRECTIONS = 8
"""How often one text is continued from a corrected word before what still contradicts is taken out."""


def write_in_agreement(
    backend: Backend,
    task: Task,
    question: str | None,
    image_sets: Sequence[ImageSet],
    facts: list[Facts],
    openings: list[Opening],
    length: int,
    counter: ProgressCounter,
    on_text: OnText | None,
) -> list[WrittenAnswer]:
    """Write answers, and correct what contradicts the facts about them.

    The model continues an answer from the first word that contradicts a fact, with the right word in its place, until
    none does. What cannot be corrected so is taken out, and the fact is stated instead. A backend that cannot continue
    from given words has everything corrected in the second way.
    """
    written = backend.write(task, question, image_sets, length, counter, on_text, openings)
    if backend.capabilities.openings:
        limits = [length + len(backend.tokens(opening.text, 1.0).ids) for opening in openings]
        _continue_from_corrections(
            backend, task, question, image_sets, facts, limits, length, counter, on_text, written
        )
    for index, (fact, answer) in enumerate(zip(facts, written)):
        text = fact.settle(answer.text)
        if text != answer.text:
            written[index] = backend.tokens(text, fact.probability, answer)
            if on_text:
                on_text(index, text)
    return written


def _continue_from_corrections(
    backend: Backend,
    task: Task,
    question: str | None,
    image_sets: Sequence[ImageSet],
    facts: list[Facts],
    limits: list[int],
    length: int,
    counter: ProgressCounter,
    on_text: OnText | None,
    written: list[WrittenAnswer],
) -> None:
    """Replace answers in place; ``limits`` are their longest lengths in tokens."""
    members = list(range(len(written)))
    for _ in range(CORRECTIONS):
        corrections = {index: _correction(facts[index], written[index]) for index in members}
        corrected = {index: opening for index, opening in corrections.items() if opening is not None}
        if not corrected:
            break
        members = list(corrected)
        show = renumbered(on_text, members)
        some = [image_sets[index] for index in members]
        again = backend.write(task, question, some, length, counter.silent(), show, list(corrected.values()))
        for index, answer in zip(members, again):
            ids, probabilities = answer.ids[: limits[index]], answer.probabilities[: limits[index]]
            written[index] = WrittenAnswer(backend.text(ids), ids, probabilities)


def _correction(fact: Facts, written: WrittenAnswer) -> Opening | None:
    """A text up to the first word that contradicts a fact, with the right word in its place; None if no word helps."""
    wrong = fact.contradiction(written.text)
    if wrong is None or wrong.word is None:
        return None
    text = written.text[: wrong.start] + _like(wrong.word, written.text, wrong.start)
    return Opening(text, wrong.probability, written)


def _like(word: str, text: str, place: int) -> str:
    """A word with a capital where the word of a text at a place has one."""
    return word[0].upper() + word[1:] if text[place].isupper() else word
