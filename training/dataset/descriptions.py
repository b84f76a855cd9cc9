"""Composes detailed answers from the known truth of a picture: distortions, how strong, where, their effect, a verdict.

An assessment opens with the names of the distortions exactly as the brief answer spells them (``tasks.answer_text``),
so that a judge can let one distribution decide both. Every sentence is assembled from exchangeable clauses, so that two
hundred words give many texts, and no clause can speak of a distortion that is not there: each effect belongs to one
category, locations have words of their own, and strength words follow the severity (facts 6.4).
"""

import re

import numpy as np

from depictqa_core.tasks import DISTORTIONS, GRADES, LEVEL_SCORES, LEVELS, answer_text
from training.distortions import ANSWER

from .labels import severity

DOUBLE_GRADES = ("slight", "obvious", "serious")
"""Grade words of severities 1 to 3 where two distortions come together."""

_STRENGTH = {
    "slight": ("a little ", "somewhat "),
    "moderate": ("",),
    "obvious": ("",),
    "serious": ("very ",),
    "catastrophic": ("extremely ",),
}

_LOOK = ("look", "appear")
_EFFECTS = {
    "blur": ("fine details {look} {m}soft", "contours {look} {m}fuzzy", "small structures {look} {m}unfocused"),
    "noise": ("surfaces {look} {m}grainy", "random specks are {m}visible", "uniform regions {look} {m}speckled"),
    "compression": (
        "coding artifacts are {m}visible", "artifacts around contours are {m}visible",
        "fine textures {look} {m}damaged",
    ),
    "oversharpen": (
        "halos along contours are {m}visible", "outlines {look} {m}hard", "fine details {look} {m}exaggerated",
    ),
    "pixelate": (
        "square cells are {m}visible", "contours {look} {m}jagged", "the details {look} {m}coarse, like a mosaic",
    ),
    "quantization": ("color bands are {m}visible", "gradients {look} {m}stepped", "color transitions {look} {m}abrupt"),
    "saturate_weaken": ("the colors {look} {m}pale", "the hues {look} {m}weak", "the colors {look} {m}faded"),
    "saturate_strengthen": (
        "the colors {look} {m}garish", "the hues {look} {m}gaudy", "the colors {look} {m}unnatural",
    ),
    "contrast_weaken": ("the tones {look} {m}flat", "objects are {m}hard to tell apart", "the tones {look} {m}hazy"),
    "contrast_strengthen": (
        "the tones {look} {m}harsh", "tonal transitions {look} {m}steep", "tonal differences {look} {m}excessive",
    ),
    "darken": ("the objects {look} {m}dark", "the surfaces {look} {m}dim", "the objects {look} {m}underexposed"),
    "brighten": ("the objects {look} {m}bright", "the surfaces {look} {m}glaring", "the objects {look} {m}overexposed"),
}  # fmt: skip
# what only some implementations of a category do
_SPECIAL_EFFECTS = {
    "blur_motion": ("fine details {look} {m}smeared along one direction",),
    "blur_zoom": ("fine details {look} {m}streaked toward the borders",),
    "blur_glass": ("contours {look} {m}ragged",),
    "blur_jitter": ("contours {look} {m}ragged",),
    "noise_impulse": ("scattered colored dots are {m}visible",),
    "noise_gaussian_YCrCb": ("random color specks are {m}visible",),
    "compression_jpeg": ("block borders are {m}visible", "surfaces {look} {m}blocky"),
    "compression_jpeg_2000": ("ripples around contours are {m}visible",),
}
_CLEAN_EFFECTS = (
    "fine details {look} clear", "the colors {look} natural", "contours {look} crisp", "surfaces {look} clean",
    "the tones {look} balanced",
)  # fmt: skip

