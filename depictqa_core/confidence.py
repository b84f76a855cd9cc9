"""Confidence and coverage of answers: the rules of the published method, and one for words that needs no second model.

Source: facts, section 4 (DepictQA-Wild, "confidence estimation via key tokens").
"""

import re
from collections.abc import Callable, Iterable

import numpy as np

from .tasks import DISTORTIONS, LEVELS

LOW_COVERAGE, LEAST_COVERAGE = 0.5, 0.1
"""Answers whose coverage (``decoding.answer_probabilities``) is below the first are reported as doubtful; those below
the second are unreliable, whatever their confidence. Models give questions that they were trained on 0.97 and more."""
TOP_TOKENS = 30
"""Detailed answers: only this many tokens that matter most count."""

_VERDICT = re.compile(
    r"\b(?:image [ab]|none|pristine|slight\w*|mild\w*|moderate\w*|obvious\w*|noticeabl\w*|serious\w*|severe\w*"
    r"|catastrophic\w*|better|worse|superior|inferior|high|low|" + "|".join([*DISTORTIONS, *LEVELS]) + r")\b",
    re.IGNORECASE,
)


def reliable(confidence: float | None, minimum: float, coverage: float | None = None) -> bool:
    """Tell whether an answer may be relied on: the one rule of the command line and of the nodes.

    Args:
        confidence: 0..1, counted to 6 digits, as it is written; None where an answer has none: such an answer is kept
            by a minimum of 0 alone.
        minimum: least confidence that counts, 0..1; 0 keeps everything that is covered.
        coverage: 0..1, how much of its probability the model gave to the allowed answers; None if unknown. Below
            ``LEAST_COVERAGE`` no answer is reliable.
    """
    if uncovered(coverage):
        return False
    return minimum <= 0 or (confidence is not None and round(confidence, 6) >= minimum)


def uncovered(coverage: float | None) -> bool:
    """Tell whether a coverage (None if unknown) is below ``LEAST_COVERAGE``."""
    return coverage is not None and coverage < LEAST_COVERAGE


def coverage_notices(coverages: Iterable[float | None]) -> list[str]:
    """Word a warning about answers with little coverage, none where all have enough.

    Args:
        coverages: one for each answer, 0..1, None where it is unknown.
    """
    known = [coverage for coverage in coverages if coverage is not None]
    low = [coverage for coverage in known if coverage < LOW_COVERAGE]
    if not low:
        return []
    refused = sum(uncovered(coverage) for coverage in low)
    unreliable = f"; below {LEAST_COVERAGE:g}, as for {refused}, answers are unreliable" if refused else ""
    return [
        f"coverage below {LOW_COVERAGE:g} in {len(low)} of {len(known)} answers (lowest {min(low):.2g}): the model "
        f"would rather write something else than an allowed answer{unreliable}. It was not trained for this question, "
        "or its weights or its base model are wrong: run depictqa info --self-test on its folder"
    ]


def brief_confidence(ids: list[int], probabilities: list[float], end: list[int]) -> float | None:
    """Confidence of a freely written brief answer: the mean probability of its tokens.

    Args:
        ids, probabilities: the written tokens and the probability of each.
        end: ids that close an answer; everything from their first occurrence on is dropped.

    Returns:
        0..1, or None for an empty answer.
    """
    stop = next((i for i in range(len(ids)) if ids[i : i + len(end)] == end), len(ids))
    return float(np.mean(probabilities[:stop])) if stop else None


def detailed_confidence(
    text: str, ids: list[int], probabilities: list[float], decode: Callable, embed: Callable | None = None
) -> tuple[float | None, str]:
    """Confidence of a detailed answer: the mean probability of its tokens, weighted by what each adds to the meaning.

    Args:
        text: the answer.
        ids, probabilities: its tokens and the probability of each.
        decode: ids -> text.
        embed: list of texts -> unit vectors [N, D]. With it, a token weighs ``1 - cos(answer, answer without it)`` and
            the ``TOP_TOKENS`` heaviest count (the published rule). Without it, the tokens of the words that carry the
            verdict (distortions, grades, levels, "Image A/B") count alike.

    Returns:
        (confidence 0..1 or None for an empty answer, the name of the rule that was used).
    """
    if not ids:
        return None, "empty answer"
    chances = np.asarray(probabilities, dtype=np.float64)
    if embed is None:
        keep = _verdict_tokens(ids, decode)
        return float(chances[keep].mean()), "verdict words"
    shortened = [decode(ids[:i] + ids[i + 1 :]) for i in range(len(ids))]
    vectors = np.asarray(embed([text, *shortened]), dtype=np.float64)
    weights = 1 - vectors[1:] @ vectors[0]
    top = np.argsort(-weights, kind="stable")[:TOP_TOKENS]
    total = weights[top].sum()
    if total <= 0:
        return float(chances.mean()), "sentence encoder"
    return float((weights[top] * chances[top]).sum() / total), "sentence encoder"


def _verdict_tokens(ids: list[int], decode: Callable) -> np.ndarray:
    """Which tokens belong to a verdict word, bool [N]; all of them when there is none."""
    ends = [len(decode(ids[: i + 1])) for i in range(len(ids))]
    # Half a character may decode to more signs than the whole one: no token ends behind a later one.
    ends = np.minimum.accumulate(ends[::-1])[::-1].tolist()
    starts = [0, *ends[:-1]]
    spans = [match.span() for match in _VERDICT.finditer(decode(ids))]
    keep = np.array([any(a < stop and b > start for start, stop in spans) for a, b in zip(starts, ends)])
    return keep if keep.any() else np.ones(len(ids), dtype=bool)


def lowest(coverages) -> float | None:
    """The lowest of some coverages, without those that are unknown (None); None if all are."""
    return min((float(coverage) for coverage in coverages if coverage is not None), default=None)
