"""How sure an answer is: the confidence rules of the published method, and one for words that needs no second model.

Source: facts, section 4 (DepictQA-Wild, "confidence estimation via key tokens").
"""

import re
from collections.abc import Callable

import numpy as np

from .tasks import DISTORTIONS, LEVELS

TOP_TOKENS = 30
"""Detailed answers: only this many tokens that matter most count."""

_VERDICT = re.compile(
    r"\b(?:image [ab]|none|pristine|slight\w*|mild\w*|moderate\w*|obvious\w*|noticeabl\w*|serious\w*|severe\w*"
    r"|catastrophic\w*|better|worse|superior|inferior|high|low|" + "|".join([*DISTORTIONS, *LEVELS]) + r")\b",
    re.IGNORECASE,
)


def reliable(confidence: float | None, minimum: float) -> bool:
    """Whether an answer is sure enough to be kept: the one rule of the command line and of the nodes.

    Args:
        confidence: 0..1, counted to 6 digits, as it is written; None where an answer has none: such an answer is kept
            by a minimum of 0 alone.
        minimum: least confidence that counts, 0..1; 0 keeps everything.
    """
    return minimum <= 0 or (confidence is not None and round(confidence, 6) >= minimum)


def brief_confidence(
    ids: list[int], probabilities: list[float], end: list[int], joint: int | None = None
) -> float | None:
    """Confidence of a freely written brief answer about one picture: mean probability of its label tokens.

    Args:
        ids, probabilities: the written tokens and the probability of each.
        end: ids that close an answer; everything from their first occurrence on is dropped.
        joint: id of the word "and"; its first occurrence is dropped.

    Returns:
        0..1, or None for an empty answer.
    """
    stop = next((i for i in range(len(ids)) if ids[i : i + len(end)] == end), len(ids))
    kept = list(probabilities[:stop])
    if joint is not None and joint in ids[:stop]:
        del kept[ids.index(joint)]
    return float(np.mean(kept)) if kept else None


def letter_confidence(ids: list[int], probabilities: list[float], winners: list[list[int]]) -> float | None:
    """Confidence of a freely written comparison: the probability of the letter behind the first "Image A" or "Image B".

    Args:
        winners: token ids of "Image A" and "Image B".

    Returns:
        0..1, or None when the answer names neither picture.
    """
    for start in range(len(ids)):
        for winner in winners:
            if ids[start : start + len(winner)] == winner:
                return float(probabilities[start + len(winner) - 1])
    return None


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
