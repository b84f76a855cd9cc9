"""Ground truth from the applied distortions: the quality of an image in 0..1, and the better of two if it is
certain."""

from collections.abc import Mapping, Sequence

from training.faults import REGISTRY as FAULTS

STEP = 0.18
"""Quality that one step of severity costs: severity 5 has the base quality 0.1."""

MAX_MOVE = 0.45
"""Severity steps by which the metrics may move a quality; below one half, so that they never swap two severities."""

# Typical value of each metric at severity 0, 1, 2, 3, 4, 5: turns a value into "severity steps". Medians over the
# medians of the 35 single distortions in 600 scenes of the mini recipe; psnr starts at 50 dB, where no eye sees a
# difference, and not at piq's 80.
ANCHORS: dict[str, tuple[float, ...]] = {
    "ssim": (1.0, 0.88, 0.81, 0.75, 0.68, 0.61),
    "gmsd": (0.0, 0.035, 0.08, 0.11, 0.14, 0.17),
    "haarpsi": (1.0, 0.89, 0.77, 0.68, 0.60, 0.51),
    "mdsi": (0.0, 0.305, 0.35, 0.383, 0.41, 0.45),
    "psnr": (50.0, 24.7, 21.6, 18.6, 16.7, 15.0),
    "vsi": (1.0, 0.984, 0.969, 0.951, 0.935, 0.918),
}

VOTE_MARGIN = 0.25
"""A metric votes for an image if it sees a difference of at least this many severity steps."""

VOTE_SHARE = 0.8
"""Share of the metrics that must vote for one side (four of five)."""

PULL = 0.3
"""How much of the difference between the severity that the metrics see and the real one moves the quality."""


AREA_POWER = 1 / 3
"""A damage in a share ``a`` of the image counts ``a ** AREA_POWER`` of its severity there: a quarter of the area 0.63,
a tenth 0.46. People judge an image by its worst part more than by its mean."""

LEAST_GAP = 0.5
"""Severity steps by which two images with the same distortion must differ, so that severity decides between them."""


def severity(distortions: Sequence[Mapping], faults: Sequence[Mapping] = ()) -> float:
    """Effective severity in 0..5 of the whole image: 0 for a pristine one.

    Of two damages a, b: min(5, max(a, b) + min(a, b) / 2); a third counts a quarter. A distortion of a region counts
    less (`AREA_POWER`), and a fault counts its severity times its cost.

    Args:
        distortions: none, one or two of {"name": str, "severity": 1..5, "area": 0..1 of a local one, ...}.
        faults: any of {"name": implementation, "severity": 1..5, ...}.

    Raises:
        ValueError: more than two distortions, or a severity outside 1..5.
    """
    steps = [item["severity"] for item in (*distortions, *faults)]
    if len(distortions) > 2:
        raise ValueError(f"labels are defined for at most two distortions on an image, got {len(distortions)}")
    if any(not 1 <= step <= 5 for step in steps):
        raise ValueError(f"severity must be from 1 to 5, got {steps}")
    parts = [of_whole(item) for item in distortions]
    parts += [item["severity"] * FAULTS[item["name"]].cost for item in faults]
    parts.sort(reverse=True)
    return min(5.0, float(sum(part * 0.5**place for place, part in enumerate(parts))))


def of_whole(distortion: Mapping) -> float:
    """The severity, 0..5, that one distortion has for the whole image: below its own where it covers a part."""
    return distortion["severity"] * distortion.get("area", 1.0) ** AREA_POWER


