"""Written answers without contradictions to the closed answers about the same images."""

from collections.abc import Sequence

from ..backends.base import Backend, ImageSet, Opening, WrittenAnswer
from ..claims import Facts
from ..runtime.progress import OnText, ProgressCounter
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
    wrong = {index: facts[index].contradiction(answer.text) for index, answer in enumerate(written)}
    for _ in range(CORRECTIONS):
        wrong = {index: one for index, one in wrong.items() if one is not None and one.word is not None}
        if not wrong:
            break
        members = list(wrong)
        corrected = [
            Opening(
                written[i].text[: wrong[i].start] + _like(wrong[i].word, written[i].text, wrong[i].start),
                wrong[i].probability,
                written[i],
            )
            for i in members
        ]
        show = on_text and (lambda place, text, members=members: on_text(members[place], text))
        some = [image_sets[index] for index in members]
        again = backend.write(task, question, some, length, counter.silent(), show, corrected)
        for index, answer in zip(members, again):
            ids, probabilities = answer.ids[: limits[index]], answer.probabilities[: limits[index]]
            written[index] = WrittenAnswer(backend.text(ids), ids, probabilities)
        wrong = {index: facts[index].contradiction(written[index].text) for index in members}


def _like(word: str, text: str, place: int) -> str:
    """A word with a capital where the word of a text at a place has one."""
    return word[0].upper() + word[1:] if text[place].isupper() else word
