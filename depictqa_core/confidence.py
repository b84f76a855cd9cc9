"""Confidence and coverage of answers: the rules of the published method, and one for texts without a second model.

Source: facts, section 4 (DepictQA-Wild, "confidence estimation via key tokens").
"""

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .calibration import CALIBRATED, SELF_CONSISTENCY
from .tasks import DISTORTIONS, LEVELS

Encoder = Callable[[Sequence[str]], np.ndarray]
"""Texts -> unit vectors [N, D]."""

LOW_COVERAGE, LEAST_COVERAGE = 0.5, 0.1
"""Answers with a coverage (``decoding.answer_probabilities``) below the first are reported as doubtful, below the
second as unreliable, whatever their confidence. The coverage of questions that a model was trained on is 0.97 and
more."""
CALIBRATED_COVERAGE = 0.9
"""Calibrations are measured on answers with a coverage of 0.97 and more; answers below this one are not like those."""
TEST_FOLDER = "run depictqa info --self-test on its folder"
"""What to do about low coverage where the judge is a folder."""
LEAST_TYPICALITY = 0.01
"""An image with a lower typicality (``typicality``) is unlike what calibrations are measured on."""
TOP_TOKENS = 30
"""Maximum number of tokens that count for the confidence of a detailed answer, those with the highest weight."""

_VERDICT = re.compile(
    r"\b(?:image [ab]|none|pristine|slight\w*|mild\w*|moderate\w*|obvious\w*|noticeabl\w*|serious\w*|severe\w*"
    r"|catastrophic\w*|better|worse|superior|inferior|high|low|" + "|".join([*DISTORTIONS, *LEVELS]) + r")\b",
    re.IGNORECASE,
)


def reliable(
    confidence: float | None, minimum: float, coverage: float | None = None, typicality: float | None = None
) -> bool:
    """Return whether an answer is reliable: the one rule of the command line and of the nodes.

    Args:
        confidence: 0..1, rounded to 6 digits as in the output; None if the answer has none: then it is reliable only
            with a minimum of 0.
        minimum: minimum confidence, 0..1; 0 keeps every answer with enough coverage.
        coverage: 0..1, the share of its probability that the model gave to the allowed answers; None if unknown. Below
            ``LEAST_COVERAGE`` no answer is reliable.
        typicality: 0..1, of the image; None if unknown. Below ``LEAST_TYPICALITY`` a confidence is no evidence, so that
            no minimum above 0 is reached.
    """
    if uncovered(coverage):
        return False
    if minimum <= 0:
        return True
    return not atypical(typicality) and confidence is not None and round(confidence, 6) >= minimum


def uncovered(coverage: float | None) -> bool:
    """Return whether a coverage (None if unknown) is below ``LEAST_COVERAGE``."""
    return coverage is not None and coverage < LEAST_COVERAGE


def atypical(typicality: float | None) -> bool:
    """Return whether a typicality (None if unknown) is below ``LEAST_TYPICALITY``."""
    return typicality is not None and typicality < LEAST_TYPICALITY


def typicality_notices(typicalities: Iterable[float | None]) -> list[str]:
    """Return a warning about images that are unlike the training images; an empty list if there are none.

    Args:
        typicalities: one per answer, 0..1, None if unknown.
    """
    known = list(typicalities)
    unlike = sum(map(atypical, known))
    if not unlike:
        return []
    return [
        f"{unlike} of {len(known)} answers are about images unlike the training images: at most {LEAST_TYPICALITY:.0%} "
        "of those are less typical. Their confidences are not calibrated: check these answers yourself"
    ]


