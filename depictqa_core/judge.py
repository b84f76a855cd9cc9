"""The judge: ``load_judge(...)`` and its five verbs identify, describe, compare, score and rank."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import tasks
from .backends.factory import open_backend
from .backends.server_options import ServerOptions
from .checks import check as check_arguments
from .errors import TaskError
from .images.image import ImageLike, ImagesLike, as_image
from .ranking.anchors import load_anchors
from .results import Check, Comparison, Description, Identification, Ranking, Score
from .runtime.byte_cache import ByteCache
from .runtime.progress import OnText, Progress, ProgressCounter
from .tasks import ASSESSMENT, COMPARISON, FAULT, RATING
from .verbs.base import JudgeBase
from .verbs.check import check, check_answers, pass_answer, require_checks
from .verbs.compare import compare
from .verbs.describe import EXPLANATION_TOKENS
from .verbs.identify import check_count, find_faults, grade, identify
from .verbs.inputs import criterion as own_criterion
from .verbs.inputs import images_with_references, pairs_with_references, single_sets, worded
from .verbs.rank import Limits, rank


def load_judge(
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    cache_bytes: int | None = None,
    anchors: str | Path | None = None,
    encoder: str | Path | None = None,
    compiled: bool = False,
    answers: ByteCache | None = None,
    base: str | Path | None = None,
    *,
    model: str | None = None,
    concurrency: int | None = None,
    votes: int | None = None,
    cache: str | Path | None = None,
    settings: str | Path | None = None,
    vllm: str | None = None,
) -> "Judge":
    """Load a judge.

    Args:
        checkpoint: a checkpoint, model or adapter folder, the address of an OpenAI-compatible server
            ("http://host:8000/v1"), or the name of a judge that another package provides (an entry point
            ``depictqa.judges``); None, "bundled" and "depictqa-mini" are the included one.
        device: "auto" (CUDA, then MPS, then CPU), any torch device, or "balanced" to spread a large model over several.
        dtype: "auto" (float16 for large models off the CPU, else float32), "float32", "float16" or "bfloat16" (these
            move probabilities by up to 0.01 and 0.06: prefer float16); or "int8" or "int4", which quantise the language
            model with the package bitsandbytes.
        cache_bytes: memory budget for the vision features that are stored between calls; the least recently used go
            first. None fits 256 images of the largest size that this checkpoint sees, at least 256 MiB and at most a
            quarter of the free memory; 0 stores none.
        anchors: a folder of anchor images (``anchors.load_anchors``) for the scores of a checkpoint that does not
            support scores; None is the bundled set.
        encoder: the folder of a sentence encoder such as all-MiniLM-L6-v2, for the confidence of detailed answers; with
            None only the words of the verdict count.
        compiled: have ``torch.compile`` compile the language model at its first questions of each kind, which take
            about a minute longer: of use for thousands of images.
        answers: where answers are stored, for callers that outlive the judge; it must hold those of this checkpoint,
            dtype and device alone. None makes one.
        base: the folder of the base model of an adapter folder; None looks for it where it was when the adapter was
            tuned, and next to the adapter folder.
        model: for a server, the name of the model there. Its key comes from the environment (``DEPICTQA_API_KEY``, or
            ``OPENAI_API_KEY``). ``judge.facts`` says how probabilities come from it.
        concurrency: for a server, number of parallel requests; None for 8, with ``vllm`` 32.
        votes: for a server without log-probabilities, how often every question is asked: probabilities are then the
            shares of the sampled answers. None refuses such a server.
        cache: for a server, a folder in which its answers are stored; later calls, of other processes too, read them.
        settings: for a server, a folder with ``depictqa_profile.json`` and ``depictqa_calibration.json``.
        vllm: for the folder of a vision-language model: have the command ``vllm`` serve it on this machine until the
            judge ends (``judge.backend.close()``, or with the process), with these further arguments of ``vllm serve``;
            "" for none.

    Raises:
        CheckpointError: a folder is missing, incomplete, damaged or no checkpoint, the dtype cannot be had, or
            nothing can be compiled here.
        EndpointError: a server cannot be used, or gives no log-probabilities.
        TaskError, ImageError: the anchors cannot be used.
    """
    check_arguments(checkpoint=checkpoint, dtype=dtype, cache_bytes=cache_bytes, anchors=anchors, encoder=encoder)
    check_arguments(compiled=compiled, answers=answers, base=base)
    check_arguments(model=model, concurrency=concurrency, votes=votes, cache=cache, settings=settings, vllm=vllm)
    given: dict[str, Any] = {"model": model, "votes": votes, "cache": cache, "settings": settings}
    given = {name: value for name, value in {**given, "concurrency": concurrency}.items() if value is not None}
    server = ServerOptions(**given) if given else None
    judge = Judge(open_backend(checkpoint, device, dtype, cache_bytes, compiled, answers, base, server, vllm))
    try:
        if anchors is not None:
            judge.anchors = load_anchors(anchors)
        if encoder is not None:
            from .loading.sentence_encoder import SentenceEncoder

            judge.encoder = SentenceEncoder(encoder, str(judge.device or "cpu"))
    except BaseException:
        judge.backend.close()
        raise
    return judge


class Judge(JudgeBase):
    """One loaded judge that answers questions about images.

    Images are anything that ``images.as_images`` takes: paths, PIL images, arrays, tensors, batches, or lists of
    them. A ``reference`` is one pristine image for all, or one for each. Where the sizes differ, both are compared at
    the smaller size (``references.common_size``), and an image that then equals its reference is the best possible,
    without a question to the network. Call ``references.require_shape`` first where a reference may show another
    scene. ``progress(done, total)`` is called after every piece of work; what it raises stops the work and passes
    through. Vision features and answers are stored within memory budgets, so a call that was stopped or failed resumes
    where it was when it is repeated. Several threads may use one judge at a time.

    Args:
        backend: answers the questions.

    Attributes:
        backend: answers the questions; knows device, capabilities and calibration.
    """

    # ------------------------------------------------------------------ verbs

    def identify(
        self,
        pictures: ImagesLike,
        reference: ImagesLike | None = None,
        *,
        count: int | None = 1,
        faults: bool | None = None,
        progress: Progress | None = None,
    ) -> list[Identification]:
        """Name the distortions of each image, and the faults of its generation and delivery.

        Args:
            count: 1 for the most critical distortion, 2 for two of them, None to leave the number to the model: it is
                asked for two where it finds two more probable than one or none.
            faults: whether each fault of ``tasks.FAULTS`` is asked for, too; None: where the checkpoint supports them.

        Returns:
            one Identification per image, in order. The 13 label probabilities are exact for the question asked. A
            checkpoint that supports severities also grades each distortion that it names.
        """
        check_arguments(count=count, faults=faults, progress=progress)
        check_count(count)
        if faults:
            self.backend.require(FAULT)
        image_sets = single_sets(pictures, reference)
        counter = ProgressCounter(progress, len(image_sets))
        with self.backend.session():
            found = grade(self._asker, identify(self._asker, count, image_sets, counter), image_sets, counter)
            return found if faults is False else find_faults(self._asker, found, image_sets, counter)

    def describe(
        self,
        pictures: ImagesLike,
        reference: ImagesLike | None = None,
        *,
        question: str | None = None,
        count: int | None = None,
        max_new_tokens: int = 400,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[Description]:
        """Say in words what is wrong with each image and how good it is overall.

        The words agree with ``identify`` and ``score`` of a checkpoint that supports these: where a description names
        only other distortions, another grade or another level, it is continued from the right word, and what still
        contradicts is left out.

        Args:
            question: another wording of the question. A checkpoint that takes free questions answers what is asked for,
                also in one word (``tasks.QUESTION``); others take only their training questions
                (``questions.require_trained``).
            count: how many distortions are named, as in ``identify``: a checkpoint whose descriptions open with their
                names (``names_first``) names exactly what ``identify`` names; others decide for themselves (None).
            max_new_tokens: longest answer in tokens, from 1; a longer one is cut off there.
            on_text: called as ``on_text(index of the image, its text so far)`` after every token.
        """
        check_arguments(
            question=question, count=count, max_new_tokens=max_new_tokens, progress=progress, on_text=on_text
        )
        check_count(count)
        if count is not None and not self._asker.names_first:
            raise TaskError(f"{self.backend.name} decides itself how many distortions it describes: leave count out")
        question = worded(question, ASSESSMENT, self.backend)
        image_sets = single_sets(pictures, reference)
        counter = ProgressCounter(progress, len(image_sets))
        task = tasks.task_of(question or ASSESSMENT.question, pair=False)
        if question and task is not ASSESSMENT:
            return self._describer.answer_briefly(task, question, image_sets, counter)
        with self.backend.session():
            return self._describer.describe(task, question, image_sets, max_new_tokens, counter, on_text, count)

    def score(
        self,
        pictures: ImagesLike,
        reference: ImagesLike | None = None,
        *,
        criterion: str | None = None,
        prompt: str | None = None,
        progress: Progress | None = None,
    ) -> list[Score]:
        """Rate each image from 0 (worst) to 100 (flawless).

        The model is asked for a rating level; the score is the mean of the five levels' points (100, 75, 50, 25, 0)
        under the probabilities that the model gives them, and the spread their standard deviation. A model that does
        not support the levels, or whose comparisons follow personal preferences, compares each image with anchor
        images of known quality, or with its reference and degraded copies of that (``anchors``).

        Args:
            criterion: what to rate in place of the quality, such as "sharpness of the eyes".
            prompt: rate how well each image shows this. Vision-language models support these two; nothing is
                calibrated about them.
        """
        check_arguments(criterion=criterion, prompt=prompt, progress=progress)
        about = own_criterion(criterion, prompt, self.backend)
        images, references = images_with_references(pictures, reference)
        counter = ProgressCounter(progress, self._scorer.questions(references))
        with self.backend.session():
            return self._scorer.score(images, references, counter, about)

    def check(
        self,
        pictures: ImagesLike,
        question: str,
        answers: Sequence[str] = ("yes", "no"),
        reference: ImagesLike | None = None,
        *,
        accept: str | None = None,
        threshold: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Check]:
        """Ask your own question about each image, such as "Are the hands anatomically correct?".

        Args:
            question: in any words; asked once in each of two orders of the answers.
            answers: the answers to choose from, 2 to 32.
            accept: one of the answers: images to which it has at least the probability ``threshold`` (0..1) pass.

        Returns:
            one Check per image, with the exact probability of every answer. They are not calibrated.
        """
        check_arguments(question=question, accept=accept, threshold=threshold, progress=progress)
        require_checks(self.backend)
        allowed, question = check_answers(answers), " ".join((question or "").split())
        if not question:
            raise TaskError("question: it is empty; ask something that the answers answer")
        image_sets = single_sets(pictures, reference)
        counter, accept = ProgressCounter(progress, len(image_sets)), pass_answer(accept, allowed)
        return check(self.backend, question, allowed, image_sets, counter, accept, threshold)

    def compare(
        self,
        a: ImageLike,
        b: ImageLike,
        reference: ImageLike | None = None,
        *,
        explain: bool = False,
        question: str | None = None,
        criterion: str | None = None,
        prompt: str | None = None,
        progress: Progress | None = None,
    ) -> Comparison:
        """Decide which of two images is better.

        Both orders (A first, B first) are asked and averaged; their difference is reported as disagreement.

        Args:
            explain: also have the model explain its verdict in words. They agree with it: the text is continued from
                every word that names another winner, and what still contradicts is left out. A tie names no winner.
            question: another wording of the question, as in ``describe``. It must ask for the better image.
            criterion, prompt: as in ``score``.
        """
        pair = (as_image(a, "image A"), as_image(b, "image B"))
        original = None if reference is None else as_image(reference, "reference")
        return self.compare_many(
            [pair],
            [original],
            explain=explain,
            question=question,
            criterion=criterion,
            prompt=prompt,
            progress=progress,
        )[0]

    def compare_many(
        self,
        pairs: Sequence[tuple[ImageLike, ImageLike]],
        references: Sequence[ImageLike | None] | None = None,
        *,
        explain: bool = False,
        question: str | None = None,
        criterion: str | None = None,
        prompt: str | None = None,
        progress: Progress | None = None,
    ) -> list[Comparison]:
        """``compare`` for many pairs at once; ``references`` has one image or None per pair."""
        check_arguments(explain=explain, question=question, criterion=criterion, prompt=prompt, progress=progress)
        about = own_criterion(criterion, prompt, self.backend)
        if about and (question or explain):
            raise TaskError(f"{about.kind} comes without a question or an explanation of its own: leave these out")
        image_sets = pairs_with_references(pairs, references)
        question = worded(question, RATING, self.backend)
        counter = ProgressCounter(progress, len(image_sets) * (3 if explain else 2))
        with self.backend.session():
            compared = compare(self._asker, question, image_sets, counter, about=about)
            if explain:
                texts = self._describer.describe(
                    COMPARISON, None, image_sets, EXPLANATION_TOKENS, counter, compared=compared
                )
                compared = [replace(one, text=words.text) for one, words in zip(compared, texts)]
        return compared

    def rank(
        self,
        pictures: ImagesLike,
        reference: ImagesLike | None = None,
        *,
        method: str = "pairs",
        reasons: bool = True,
        top_k: int | None = None,
        confidence: float = 0.95,
        budget: int | None = None,
        criterion: str | None = None,
        prompt: str | None = None,
        progress: Progress | None = None,
    ) -> Ranking:
        """Order images from best to worst. The rank of an image is 1 + the number of significantly (95 %) better ones.

        Args:
            method: "pairs" compares images in both orders and fits Bradley-Terry strengths with 95 % intervals (all
                pairs when few, the most informative ones when many); "score" rates each image alone.
            reasons: also name each image's distortion and give a one-sentence reason.
            top_k: only which images are the best ``top_k`` matters (None: the whole order): with "pairs", comparisons
                stop once they are decided. All images are placed all the same.
            confidence: 0.5..1, the probability of the right best ``top_k`` at which they are decided.
            budget: maximum number of pairs to compare, each in both orders; None is all of up to 12 images and
                1.25 n log2 n of n. The Ranking says how many were asked, and why no more were.
            criterion, prompt: as in ``score``; then no distortions are named.
        """
        check_arguments(
            method=method, reasons=reasons, top_k=top_k, confidence=confidence, budget=budget, progress=progress
        )
        check_arguments(criterion=criterion, prompt=prompt)
        about = own_criterion(criterion, prompt, self.backend)
        images, references = images_with_references(pictures, reference)
        limits = Limits(top_k, confidence, budget)
        with self.backend.session():
            return rank(self._asker, self._scorer, images, references, progress, method, reasons, limits, about)
