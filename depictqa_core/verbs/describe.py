"""Describe: words about images that agree with the closed answers about them."""

from collections.abc import Sequence
from dataclasses import replace

from .. import answers, tasks
from ..backends.base import ImageSet, Opening, PairSet, SingleSet
from ..claims import Facts, Seen
from ..confidence import Encoder, brief_confidence, detailed_confidence, lowest
from ..images.references import identical
from ..results import Comparison, Description, Identification
from ..runtime.progress import OnText, ProgressCounter, renumbered
from ..tasks import ASSESSMENT, COMPARISON, IDENTIFICATION, RATING, SCORE, Task
from .agreement import write_in_agreement
from .asking import Asker
from .compare import compare
from .identify import grade, identify
from .score import Scorer

EXPLANATION_TOKENS = 400
SHORT_ANSWER_TOKENS = 16

_Known = tuple[list[Facts], list[Opening], list[float | None]]
"""What texts must agree with, what they begin with, and the coverage of that."""


class Describer:
    """Writes descriptions and explanations.

    Args:
        asker, scorer: ask the closed questions that the words must agree with.

    Attributes:
        encoder: texts -> unit vectors [N, D], for the confidence, or None.
    """

    def __init__(self, asker: Asker, scorer: Scorer):
        self.asker, self.scorer = asker, scorer
        self.encoder: Encoder | None = None

    def answer_briefly(
        self, task: Task, question: str, image_sets: Sequence[ImageSet], counter: ProgressCounter
    ) -> list[Description]:
        """Answer a short question of any kind: by the answers that it allows or lists, or else freely."""
        allowed = tasks.answers(task, question) if task.brief else ()
        options: dict[str, tuple[str, ...]] = {text: (text,) for text in allowed} or tasks.listed_answers(question)
        if not options:
            return self._answer_freely(task, question, image_sets, counter)
        spelled = [(text, spelling) for text, spellings in options.items() for spelling in spellings]
        spellings = [spelling for _, spelling in spelled]
        chosen = self.asker.backend.choose(task, question, image_sets, counter, options=spellings)
        described = []
        for images, row, coverage in zip(image_sets, *chosen):
            mass = dict.fromkeys(options, 0.0)
            for (text, _), probability in zip(spelled, row):
                mass[text] += float(probability)
            best = max(mass, key=mass.__getitem__)
            described.append(Description(images[0].name, best, mass[best], "allowed answers", float(coverage)))
        return described

    def _answer_freely(
        self, task: Task, question: str, image_sets: Sequence[ImageSet], counter: ProgressCounter
    ) -> list[Description]:
        written = self.asker.backend.write(task, question, image_sets, SHORT_ANSWER_TOKENS, counter)
        return [
            Description(
                images[0].name,
                answer.text,
                brief_confidence(answer.ids, answer.probabilities),
                "mean probability of the tokens",
            )
            for images, answer in zip(image_sets, written)
        ]

    def describe(
        self,
        task: Task,
        question: str | None,
        image_sets: Sequence[ImageSet],
        length: int,
        counter: ProgressCounter,
        on_text: OnText | None = None,
        count: int | None = None,
        compared: list[Comparison] | None = None,
    ) -> list[Description]:
        """Write detailed answers that agree with the closed ones.

        Args:
            length: longest answer in tokens.
            count: as in ``Judge.describe``.
            compared: the closed answers about pairs, where they are known.
        """
        self.asker.backend.require(task)
        if task is ASSESSMENT and question is None:
            known = {index for index, images in enumerate(image_sets) if identical(images[0], images[-1])}
            if known:
                return self._describe_the_rest(known, task, image_sets, length, counter, on_text, count)
        if task is COMPARISON:
            pairs = [images for images in image_sets if len(images) == 3]
            facts, openings, coverage = self._facts_of_pairs(pairs, compared, counter.silent())
        else:
            singles = [images for images in image_sets if len(images) == 2]
            own = question is not None and self.asker.backend.capabilities.free_questions
            facts, openings, coverage = self._facts_of_singles(singles, count, own, counter.silent())
        backend = self.asker.backend
        written = write_in_agreement(backend, task, question, image_sets, facts, openings, length, counter, on_text)
        described = []
        typical = self.asker.typical(image_sets, counter)
        for images, answer, covered, typicality in zip(image_sets, written, coverage, typical):
            confidence, method = detailed_confidence(
                answer.text, answer.ids, answer.probabilities, backend.decode, self.encoder
            )
            described.append(Description(images[0].name, answer.text, confidence, method, covered, typicality))
        return described

    def _describe_the_rest(
        self,
        known: set[int],
        task: Task,
        image_sets: Sequence[ImageSet],
        length: int,
        counter: ProgressCounter,
        on_text: OnText | None,
        count: int | None,
    ) -> list[Description]:
        """``describe`` for all but the images that equal their references."""
        left = [index for index in range(len(image_sets)) if index not in known]
        show = renumbered(on_text, left)
        some = [image_sets[index] for index in left]
        rest = iter(self.describe(task, None, some, length, counter, show, count) if left else ())
        counter.add(len(known))
        if on_text:
            for index in known:
                on_text(index, answers.IDENTICAL)
        return [
            answers.identical_description(images[0].name) if index in known else next(rest)
            for index, images in enumerate(image_sets)
        ]

    def _facts_of_singles(
        self, image_sets: Sequence[SingleSet], count: int | None, own: bool, counter: ProgressCounter
    ) -> _Known:
        """Find what descriptions must agree with, what they open with, and the coverage of that.

        Args:
            own: whether the question is the user's own, about anything: then nothing is known of its answer but what
                the backend opens it with.
        """
        asker, number = self.asker, len(image_sets)
        facts, openings, coverage = _nothing_known(number)
        if asker.names_first or (asker.supports(IDENTIFICATION) and not own):
            found = identify(asker, count, image_sets, counter)
            if asker.names_first:
                found = grade(asker, found, image_sets, counter)
                openings = [Opening(one.text, one.confidence, whole=True) for one in found]
            facts = [Facts(seen=_seen(one)) for one in found]
            coverage = [one.coverage for one in found]
        if asker.supports(SCORE) and not own:
            images, references = [image for image, _ in image_sets], [reference for _, reference in image_sets]
            scores = self.scorer.score(images, references, counter)
            levels = [max(score.levels, key=lambda item: item.probability) for score in scores]
            facts = [
                replace(fact, level=level.label, level_probability=level.probability)
                for fact, level in zip(facts, levels)
            ]
            coverage = [lowest(pair) for pair in zip(coverage, (score.coverage for score in scores))]
        return facts, openings, coverage

    def _facts_of_pairs(
        self, image_sets: Sequence[PairSet], compared: list[Comparison] | None, counter: ProgressCounter
    ) -> _Known:
        """The same for comparisons."""
        asker, number = self.asker, len(image_sets)
        if compared is None:
            if not asker.supports(RATING):
                return _nothing_known(number)
            compared = compare(asker, None, image_sets, counter)
        facts = [Facts(winner=one.verdict, winner_probability=one.confidence) for one in compared]
        openings = [Opening()] * number
        if asker.names_first:
            singles = [(image, reference) for a, b, reference in image_sets for image in (a, b)]
            found = grade(asker, identify(asker, None, singles, counter), singles, counter)
            seen = [_seen(one) for one in found]
            facts = [replace(fact, pair=both) for fact, both in zip(facts, zip(seen[::2], seen[1::2]))]
            openings = [
                Opening(
                    f"Image A shows {a.words()}, while Image B shows {b.words()}.", min(a.probability, b.probability)
                )
                for a, b in zip(seen[::2], seen[1::2])
            ]
        return facts, openings, [one.coverage for one in compared]


def _nothing_known(number: int) -> _Known:
    return [Facts()] * number, [Opening()] * number, [None] * number


def _seen(found: Identification) -> Seen:
    grades = tuple(tasks.GRADES[round(severity) - 1] for severity in found.severities or ())
    return Seen(found.labels, grades, found.confidence)