_OPENINGS = ("overall, ", "in summary, ", "all in all, ", "as a result, ")
_BESIDE_REFERENCE = (" compared to the reference", " next to the reference", " in comparison with the reference")
_ONE = (
    "{a} is {g} in the image",
    "{a} degrades the image, and its degree is {g}",
    "{a} affects the image, and it is {g}",
    "{a} is the main distortion of the image, in a degree that is {g}",
    "{a}, which is {g} here, affects the image",
)
_TWO = (
    "{a} affect the image together, the first {g} and the second {h}",
    "{a} degrade the image: the former is {g}, the latter {h}",
    "{a} are the main distortions of the image, {g} and {h} in this order",
)
_NO_DISTORTION = (
    "{a} of the usual distortions affects the image",
    "{a} of the known distortions can be seen in the image",
    "{a} of the common distortions degrades the image",
)
_WHERE = ("the damage is strongest {w}", "the damage shows most {w}", "most of the damage is found {w}")
_EVERYWHERE = ("the damage is spread over the whole image", "every part of the image is affected")
_VERDICTS = ("the quality of the image is {q}", "the image has {q} quality", "the image is of {q} quality")
_REASONS = {
    "excellent": ("as the damage is minor", "since the damage has little weight"),
    "good": ("as the content stays intact", "since the damage is easy to accept"),
    "fair": ("as the damage disturbs the view", "since the damage cannot be ignored"),
    "poor": ("as the damage strongly disturbs the view", "since much of the content suffers"),
    "bad": ("as the damage dominates the view", "since the content is ruined"),
}
_CLEAN_REASONS = ("as nothing disturbs the view", "since the content is well preserved")

_HAS = ("suffers from", "shows", "has")
_HAS_NONE = ("shows no distortion", "has no distortion", "is free of distortions")
_JOINTS = (", while ", ", whereas ", ", and ")
_WINS = ("is {d}better than", "looks {d}better than", "has {d}better quality than")
_WHY_MILDER = ("as its damage disturbs less", "since the damage of {loser} disturbs more")
# only where the strength words say so, too
_WHY_WEAKER = ("because its damage is weaker", "since the damage of {loser} is stronger")
_WHY_CLEAN = ("because it has no distortion", "as nothing disturbs its view", "since only {loser} is damaged")

_REGIONS = ("upper left", "upper right", "lower left", "lower right", "top", "bottom", "left", "right", "center")
_TONES = {"dark areas": "in the shadows", "bright areas": "in the highlights", "midtones": "in the midtones"}
_TEXTURES = {"smooth areas": "in smooth areas", "textured areas": "in textured areas", "edges": "along the edges"}

_NAMED = re.compile(r"\b(" + "|".join(DISTORTIONS) + r")\b", re.IGNORECASE)


def assessment(variant: dict, rng: np.random.Generator, reference: bool) -> str:
    """Compose a detailed answer about one picture, 24 to 70 words.

    Args:
        variant: a variant of scenes.jsonl: its ``distortions``, ``where`` and ``quality`` are used.
        rng: source of all variation; the same state gives the same text.
        reference: whether the reference may be mentioned.

    Raises:
        ValueError: more than two distortions, or a location, severity or category that is not known.
    """
    graded = _graded(variant)
    answer = answer_text(tuple(ANSWER[d["category"]] for _, d in graded))
    frames = (_NO_DISTORTION, _ONE, _TWO)[len(graded)]
    first = _pick(frames, rng).format(a=answer, **dict(zip("gh", (grade for grade, _ in graded))))
    if reference and rng.random() < 0.6:
        first += _pick(_BESIDE_REFERENCE, rng)
    effects = _effects(graded, 2 if graded else 3, rng)
    sentences = [first, ", ".join(effects[:-1]) + " and " + effects[-1]]
    if graded:
        where = _where(variant.get("where"))
        sentences.append(_pick(_WHERE, rng).format(w=where) if where else _pick(_EVERYWHERE, rng))
    level = level_of(variant["quality"])
    reason = _pick(_REASONS[level] if graded else _CLEAN_REASONS, rng)
    sentences.append(_pick(_OPENINGS, rng) + _pick(_VERDICTS, rng).format(q=level) + ", " + reason)
    return _join(sentences)


def comparison(a: dict, b: dict, better: bool, rng: np.random.Generator, reference: bool) -> str:
    """Compose a detailed answer about Image A and Image B that names the winner, 24 to 80 words.

    Args:
        a, b: variants of scenes.jsonl.
        better: True when A is better, False when B is (``labels.better``).
        rng, reference: as for ``assessment``.

    Raises:
        ValueError: ``better`` is None (no answer can be composed for an undecided pair); otherwise as ``assessment``.
    """
    if better is None:
        raise ValueError("an undecided pair has no winner to name: leave it out")
    pair = {"Image A": (a, _graded(a)), "Image B": (b, _graded(b))}
    has = [f"{name} {_issues(graded, rng)}" for name, (_, graded) in pair.items()]
    first = _pick(_JOINTS, rng).join(has)
    if reference and rng.random() < 0.6:
        first = "compared to the reference, " + first
    effects = [f"in {name}, {_effects(graded, 1, rng)[0]}" for name, (_, graded) in pair.items()]
    winner, loser = pair if better else reversed(pair)
    gap = pair[winner][0]["quality"] - pair[loser][0]["quality"]
    degree = "clearly " if gap >= 0.3 else "a little " if 0 < gap < 0.1 else ""
    weaker = severity(pair[winner][0]["distortions"]) < severity(pair[loser][0]["distortions"])
    whys = (_WHY_MILDER + _WHY_WEAKER if weaker else _WHY_MILDER) if pair[winner][1] else _WHY_CLEAN
    why = _pick(whys, rng).format(loser=loser)
    verdict = f"{_pick(_OPENINGS, rng)}{winner} {_pick(_WINS, rng).format(d=degree)} {loser}, {why}"
    return _join([first, _pick(_JOINTS, rng).join(effects), verdict])