def seen_severity(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metric -> the severity 0..6 at which its value is typical (`ANCHORS`, continued beyond 5), for known metrics."""
    return {name: _steps(float(value), ANCHORS[name]) for name, value in metrics.items() if name in ANCHORS}


def quality(distortions: Sequence[Mapping], metrics: Mapping[str, float], faults: Sequence[Mapping] = ()) -> float:
    """Quality in 0 (worst) .. 1 (pristine), anchored in severity and refined by metrics.

    1 - `STEP` * (severity + move), where the move pulls towards the severity that the metrics see (their median), by at
    most `MAX_MOVE` steps. So whatever is at least one step higher in severity is always lower in quality, on any
    image. A pristine image has 1.0, also after resaving. With faults the metrics have no say: a border would count
    as much as a lost region.
    """
    actual = severity(distortions, faults)
    if not actual:
        return 1.0
    if faults:
        return round(max(0.0, 1.0 - STEP * actual), 4)
    seen = sorted(seen_severity(metrics).values())
    middle = (seen[(len(seen) - 1) // 2] + seen[len(seen) // 2]) / 2 if seen else actual
    move = max(-MAX_MOVE, min(MAX_MOVE, PULL * (middle - actual)))
    return round(max(0.0, min(1.0, 1.0 - STEP * (actual + move))), 4)


def better(a: Mapping, b: Mapping) -> bool | None:
    """Which of two variants (of one scene or of two, each against its own reference) has the better quality.

    In this order: a single implementation against itself or a pristine image, and severities that differ by two steps
    or more, are decided by severity; otherwise `VOTE_SHARE` of the metrics must see the same difference, and `quality`
    must not say the opposite. A resaved pristine image for which the metrics say the opposite is left undecided.

    Args:
        a, b: variants of a scene: "distortions", "metrics" and optionally "resaved".

    Returns:
        True if `a` is better, False if `b` is, None if undecided. better(a, b) is the opposite of better(b, a).
    """
    gap = _severity(b) - _severity(a)  # positive: a is less damaged
    votes = _vote(a["metrics"], b["metrics"])
    if severity_decides(a, b):
        # A resaved pristine image may truly look worse than one with an almost invisible distortion.
        resaved = [v for v in (a, b) if _clean(v) and v.get("resaved")]
        doubtful = resaved and votes == -_sign(gap) and not _faults(a, b) and _one_ladder(a, b, gap)
        return None if doubtful else gap > 0
    lead = _quality(a) - _quality(b)
    if not votes or _sign(lead) == -votes:
        return None
    return None if _clean(a) and _clean(b) else votes > 0


def severity_decides(a: Mapping, b: Mapping) -> bool:
    """Whether the severities of two variants alone say which is better; otherwise the metrics vote (``better``)."""
    gap = _severity(b) - _severity(a)
    return abs(gap) >= 2 or (gap != 0 and _one_ladder(a, b, gap))


def _severity(variant: Mapping) -> float:
    return severity(variant["distortions"], variant.get("faults") or ())


def _quality(variant: Mapping) -> float:
    return quality(variant["distortions"], variant["metrics"], variant.get("faults") or ())


def _clean(variant: Mapping) -> bool:
    return not variant["distortions"] and not variant.get("faults")


def _faults(*variants: Mapping) -> bool:
    return any(variant.get("faults") for variant in variants)


def _one_ladder(a: Mapping, b: Mapping, gap: float) -> bool:
    """Whether severity alone orders them: the same single implementation, or one is pristine (severity 0 of each)."""
    if _clean(a) or _clean(b):
        return True
    one, other = ([*v["distortions"], *(v.get("faults") or ())] for v in (a, b))
    return len(one) == len(other) == 1 and one[0]["name"] == other[0]["name"] and abs(gap) >= LEAST_GAP


def _vote(a: Mapping[str, float], b: Mapping[str, float]) -> int:
    """1 if enough metrics see `a` as better, -1 for `b`, 0 if they do not agree."""
    seen_a, seen_b = seen_severity(a), seen_severity(b)
    gaps = [seen_b[name] - seen_a[name] for name in seen_a if name in seen_b]
    needed = VOTE_SHARE * len(gaps) - 1e-9
    for side in (1, -1):
        if gaps and sum(side * gap >= VOTE_MARGIN for gap in gaps) >= needed:
            return side
    return 0


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


def _steps(value: float, anchors: tuple[float, ...]) -> float:
    """Linear interpolation of the position of `value` among the anchors; the last slope continues to 6."""
    rising = anchors[-1] > anchors[0]
    for step in range(5):
        low, high = anchors[step], anchors[step + 1]
        if step == 4 or (value <= high if rising else value >= high):
            return max(0.0, min(6.0, step + (value - low) / (high - low)))
    raise AssertionError("unreachable")
