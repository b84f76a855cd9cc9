"""The judge: ``load_judge(...)`` and its five verbs identify, describe, compare, score and rank."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import answers, questions, tasks
from .calibration import CALIBRATED, SELF_CONSISTENCY
from .checks import check
from .claims import Facts, Seen
from .confidence import brief_confidence, detailed_confidence, lowest
from .engine.engine import Chosen, Counter, Engine, OnText, Opening, Progress, Written
from .errors import TaskError
from .images.image import Picture, SizePolicy, as_picture, as_pictures
from .images.references import common_size, identical
from .loading.checkpoint import Checkpoint, checkpoint_folder, load_checkpoint, self_test_notices
from .prompts import REFERENCE, A, B, answer_ids, text_ids
from .ranking import assembly
from .ranking import bradley_terry as ranking
from .ranking.anchors import BEST, LADDER_SIZE, Anchor, load_anchors, place, reference_ladder
from .results import Comparison, Description, Identification, Ranking, Score
from .runtime.byte_cache import ByteCache
from .runtime.versions import ALWAYS, require
from .tasks import ASSESSMENT, COMPARISON, FAULT, IDENTIFICATION, QUESTION, RATING, SCORE, SEVERITY, Task

EXPLANATION_TOKENS = 400
SHORT_ANSWER_TOKENS = 16
CORRECTIONS = 8
"""How often one text is written on from a corrected word before what still contradicts is taken out."""
QUESTIONS = {1: tasks.ONE_ISSUE, 2: tasks.TWO_ISSUES}
"""How ``identify`` asks for so many distortions."""


def load_judge(
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    cache_bytes: int | None = None,
    anchors: str | Path | None = None,
    encoder: str | Path | None = None,
    compiled: bool = False,
    answers: ByteCache | None = None,
) -> "Judge":
    """Load a judge.

    Args:
        checkpoint: a checkpoint folder; None, "bundled" and "depictqa-mini" are the included one.
        device: "auto" (CUDA, then MPS, then CPU), any torch device, or "balanced" to spread a large model over several.
        dtype: "auto" (float16 for large models off the CPU, else float32), "float32", "float16" or "bfloat16" (these
            move probabilities by up to 0.01 and 0.06: prefer float16); or "int8" or "int4", which quantise the language
            model with the package bitsandbytes.
        cache_bytes: memory budget for the vision features that are kept between calls; the least recently used go
            first. None is room for 256 images of the largest size that this checkpoint sees, at least 256 MiB and at
            most a quarter of the free memory; 0 keeps none.
        anchors: a folder of anchor pictures (``anchors.load_anchors``) for the scores of a checkpoint that was never
            taught to score; None is the bundled set.
        encoder: the folder of a sentence encoder such as all-MiniLM-L6-v2, for the confidence of detailed answers; None
            has only the words of the verdict count.
        compiled: have ``torch.compile`` compile the language model at its first questions of each kind, which take
            about a minute longer: of use where thousands of pictures come.
        answers: where answers are stored, for callers that keep them longer than the judge; it must hold those of this
            checkpoint, dtype and device alone. None makes one.

    Raises:
        CheckpointError: a folder is missing, incomplete, damaged or no checkpoint, the dtype cannot be had, or
            nothing can be compiled here.
        TaskError, ImageError: the anchors cannot be used.
    """
    check(checkpoint=checkpoint, dtype=dtype, cache_bytes=cache_bytes, anchors=anchors, encoder=encoder)
    check(compiled=compiled, answers=answers)
    require(*ALWAYS)
    folder = checkpoint_folder(checkpoint)
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if dtype == "auto":
        large = (
            sum(path.stat().st_size for path in folder.glob("*.safetensors")) > 2**30
            if os.path.isdir(folder)
            else False
        )
        dtype = "float16" if large and device != "cpu" else "float32"
    checkpoint = load_checkpoint(folder, device, dtype)
    if dtype == "float32":  # a half-precision weight would round much of a small update away
        checkpoint.model.merge_lora()
    if compiled:
        from .engine.compiling import compile_language

        compile_language(checkpoint.model.language)
    judge = Judge(checkpoint, cache_bytes, answers)
    if anchors is not None:
        judge.anchors = load_anchors(anchors)
    if encoder is not None:
        from .loading.sentence_encoder import SentenceEncoder

        judge.encoder = SentenceEncoder(encoder, judge.device)
    return judge


class Judge:
    """One loaded checkpoint that answers questions about pictures.

    Pictures are anything that ``images.as_pictures`` takes: paths, PIL images, arrays, tensors, batches, or lists of
    them. A ``reference`` is one pristine picture for all, or one for each. Where the sizes differ, both are compared at
    the smaller size (``references.common_size``), and a picture that then equals its reference is the best possible,
    without a question to the network. Ask ``references.require_shape`` first where a reference may be of another
    scene. ``progress(done, total)`` is called after every piece of work; what it raises stops the work and passes
    through. Picture embeddings and answers are kept within memory budgets, so a call that was stopped or failed resumes
    where it was when it is repeated. Several threads may ask one judge at a time.

    Attributes:
        model: the network; may be moved between devices from outside.
        tokenizer: of its language model.
        info: name, version, licence and training data of the checkpoint.
        engine: asks the questions.
        anchors: what pictures without a reference are compared with where the checkpoint was never taught to score.
        encoder: texts -> unit vectors [N, D], for the confidence of detailed answers, or None.
        notices: lines about the checkpoint that a user should read, such as a failed self-test.
    """

    def __init__(self, checkpoint: Checkpoint, cache_bytes: int | None = None, answers: ByteCache | None = None):
        self.model, self.tokenizer, self.info = checkpoint.model, checkpoint.tokenizer, checkpoint.card
        self.engine = Engine(checkpoint, cache_bytes, answers)
        self.anchors, self.encoder = None, None
        self.notices = self_test_notices(self.info)
        self._calibrated_anchors = False

    @property
    def device(self):
        """Where the network is now."""
        return self.engine.device

    # ------------------------------------------------------------------ verbs

    def identify(
        self,
        pictures,
        reference=None,
        *,
        count: int | None = 1,
        faults: bool | None = None,
        progress: Progress | None = None,
    ) -> list[Identification]:
        """Name the distortions of each picture, and the faults of its generation and delivery.

        Args:
            count: 1 for the most critical distortion, 2 for two of them, None to leave the number to the model: it is
                asked for two where it finds two more probable than one or none.

            faults: whether each fault of ``tasks.FAULTS`` is asked for, too; None: where the model was taught them.

        Returns:
            one Identification per picture, in order. The 13 label probabilities are exact for the question asked. A
            model that was taught to also grades each distortion that it names.
        """
        check(count=count, faults=faults, progress=progress)
        _check_count(count)
        if faults:
            self.engine.require(FAULT)
        pictures, references = self._inputs(pictures, reference)
        report = Counter(progress, len(pictures))
        asked = list(zip(pictures, references))
        found = self._identified(count, asked, report)
        found = self._graded(found, asked, report) if self._knows(SEVERITY) else found
        return self._with_faults(found, asked, report) if faults is not False and self._knows(FAULT) else found

    def describe(
        self,
        pictures,
        reference=None,
        *,
        question: str | None = None,
        count: int | None = None,
        max_new_tokens: int = 400,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[Description]:
        """Say in words what is wrong with each picture and how good it is overall.

        The words agree with ``identify`` and ``score`` of a checkpoint that supports these: where a description names
        only other distortions, another grade or another level, it is written on from the right word, and what still
        contradicts is left out.

        Args:
            question: another wording of the question. A checkpoint that takes free questions answers what is asked for,
                also in one word (``tasks.QUESTION``); others take only other words for the same
                (``questions.require_trained``).
            count: how many distortions are named, as in ``identify``: a checkpoint whose descriptions open with their
                names (``names_first``) names exactly what ``identify`` names; others decide for themselves (None).
            max_new_tokens: longest answer in tokens, from 1; a longer one is cut off there.
            on_text: called as ``on_text(index of the picture, its text so far)`` after every token.
        """
        check(question=question, count=count, max_new_tokens=max_new_tokens, progress=progress, on_text=on_text)
        _check_count(count)
        if count is not None and not self._names_first:
            raise TaskError(f"{self.engine.name} decides itself how many distortions it describes: leave count out")
        question = self._worded(question, ASSESSMENT)
        pictures, references = self._inputs(pictures, reference)
        asked = list(zip(pictures, references))
        report = Counter(progress, len(asked))
        task = tasks.task_of(question or ASSESSMENT.question, pair=False)
        if task is not ASSESSMENT:
            return self._said_briefly(task, question, asked, report)
        return self._described(task, question, asked, max_new_tokens, report, on_text, count)

    def score(self, pictures, reference=None, *, progress: Progress | None = None) -> list[Score]:
        """Rate each picture from 0 (worst) to 100 (flawless).

        The model is asked for a rating level; the score is the mean of the five levels' points (100, 75, 50, 25, 0)
        under the probabilities that the model gives them, and the spread their standard deviation. A model that does
        not support the levels, or whose comparisons follow personal preferences, compares each picture with anchor
        pictures of known quality, or with its reference and degraded copies of that (``anchors``).
        """
        check(progress=progress)
        pictures, references = self._inputs(pictures, reference)
        return self._scored(pictures, references, Counter(progress, self._score_questions(references)))

    def compare(
        self,
        a,
        b,
        reference=None,
        *,
        explain: bool = False,
        question: str | None = None,
        progress: Progress | None = None,
    ) -> Comparison:
        """Decide which of two pictures is better.

        Both orders (A first, B first) are asked and averaged; how far they lie apart is reported as disagreement.

        Args:
            explain: also have the model explain its verdict in words. They agree with it: the text is written on from
                every word that names another winner, and what still contradicts is left out. A tie names no winner.
            question: another wording of the question, as in ``describe``. It must ask for the better image.
        """
        pair = (as_picture(a, "image A"), as_picture(b, "image B"))
        reference = None if reference is None else as_picture(reference, "reference")
        return self.compare_many([pair], [reference], explain=explain, question=question, progress=progress)[0]

    def compare_many(
        self,
        pairs: Sequence[tuple],
        references: Sequence | None = None,
        *,
        explain: bool = False,
        question: str | None = None,
        progress: Progress | None = None,
    ) -> list[Comparison]:
        """``compare`` for many pairs at once; ``references`` has one picture or None per pair."""
        check(explain=explain, question=question, progress=progress)
        try:
            pairs, references = [(a, b) for a, b in pairs], [] if references is None else list(references)
        except (TypeError, ValueError):
            raise TaskError("pairs and references: give a list of pairs (A, B), and a list of references") from None
        pairs = [(as_picture(a, "image A"), as_picture(b, "image B")) for a, b in pairs]
        references = references or [None] * len(pairs)
        if len(references) != len(pairs):
            raise TaskError(f"{len(references)} references for {len(pairs)} pairs: give one for each pair, or none")
        references = [None if r is None else as_picture(r, "reference") for r in references]
        total = len(pairs) * (3 if explain else 2)
        question = self._worded(question, RATING)
        asked = [(*pair, r) for pair, r in _fitted(list(zip(pairs, references)))]
        report = Counter(progress, total)
        compared = self._compared(question, asked, report)
        if explain:
            texts = self._described(COMPARISON, None, asked, EXPLANATION_TOKENS, report, compared=compared)
            compared = [replace(one, text=words.text) for one, words in zip(compared, texts)]
        return compared

    def rank(
        self,
        pictures,
        reference=None,
        *,
        method: str = "pairs",
        reasons: bool = True,
        top_k: int | None = None,
        confidence: float = 0.95,
        budget: int | None = None,
        progress: Progress | None = None,
    ) -> Ranking:
        """Order pictures from best to worst. The rank of a picture is one more than how many are surely (95 %) better.

        Args:
            method: "pairs" compares pictures in both orders and fits Bradley-Terry strengths with 95 % intervals (all
                pairs when few, the least certain ones when many); "score" rates each picture alone.
            reasons: also name each picture's distortion and give a one-sentence reason.
            top_k: only which pictures are the best ``top_k`` matters (None: the whole order): with "pairs", no more is
                asked once they are decided. All pictures are placed all the same.
            confidence: 0.5..1, the probability of the right best ``top_k`` at which they are decided.
            budget: most pairs to compare, each in both orders; None is all of up to 12 pictures and
                1.25 n log2 n of n. The Ranking says how many were asked, and why no more were.
        """
        check(method=method, reasons=reasons, top_k=top_k, confidence=confidence, budget=budget, progress=progress)
        if method not in ("pairs", "score"):
            raise TaskError(f"unknown ranking method '{method}': choose pairs or score")
        pictures, references = self._inputs(pictures, reference)
        if not pictures:
            raise TaskError("there are no pictures to rank")
        if method == "pairs":
            self.engine.require(RATING)
        scored = method == "score" or self._rates  # by anchors it would cost more than the ranking
        named = reasons and self._knows(IDENTIFICATION)
        pairs = ranking.within_budget(len(pictures), budget) if method == "pairs" else 0
        questions = scored * self._score_questions(references) + named * len(pictures) + 2 * pairs
        report = Counter(progress, questions)
        scores = self._scored(pictures, references, report) if scored else None
        found = self._identified(1, list(zip(pictures, references)), report) if named else None
        if method == "score":
            facts = (scores, found, "score", [])
            return assembly.assemble(pictures, *assembly.order_by_score(scores), *facts, certainty=scores[0].certainty)
        asked: list[Comparison] = []
        beginnings = self.engine.beginnings()  # every picture comes again in later rounds

        def ask(chosen: list[tuple[int, int]]) -> list[float]:
            pairs = [((pictures[i], pictures[j]), _larger(references[i], references[j])) for i, j in chosen]
            some = [(*pair, reference) for pair, reference in _fitted(pairs)]
            new = self._compared(None, some, report, beginnings)
            asked.extend(new)
            return [answer.probability_a for answer in new]

        calibration = self.model.config.order_calibration(references[0] is not None)
        limits = {"budget": pairs, "top": top_k, "confidence": confidence}
        outcome = ranking.rank_pairs(len(pictures), ask, **limits, calibration=calibration)
        report.finish()
        strengths = outcome.strengths
        places = ranking.order(strengths, [score.score for score in scores] if scores else None)
        apart = ranking.told_apart(strengths)
        bounds = [(float(strengths.values[i]), float(strengths.low[i]), float(strengths.high[i])) for i in places]
        certainty = SELF_CONSISTENCY if calibration is None else CALIBRATED
        facts = (scores, found, "pairs", asked, pairs, outcome.stopped, certainty)
        return assembly.assemble(pictures, places, lambda i, j: not apart[i, j], bounds, *facts)

    def look(self, pictures, reference=None, *, progress: Progress | None = None) -> None:
        """Encode pictures ahead, so that their pixels may be forgotten while they are judged.

        The other verbs do this by themselves; it is of use before ``rank`` where the pictures come a few at a time and
        can be read again (``files.FilePicture``): then not all of them are in memory together.
        """
        check(progress=progress)
        pictures, references = self._inputs(pictures, reference)
        self.engine.look(list(zip(pictures, references)), Counter(progress, len(pictures)))

    # ------------------------------------------------------------------ asking

    def ask(
        self, picture_roles: Sequence[dict[str, Picture]], task: Task, question: str, progress: Progress | None = None
    ):
        """Ask one question, worded as given, about several sets of pictures (roles "reference", "A", "B").

        Returns:
            for brief tasks (answers, probabilities [N, len(answers)]); for detailed ones a list of Descriptions.
        """
        check(task=task, question=question, progress=progress)
        if not isinstance(picture_roles, (list, tuple)) or not all(isinstance(one, dict) for one in picture_roles):
            raise TaskError("picture_roles: give a list of sets of pictures, each a dict by role")
        asked = [
            tuple(roles.get(role) for role in ((A, B) if task.pair else (A,)) + (REFERENCE,)) for roles in picture_roles
        ]
        report = Counter(progress, len(asked))
        if task.brief:
            return tasks.answers(task, question), self.engine.choose(task, question, asked, report).probabilities
        if task.name == QUESTION.name:
            return self._said_briefly(task, question, asked, report)
        return self._described(task, question, asked, EXPLANATION_TOKENS, report)

    def self_test(self) -> dict[str, float]:
        """Ask every closed question that the checkpoint supports about shipped images.

        Returns:
            for each task the mean coverage, 0..1. A checkpoint in order has nearly 1; below
            ``confidence.LOW_COVERAGE`` its weights, or the language model or vision tower below them, are others than
            those that it was trained with.
        """
        shown = [anchor.picture for anchor in load_anchors()]
        best, worst = shown[0], shown[-1]
        single, silent = [(best, None), (worst, None)], Counter(None, 0)
        found = {}
        for task in (IDENTIFICATION, RATING, SCORE, SEVERITY):
            if self._knows(task):
                asked = [(best, worst, None), (worst, best, None)] if task.pair else single
                found[task.name] = float(self.engine.choose(task, None, asked, silent).coverage.mean())
        return found

    def _worded(self, question: str | None, task: Task) -> str | None:
        """The user's wording of a question, None for none; raises TaskError if the checkpoint does not support it."""
        question = (question or "").strip() or None
        if question and not self.model.config.free_questions:
            questions.require_trained(question, task, self.engine.name)
        if question and task is RATING:
            if tasks.task_of(task.ask(question), True) is not RATING:
                raise TaskError(
                    f"question '{question}': it cannot be answered by Image A or Image B; "
                    "ask which of the two is better"
                )
            questions.require_better(question)
        return question

    def _inputs(self, pictures, reference) -> tuple[list[Picture], list[Picture | None]]:
        pictures = as_pictures(pictures)
        if reference is None:
            return pictures, [None] * len(pictures)
        references = as_pictures(reference, "reference")
        if len(references) == 1:
            references = references * len(pictures)
        if len(references) != len(pictures):
            raise TaskError(
                f"{len(references)} references for {len(pictures)} pictures: give one for all, or one for each picture"
            )
        fitted = _fitted([((picture,), reference) for picture, reference in zip(pictures, references)])
        return [picture for (picture,), _ in fitted], [reference for _, reference in fitted]

    def _choose(self, task: Task, question: str | None, asked: list[tuple], report: Counter, beginnings=None) -> Chosen:
        """``Engine.choose`` for all that ``answers.decided`` does not decide."""
        options = tasks.answers(task, question or task.question)
        rows = [answers.decided(task, options, pictures) for pictures in asked]
        left = [index for index, row in enumerate(rows) if row is None]
        if len(left) == len(asked):
            return self.engine.choose(task, question, asked, report, beginnings)
        probabilities, coverage = np.zeros((len(asked), len(options))), np.ones(len(asked))
        for index, row in enumerate(rows):
            if row is not None:
                probabilities[index] = row
        probabilities[left], coverage[left] = self.engine.choose(
            task, question, [asked[index] for index in left], report, beginnings
        )
        report.add(len(asked) - len(left))
        return Chosen(probabilities, coverage)

    def _identified(self, count: int | None, asked: list[tuple], report: Counter) -> list[Identification]:
        """Brief answers to the question for ``count`` distortions; without a count, for as many as are probable."""
        counts = [count] * len(asked) if count else self._probable_counts(asked, report.silent())
        found: list[Identification | None] = [None] * len(asked)
        for number, question in QUESTIONS.items():
            members = [index for index, wanted in enumerate(counts) if wanted == number]
            options = tasks.answers(IDENTIFICATION, question)
            chosen = self._choose(IDENTIFICATION, question, [asked[index] for index in members], report)
            for index, row, coverage in zip(members, *chosen):
                certainty = self._certainty(IDENTIFICATION, question, asked[index][-1])
                name = asked[index][0].name
                found[index] = answers.identification(name, options, row, float(coverage), certainty)
        return found

    def _probable_counts(self, asked, report: Counter) -> list[int]:
        """1 or 2 for each picture: 2 where the open question finds two distortions more probable than one or none."""
        options = tasks.answers(IDENTIFICATION, IDENTIFICATION.question)
        pairs = [len(tasks.parse_labels(option)) == 2 for option in options]
        rows = self._choose(IDENTIFICATION, IDENTIFICATION.question, asked, report).probabilities
        return [2 if row[pairs].sum() > 0.5 else 1 for row in rows]

    def _graded(self, found: list[Identification], asked: list[tuple], report: Counter) -> list[Identification]:
        """The same answers with the severity of every distortion that they name."""
        grades = [{} for _ in found]
        for label in dict.fromkeys(label for answer in found for label in answer.labels):
            members = [index for index, answer in enumerate(found) if label in answer.labels]
            some = [asked[index] for index in members]
            chosen = self.engine.choose(SEVERITY, tasks.severity_question(label), some, report.silent())
            for index, row, coverage in zip(members, *chosen):
                mean = float(sum(p * severity for severity, p in enumerate(row, start=1)))
                grades[index][label] = mean, float(coverage)
        return [answers.graded(answer, grade) for answer, grade in zip(found, grades)]

    def _with_faults(self, found: list[Identification], asked: list[tuple], report: Counter) -> list[Identification]:
        """The same answers with the probability of every fault; the questions share the prompt up to a fault's name."""
        beginnings, yes = self.engine.beginnings(), tasks.FAULT_ANSWERS.index("Yes")
        columns = [
            self._choose(FAULT, tasks.fault_question(fault), asked, report.silent(), beginnings).probabilities[:, yes]
            for fault in tasks.FAULTS
        ]
        rows = (dict(zip(tasks.FAULTS, map(float, row))) for row in zip(*columns))
        return [answers.with_faults(answer, row) for answer, row in zip(found, rows)]

    def _knows(self, task: Task) -> bool:
        return task.name in self.model.config.tasks

    @property
    def _rates(self) -> bool:
        """Whether scores are means of rating levels; else they are placed among anchors by comparison."""
        return self._knows(SCORE) and not self.model.config.personal

    @property
    def _names_first(self) -> bool:
        return self.model.config.names_first and self._knows(IDENTIFICATION)

    def _certainty(self, task: Task, question: str | None, reference: Picture | None) -> str:
        """What the confidence of a brief answer is."""
        names = tasks.temperature_names(task, question or task.question, reference is not None)
        return CALIBRATED if self.model.config.has_temperature(names) else SELF_CONSISTENCY

    def _scored(self, pictures, references, report: Counter) -> list[Score]:
        known = [self.model.config.score_calibration(reference is not None) for reference in references]
        equal = [identical(picture, reference) for picture, reference in zip(pictures, references)]
        if self._rates:
            chosen = zip(pictures, *self._choose(SCORE, None, list(zip(pictures, references)), report), known)
            found = [answers.score(picture.name, row, float(c), one) for picture, row, c, one in chosen]
            return [answers.flawless(one) if best else one for one, best in zip(found, equal)]
        beside = self._anchors_beside(references)
        asked = [(p, a.picture, r) for p, r, anchors in zip(pictures, references, beside) for a in anchors]
        compared, scores = iter(self._compared(None, asked, report)), []
        for picture, reference, anchors, calibration, best in zip(pictures, references, beside, known, equal):
            duels = [next(compared) for _ in anchors]
            where = place([duel.probability_a for duel in duels], [anchor.position for anchor in anchors])
            covered = lowest(duel.coverage for duel in duels)
            calibration = calibration if reference or self._calibrated_anchors else None
            one = answers.anchored_score(picture.name, BEST if best else where, covered, calibration)
            scores.append(answers.flawless(one) if best else one)
        return scores

    def _score_questions(self, references) -> int:
        """How many questions ``_scored`` asks; raises TaskError if the checkpoint cannot score in any way."""
        if self._rates:
            return len(references)
        self.engine.require(RATING if self._knows(RATING) else SCORE)
        return 2 * sum(LADDER_SIZE if reference else len(self._fixed_anchors()) for reference in references)

    def _anchors_beside(self, references) -> list[tuple[Anchor, ...]]:
        """For each picture, by its reference or None, the anchors that it is compared with."""
        policy = SizePolicy(**self.model.config.size)
        distinct = {reference.key: reference for reference in references if reference}
        ladders = {key: reference_ladder(reference, policy) for key, reference in distinct.items()}
        return [ladders[reference.key] if reference else self._fixed_anchors() for reference in references]

    def _fixed_anchors(self) -> tuple[Anchor, ...]:
        if self.anchors is None:
            self.anchors, self._calibrated_anchors = load_anchors(), True  # of others the errors are not known
        return self.anchors

    def _compared(self, question: str | None, asked: list[tuple], report: Counter, beginnings=None) -> list[Comparison]:
        """Comparisons of (A, B, reference), each asked in both orders; ``beginnings`` as in ``Engine.choose``."""
        turned = [(b, a, reference) for a, b, reference in asked]
        rows, coverage = self._choose(RATING, question, asked + turned, report, beginnings)
        covered = np.minimum(coverage[: len(asked)], coverage[len(asked) :])
        return [
            answers.comparison(
                a.name,
                b.name,
                float(forward[0]),
                float(backward[1]),
                coverage=float(least),
                certainty=self._certainty(RATING, question, reference),
            )
            for (a, b, reference), forward, backward, least in zip(
                asked, rows[: len(asked)], rows[len(asked) :], covered
            )
        ]

    # ------------------------------------------------------------------ words

    def _said_briefly(self, task: Task, question: str, asked, report: Counter) -> list[Description]:
        """Short answers to a question of any kind: over the answers that it allows or lists, or else free."""
        options = {text: (text,) for text in tasks.answers(task, question)} if task.brief else {}
        options = options or tasks.listed_answers(question)
        if not options:
            written = self.engine.write(task, question, asked, SHORT_ANSWER_TOKENS, report)
            end = answer_ids("", self.tokenizer)
            sure = [brief_confidence(one.ids, one.probabilities, end) for one in written]
            return [
                Description(pictures[0].name, one.text, confidence, "mean probability of the tokens")
                for pictures, one, confidence in zip(asked, written, sure)
            ]
        spelled = [(text, spelling) for text, spellings in options.items() for spelling in spellings]
        chosen = self.engine.choose(task, question, asked, report, options=[spelling for _, spelling in spelled])
        described = []
        for pictures, row, coverage in zip(asked, *chosen):
            mass = dict.fromkeys(options, 0.0)
            for (text, _), probability in zip(spelled, row):
                mass[text] += float(probability)
            best = max(mass, key=mass.get)
            described.append(Description(pictures[0].name, best, mass[best], "allowed answers", float(coverage)))
        return described

    def _described_around(self, known: set[int], task, asked, length, report, on_text, count) -> list[Description]:
        """``_described`` for all but the pictures that equal their references."""
        left = [index for index in range(len(asked)) if index not in known]
        show = on_text and (lambda index, text: on_text(left[index], text))
        rest = iter(self._described(task, None, [asked[i] for i in left], length, report, show, count) if left else ())
        report.add(len(known))
        if on_text:
            for index in known:
                on_text(index, answers.IDENTICAL)
        return [
            answers.identical_description(pictures[0].name) if index in known else next(rest)
            for index, pictures in enumerate(asked)
        ]

    def _described(
        self,
        task: Task,
        question: str | None,
        asked,
        length: int,
        report: Counter,
        on_text=None,
        count=None,
        compared=None,
    ) -> list[Description]:
        """Detailed answers that agree with the closed ones; ``compared`` are those about pairs, if they are known."""
        self.engine.require(task)
        if task is ASSESSMENT and question is None:
            known = {index for index, (picture, reference) in enumerate(asked) if identical(picture, reference)}
            if known:
                return self._described_around(known, task, asked, length, report, on_text, count)
        if task is COMPARISON:
            facts, openings, coverage = self._facts_of_pairs(asked, compared, report.silent())
        else:
            own = question is not None and self.model.config.free_questions
            facts, openings, coverage = self._facts_of_singles(asked, count, own, report.silent())
        answered = self._agreeing(task, question, asked, facts, openings, length, report, on_text)
        described = []
        for pictures, written, covered in zip(asked, answered, coverage):
            confidence, method = detailed_confidence(
                written.text, written.ids, written.probabilities, self.engine.decode, self.encoder
            )
            described.append(Description(pictures[0].name, written.text, confidence, method, covered))
        return described

    def _facts_of_singles(self, asked, count: int | None, own: bool, report: Counter):
        """What descriptions must agree with, what they open with, and the coverage of that.

        Args:
            own: whether the question is the user's own, about whatever it may be: then nothing is known of its answer
                but what the checkpoint opens it with.
        """
        facts, openings, coverage = [Facts()] * len(asked), [Opening()] * len(asked), [None] * len(asked)
        if self._names_first or (self._knows(IDENTIFICATION) and not own):
            found = self._identified(count, asked, report)
            if self._names_first:
                found = self._graded(found, asked, report) if self._knows(SEVERITY) else found
                openings = [Opening(one.text, one.confidence, whole=True) for one in found]
            facts = [Facts(seen=_seen(one)) for one in found]
            coverage = [one.coverage for one in found]
        if self._knows(SCORE) and not own:
            scores = self._scored([picture for picture, _ in asked], [reference for _, reference in asked], report)
            levels = [max(score.levels, key=lambda item: item.probability) for score in scores]
            facts = [
                replace(fact, level=level.label, level_probability=level.probability)
                for fact, level in zip(facts, levels)
            ]
            coverage = [lowest(pair) for pair in zip(coverage, (score.coverage for score in scores))]
        return facts, openings, coverage

    def _facts_of_pairs(self, asked, compared: list[Comparison] | None, report: Counter):
        """The same for comparisons."""
        if compared is None:
            if not self._knows(RATING):
                return [Facts()] * len(asked), [Opening()] * len(asked), [None] * len(asked)
            compared = self._compared(None, asked, report)
        facts = [Facts(winner=one.verdict, winner_probability=one.confidence) for one in compared]
        openings = [Opening()] * len(asked)
        if self._names_first:
            singles = [(image, reference) for a, b, reference in asked for image in (a, b)]
            found = self._identified(None, singles, report)
            found = self._graded(found, singles, report) if self._knows(SEVERITY) else found
            seen = [_seen(one) for one in found]
            facts = [replace(fact, pair=both) for fact, both in zip(facts, zip(seen[::2], seen[1::2]))]
            openings = [
                Opening(
                    f"Image A shows {a.words()}, while Image B shows {b.words()}.", min(a.probability, b.probability)
                )
                for a, b in zip(seen[::2], seen[1::2])
            ]
        return facts, openings, [one.coverage for one in compared]

    def _agreeing(
        self,
        task: Task,
        question,
        asked,
        facts: list[Facts],
        openings: list[Opening],
        length: int,
        report: Counter,
        on_text,
    ) -> list[Written]:
        """Written answers without contradictions to the facts about them.

        An answer is written on from the first word that contradicts a fact, with the right word in its place, until
        none does. What cannot be mended so is taken out, and the fact is stated instead.
        """
        limits = [length + len(text_ids(opening.text, self.tokenizer)) for opening in openings]
        found = self.engine.write(task, question, asked, length, report, on_text, openings)
        wrong = {index: facts[index].contradiction(written.text) for index, written in enumerate(found)}
        for _ in range(CORRECTIONS):
            wrong = {index: one for index, one in wrong.items() if one is not None and one.word is not None}
            if not wrong:
                break
            members = list(wrong)
            mended = [
                Opening(
                    found[i].text[: wrong[i].start] + _like(wrong[i].word, found[i].text, wrong[i].start),
                    wrong[i].probability,
                    found[i],
                )
                for i in members
            ]
            heard = on_text and (lambda place, text, members=members: on_text(members[place], text))
            some = [asked[index] for index in members]
            for index, written in zip(
                members, self.engine.write(task, question, some, length, report.silent(), heard, mended)
            ):
                ids, probabilities = written.ids[: limits[index]], written.probabilities[: limits[index]]
                found[index] = Written(self.engine.text(ids), ids, probabilities)
            wrong = {index: facts[index].contradiction(found[index].text) for index in members}
        for index, (fact, written) in enumerate(zip(facts, found)):
            text = fact.settle(written.text)
            if text != written.text:
                found[index] = self.engine.tokens(text, fact.probability, written)
                if on_text:
                    on_text(index, text)
        return found


def _seen(found: Identification) -> Seen:
    grades = tuple(tasks.GRADES[round(severity) - 1] for severity in found.severities or ())
    return Seen(found.labels, grades, found.confidence)


def _like(word: str, text: str, place: int) -> str:
    """A word with a capital where the word of a text at a place has one."""
    return word[0].upper() + word[1:] if text[place].isupper() else word


def _fitted(asked: list[tuple[tuple[Picture, ...], Picture | None]]) -> list[tuple]:
    """Pictures and their references at common sizes."""
    return [(judged, None) if reference is None else common_size(judged, reference) for judged, reference in asked]


def _larger(a: Picture | None, b: Picture | None) -> Picture | None:
    """Of the references of two pictures that are compared, the one that none of the pictures must be enlarged to."""
    if a is None or b is None:
        return a
    return b if b.height * b.width > a.height * a.width else a


def _check_count(count: int | None) -> None:
    if count is not None and count not in QUESTIONS:
        raise TaskError(f"the judge cannot name {count} distortions: choose a count of 1, 2 or None")