def named(text: str) -> set[str]:
    """The distortion labels (``tasks.DISTORTIONS``) that a text names."""
    return {name.lower() for name in _NAMED.findall(text)}


def winner(text: str) -> str | None:
    """``"A"`` or ``"B"``: the picture that a composed comparison calls better, None when there is no such sentence."""
    found = re.findall(r"\bImage ([AB])\b[^.]*?\bbetter\b[^.]*\bthan Image ([AB])\b", text)
    return found[-1][0] if found and found[-1][0] != found[-1][1] else None


def level_of(quality: float) -> str:
    """The rating level (``tasks.LEVELS``) nearest to a quality of 0 (worst) to 1 (pristine)."""
    if not 0 <= quality <= 1:
        raise ValueError(f"quality must be from 0 to 1, got {quality}")
    return min(zip(LEVELS, LEVEL_SCORES, strict=True), key=lambda level: abs(level[1] - 100 * quality))[0]


def _graded(variant: dict) -> list[tuple[str, dict]]:
    distortions = variant["distortions"]
    words = GRADES if len(distortions) < 2 else DOUBLE_GRADES
    if len(distortions) > 2:
        raise ValueError(f"at most two distortions can be described, got {len(distortions)}")
    for d in distortions:
        if not 1 <= d["severity"] <= len(words):
            raise ValueError(
                f"severity must be from 1 to {len(words)} with {len(distortions)} distortion(s), got {d['severity']}"
            )
    return [(words[d["severity"] - 1], d) for d in distortions]


def _effects(graded: list, count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different effect clauses of a clean picture or one distortion; of two, one for each (or of either)."""
    if not graded:
        chosen = [(effect, "") for effect in _picks(_CLEAN_EFFECTS, count, rng)]
    elif len(graded) == 1:
        chosen = [(effect, graded[0][0]) for effect in _picks(_effects_of(graded[0][1]), count, rng)]
    else:
        shown = graded if count > 1 else [_pick(graded, rng)]
        chosen = [(_pick(_effects_of(distortion), rng), grade) for grade, distortion in shown]
    return [effect.format(look=_pick(_LOOK, rng), m=_pick(_STRENGTH[g], rng) if g else "") for effect, g in chosen]


def _effects_of(distortion: dict) -> tuple[str, ...]:
    return _EFFECTS[distortion["category"]] + _SPECIAL_EFFECTS.get(distortion["name"], ())


def _issues(graded: list, rng: np.random.Generator) -> str:
    if not graded:
        return _pick(_HAS_NONE, rng)
    return f"{_pick(_HAS, rng)} " + " and ".join(f"{grade} {ANSWER[d['category']]}" for grade, d in graded)


def _where(where: dict | None) -> str:
    """Location words, "" when the error is even."""
    where = where or {}
    region, tone, texture = (where.get(key) for key in ("region", "tone", "texture"))
    known = (region in (None, "everywhere", *_REGIONS), tone in (None, *_TONES), texture in (None, *_TEXTURES))
    if not all(known):
        raise ValueError(f"unknown location {where}")
    parts = [f"toward the {region}"] if region in _REGIONS else []
    parts += [words[key] for words, key in ((_TONES, tone), (_TEXTURES, texture)) if key]
    return " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"


def _join(sentences: list[str]) -> str:
    return " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in sentences)


def _pick(options, rng: np.random.Generator):
    return options[int(rng.integers(len(options)))]


def _picks(options, count: int, rng: np.random.Generator) -> list:
    return [options[int(i)] for i in rng.permutation(len(options))[:count]]