def coverage_notices(coverages: Iterable[float | None], remedy: str) -> list[str]:
    """Return a warning about answers with low coverage; an empty list if there are none.

    Args:
        coverages: one per answer, 0..1, None if unknown.
        remedy: what to do about it (``Backend.low_coverage_remedy``).
    """
    known = [coverage for coverage in coverages if coverage is not None]
    low = [coverage for coverage in known if coverage < LOW_COVERAGE]
    if not low:
        return []
    refused = sum(uncovered(coverage) for coverage in low)
    unreliable = f"; below {LEAST_COVERAGE:g}, as for {refused}, answers are unreliable" if refused else ""
    return [
        f"coverage below {LOW_COVERAGE:g} in {len(low)} of {len(known)} answers (lowest {min(low):.2g}): the model "
        f"gives its probability to other words than the allowed answers{unreliable}. It was not trained for this "
        f"question, or its weights or its base model are wrong: {remedy}"
    ]


def brief_confidence(ids: list[int], probabilities: list[float], end: Sequence[int] = ()) -> float | None:
    """Compute the confidence of a freely generated brief answer: the mean probability of its tokens.

    Args:
        ids, probabilities: the generated tokens and the probability of each.
        end: ids of end tokens; everything from their first occurrence is dropped. None where it already is.

    Returns:
        0..1, or None for an empty answer.
    """
    stop = next((i for i in range(len(ids)) if end and ids[i : i + len(end)] == end), len(ids))
    return float(np.mean(probabilities[:stop])) if stop else None


def detailed_confidence(
    text: str, ids: list, probabilities: list[float], decode: Callable[[list], str], embed: Encoder | None = None
) -> tuple[float | None, str]:
    """Compute the confidence of a detailed answer: the mean probability of its tokens, weighted by their meaning.

    Args:
        text: the answer.
        ids, probabilities: its tokens and the probability of each.
        decode: ids -> text.
        embed: list of texts -> unit vectors [N, D]. With it, a token has the weight ``1 - cos(answer, answer without
            it)``, and the ``TOP_TOKENS`` with the highest weights count (the published rule). Without it, the tokens of
            verdict words (distortions, grades, levels, "Image A/B") have equal weights.

    Returns:
        (confidence 0..1 or None for an empty answer, the name of the rule that was used).
    """
    if not ids:
        return None, "empty answer" if not text else "no token probabilities"
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


def _verdict_tokens(ids: list, decode: Callable[[list], str]) -> np.ndarray:
    """Return which tokens belong to a verdict word, bool [N]; all of them if there is none."""
    ends = [len(decode(ids[: i + 1])) for i in range(len(ids))]
    # Half a character may decode to more characters than the whole one: no token ends after a later one.
    ends = np.minimum.accumulate(ends[::-1])[::-1].tolist()
    starts = [0, *ends[:-1]]
    spans = [match.span() for match in _VERDICT.finditer(decode(ids))]
    keep = np.array([any(a < stop and b > start for start, stop in spans) for a, b in zip(starts, ends)])
    return keep if keep.any() else np.ones(len(ids), dtype=bool)


def lowest(coverages: Iterable[float | None]) -> float | None:
    """Return the lowest known coverage; None if all are unknown (None)."""
    return min((float(coverage) for coverage in coverages if coverage is not None), default=None)


def certainty_at(coverage: float | None, certainty: str, typicality: float | None = None) -> str:
    """What the confidence of an answer is: ``certainty``, but never calibrated below ``CALIBRATED_COVERAGE`` or
    ``LEAST_TYPICALITY``.

    Args:
        coverage: 0..1, of the answer; None if it is unknown.
        certainty: ``CALIBRATED`` where the checkpoint is calibrated for the question, else ``SELF_CONSISTENCY``.
        typicality: 0..1, of the image; None if it is unknown.
    """
    low = coverage is not None and coverage < CALIBRATED_COVERAGE
    return SELF_CONSISTENCY if low or atypical(typicality) else certainty


def least_certainty(certainties: Iterable[str]) -> str:
    """The certainty of what several answers together say: calibrated only where each of them is."""
    return SELF_CONSISTENCY if SELF_CONSISTENCY in certainties else CALIBRATED
