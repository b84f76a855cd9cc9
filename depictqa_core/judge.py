"""The judge: ``load_judge(...)`` and its five verbs identify, describe, compare, score and rank."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from . import answers, ranking, tasks
from .checkpoints import BUNDLED, Checkpoint, load_checkpoint
from .confidence import detailed_confidence
from .errors import CheckpointError, TaskError
from .images import Picture, SizePolicy, as_picture, as_pictures
from .prompts import REFERENCE, A, B, answer_ids, encode, layout
from .results import Comparison, Description, Identification, Ranking, Score
from .tasks import ASSESSMENT, COMPARISON, IDENTIFICATION, RATING, SCORE, Task

Progress = Callable[[int, int], None]
CACHE_BYTES = 256 * 2**20
"""Memory budget for picture embeddings that are kept between calls; the least recently used go first."""
BATCH = 16


def load_judge(checkpoint: str | Path | None = None, device: str = "auto", dtype: str = "auto") -> "Judge":
    """Load a judge.

    Args:
        checkpoint: a checkpoint folder; None is the bundled depictqa-mini.
        device: "auto" (CUDA, then MPS, then CPU), any torch device, or "balanced" to spread a large model over several.
        dtype: "auto" (float16 for large models off the CPU, else float32), "float32", "float16" or "bfloat16".

    Raises:
        CheckpointError: the folder is missing, incomplete, damaged or no checkpoint.
    """
    folder = Path(checkpoint) if checkpoint is not None else BUNDLED
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if dtype == "auto":
        large = sum(path.stat().st_size for path in folder.glob("*.safetensors")) > 2**30 if folder.is_dir() else False
        dtype = "float16" if large and device != "cpu" else "float32"
    return Judge(load_checkpoint(folder, device, dtype))


class Judge:
    """One loaded checkpoint that answers questions about pictures.

    Pictures are anything that ``images.as_pictures`` takes: paths, PIL images, arrays, tensors, batches, or lists of
    them. A ``reference`` is one pristine picture for all, or one for each. ``progress(done, total)`` is called after
    every piece of work; what it raises stops the work and passes through.

    Attributes:
        model: the network; may be moved between devices from outside.
        info: name, version, licence and training data of the checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.model, self.tokenizer, self.info = checkpoint.model, checkpoint.tokenizer, checkpoint.card
        self._pooled: OrderedDict[str, object] = OrderedDict()
        self._pooled_bytes = 0

    @property
    def device(self):
        """Where the network is now."""
        return next(self.model.parameters()).device

    # ------------------------------------------------------------------ verbs

    def identify(
        self, pictures, reference=None, *, count: int | None = 1, progress: Progress | None = None
    ) -> list[Identification]:
        """Name the distortions of each picture.

        Args:
            count: 1 for the most critical distortion, 2 for two of them, None to leave the number to the model.

        Returns:
            one Identification per picture, in order. The 13 label probabilities are exact for the question asked.
        """
        questions = {1: tasks.ONE_ISSUE, 2: tasks.TWO_ISSUES, None: IDENTIFICATION.question}
        if count not in questions:
            raise TaskError(f"the judge cannot name {count} distortions: choose a count of 1, 2 or None")
        question = questions[count]
        pictures, references = self._inputs(pictures, reference)
        options = tasks.answers(IDENTIFICATION, question)
        rows = self._brief(IDENTIFICATION, question, list(zip(pictures, references)), options, progress)
        return [answers.identification(picture.name, options, row) for picture, row in zip(pictures, rows)]

    def describe(
        self,
        pictures,
        reference=None,
        *,
        question: str | None = None,
        max_new_tokens: int = 400,
        progress: Progress | None = None,
    ) -> list[Description]:
        """Say in words what is wrong with each picture and how good it is overall.

        Args:
            question: another wording of the question.
            max_new_tokens: longest answer in tokens, from 1; a longer one is cut off there.
        """
        if max_new_tokens < 1:
            raise TaskError(f"max_new_tokens is {max_new_tokens}: give at least 1")
        pictures, references = self._inputs(pictures, reference)
        return self._detailed(ASSESSMENT, question, list(zip(pictures, references)), max_new_tokens, progress)

    def score(self, pictures, reference=None, *, progress: Progress | None = None) -> list[Score]:
        """Rate each picture from 0 (worst) to 100 (flawless).

        The model is asked for a rating level; the score is the mean of the five levels' points (100, 75, 50, 25, 0)
        under the probabilities that the model gives them, and the spread their standard deviation.
        """
        pictures, references = self._inputs(pictures, reference)
        return self._scores(pictures, references, progress)

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
            explain: also have the model explain its comparison in words.
            question: another wording of the question.
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
        pairs = [(as_picture(a, "image A"), as_picture(b, "image B")) for a, b in pairs]
        references = references or [None] * len(pairs)
        if len(references) != len(pairs):
            raise TaskError(f"{len(references)} references for {len(pairs)} pairs: give one for each pair, or none")
        references = [None if r is None else as_picture(r, "reference") for r in references]
        total = len(pairs) * (3 if explain else 2)
        asked = [(*pair, r) for pair, r in zip(pairs, references)] + [(b, a, r) for (a, b), r in zip(pairs, references)]
        report = _Counter(progress, total)
        rows = self._brief(RATING, question, asked, tasks.WINNERS, report)
        texts = [None] * len(pairs)
        if explain:
            texts = [d.text for d in self._detailed(COMPARISON, None, asked[: len(pairs)], 400, report)]
        forward, backward = rows[: len(pairs)], rows[len(pairs) :]
        return [
            answers.comparison(a.name, b.name, float(first[0]), float(second[1]), text)
            for (a, b), first, second, text in zip(pairs, forward, backward, texts)
        ]

    def rank(
        self,
        pictures,
        reference=None,
        *,
        method: str = "pairs",
        reasons: bool = True,
        progress: Progress | None = None,
    ) -> Ranking:
        """Order pictures from best to worst.

        Args:
            method: "pairs" compares pictures in both orders and fits Bradley-Terry strengths with 95 % intervals (all
                pairs when few, the least certain ones when many); "score" rates each picture once.
            reasons: also name each picture's distortion and give a one-sentence reason.
        """
        if method not in ("pairs", "score"):
            raise TaskError(f"unknown ranking method '{method}': choose pairs or score")
        pictures, references = self._inputs(pictures, reference)
        if not pictures:
            raise TaskError("there are no pictures to rank")
        self._require(RATING if method == "pairs" else SCORE)
        scored, named = (task.name in self.model.config.tasks for task in (SCORE, IDENTIFICATION))
        named = named and reasons
        pairs = ranking.default_budget(len(pictures)) if method == "pairs" else 0
        report = _Counter(progress, len(pictures) * (scored + named) + 2 * pairs)
        scores = self._scores(pictures, references, report) if scored else None
        found = self._main_issues(pictures, references, report) if named else None
        if method == "score":
            return answers.ranking(pictures, *answers.order_by_score(scores), scores, found, "score", [])
        asked: list[Comparison] = []

        def ask(chosen: list[tuple[int, int]]) -> list[float]:
            pairs = [(pictures[i], pictures[j]) for i, j in chosen]
            new = self.compare_many(pairs, [references[i] for i, _ in chosen], progress=report)
            asked.extend(new)
            return [answer.probability_a for answer in new]

        strengths, _, _ = ranking.rank_pairs(len(pictures), ask)
        places = ranking.order(strengths)
        tied = partial(ranking.tied, strengths)
        bounds = [(float(strengths.values[i]), float(strengths.low[i]), float(strengths.high[i])) for i in places]
        return answers.ranking(pictures, places, tied, bounds, scores, found, "pairs", asked)

    # ------------------------------------------------------------------ asking

    def ask(
        self, picture_roles: Sequence[dict[str, Picture]], task: Task, question: str, progress: Progress | None = None
    ):
        """Ask one question, worded as given, about several sets of pictures (roles "reference", "A", "B").

        Returns:
            for brief tasks (answers, probabilities [N, len(answers)]); for detailed ones a list of Descriptions.
        """
        asked = [
            tuple(roles.get(role) for role in ((A, B) if task.pair else (A,)) + (REFERENCE,)) for roles in picture_roles
        ]
        if task.brief:
            options = tasks.answers(task, question)
            return options, self._brief(task, question, asked, options, progress)
        return self._detailed(task, question, asked, 400, progress)

    @property
    def _name(self) -> str:
        return str(self.info.get("name", "this checkpoint"))

    def _require(self, task: Task) -> None:
        if task.name not in self.model.config.tasks:
            known = ", ".join(self.model.config.tasks)
            raise TaskError(f"{self._name} was never taught the task {task.name}; it knows {known}")

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
        return pictures, references

    def _brief(self, task, question, asked, options, progress):
        """Probabilities [N, len(options)] (numpy) of the closed answers to one question about many sets of pictures."""
        from .decoding import answer_probabilities

        self._require(task)
        ids = [answer_ids(option, self.tokenizer) for option in options]
        temperature = float(self.model.config.calibration.get(task.name, 1.0))
        rows = np.zeros((len(asked), len(options)), dtype=np.float64)
        for chunk in self._batches(task, question, asked, progress):
            indexes, prompts = chunk
            rows[indexes] = answer_probabilities(self.model.language, prompts, ids, temperature).numpy()
            self._check_finite(rows[indexes])
        return rows

    def _detailed(self, task, question, asked, max_new_tokens, progress) -> list[Description]:
        from .decoding import greedy

        self._require(task)
        end = answer_ids("", self.tokenizer)
        results: list[Description | None] = [None] * len(asked)
        report = progress if isinstance(progress, _Counter) else _Counter(progress, len(asked))
        for indexes, prompts in self._batches(task, question, asked, report):
            for index, answer in zip(indexes, greedy(self.model.language, prompts, end, max_new_tokens, report.check)):
                self._check_finite(answer.probabilities)
                written = _without_end(answer.ids, end)
                text = self._decode(written).strip()
                confidence, method = detailed_confidence(
                    text, written, answer.probabilities[: len(written)], self._decode
                )
                results[index] = Description(asked[index][0].name, text, confidence, method)
        return results

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _check_finite(self, probabilities) -> None:
        """An answer made from NaN would be made up."""
        if not np.isfinite(probabilities).all():
            raise CheckpointError(
                f"{self._name} gave no finite probabilities: its weights are damaged, or too large for half precision"
                " (then load it as float32)"
            )

    def _batches(self, task: Task, question: str | None, asked, progress):
        """Prompts of about equal length together: yields (indexes, embeddings), reports progress after each batch."""
        import torch

        question = task.ask(question)
        done = 0
        policy = SizePolicy(**self.model.config.size)
        by_setting = {}
        for index, pictures in enumerate(asked):
            by_setting.setdefault(pictures[-1] is not None, []).append(index)
        for has_reference, members in by_setting.items():
            members.sort(
                key=lambda i: sum(math.prod(policy.padded(p.height, p.width)) for p in asked[i] if p is not None)
            )
            parts = encode(layout(question, task.pair, has_reference), self.tokenizer)
            roles = ((A, B) if task.pair else (A,)) + ((REFERENCE,) if has_reference else ())
            for start in range(0, len(members), BATCH):
                indexes = members[start : start + BATCH]
                with torch.inference_mode():
                    shown = [dict(zip(roles, asked[i])) for i in indexes]
                    check = partial(progress, done, len(asked)) if progress else lambda: None
                    seen = self._seen([picture for pictures in shown for picture in pictures.values()], check)
                    slots = [_slots(pictures) for pictures in shown]
                    distinct = list(dict.fromkeys(slot for by_role in slots for slot in by_role.values()))
                    rows = self.model.connect([seen[k] for k, _ in distinct], [seen.get(r) for _, r in distinct])
                    tokens = dict(zip(distinct, rows))
                    prompts = [
                        self.model.embed_prompt(parts, {role: tokens[slot] for role, slot in by_role.items()})
                        for by_role in slots
                    ]
                yield indexes, prompts
                done += len(indexes)
                if progress:
                    progress(done, len(asked))

    def _seen(self, pictures: list[Picture], check: Callable) -> dict[str, object]:
        """What the vision tower saw in pictures, by content key; kept within a memory budget.

        ``check`` is called after each picture is prepared, so that Cancel does not wait for the whole batch.
        """
        from .vision import prepare

        distinct = {picture.key: picture for picture in pictures}
        pooled = {key: self._pooled[key] for key in distinct if key in self._pooled}
        for key in pooled:
            self._pooled.move_to_end(key)
        missing = [picture for key, picture in distinct.items() if key not in pooled]
        if missing:
            prepared = []
            for picture in missing:
                prepared.append(prepare(picture, self.model.config))
                check()
            rows = self.model.encode(prepared)
            for picture, row in zip(missing, rows):
                pooled[picture.key] = row
                self._pooled[picture.key] = row.to("cpu", copy=True)  # a view would keep its whole batch alive
                self._pooled_bytes += row.numel() * row.element_size()
            while self._pooled_bytes > CACHE_BYTES and len(self._pooled) > 1:
                _, old = self._pooled.popitem(last=False)
                self._pooled_bytes -= old.numel() * old.element_size()
        return {key: row.to(self.device) for key, row in pooled.items()}

    def _scores(self, pictures, references, progress) -> list[Score]:
        options = tasks.answers(SCORE, SCORE.question)
        rows = self._brief(SCORE, None, list(zip(pictures, references)), options, progress)
        return [answers.score(picture.name, row) for picture, row in zip(pictures, rows)]

    def _main_issues(self, pictures, references, progress) -> list[Identification]:
        options = tasks.answers(IDENTIFICATION, tasks.ONE_ISSUE)
        rows = self._brief(IDENTIFICATION, tasks.ONE_ISSUE, list(zip(pictures, references)), options, progress)
        return [answers.identification(p.name, options, row) for p, row in zip(pictures, rows)]


def _slots(pictures: dict[str, Picture]) -> dict[str, tuple[str, str | None]]:
    """Per role the keys of the picture and of the reference that it is seen beside; the reference stands alone."""
    beside = pictures[REFERENCE].key if REFERENCE in pictures else None
    return {role: (picture.key, None if role == REFERENCE else beside) for role, picture in pictures.items()}


def _without_end(ids: list[int], end: list[int]) -> list[int]:
    """The written words only: an answer that was cut off has no end, and one may stop without the newline before it."""
    for size in range(len(end), 0, -1):
        if ids[-size:] == end[-size:]:
            return ids[:-size]
    return ids


class _Counter:
    """Adds up the progress of several passes into one count that never falls."""

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self.before, self.now = progress, total, 0, 0

    def __call__(self, done: int, of: int) -> None:
        self.now = self.before + done
        if done == of:
            self.before = self.now
        self.check()

    def check(self) -> None:
        if self.progress:
            self.progress(self.now, self.total)
