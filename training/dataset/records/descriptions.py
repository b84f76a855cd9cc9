"""Compose detailed answers from the known truth of an image: distortions, severity, location, effect, and verdict.

An assessment opens with the names of the distortions exactly as the brief answer spells them (``tasks.answer_text``),
so that a judge can let one distribution decide both. Every sentence is assembled from exchangeable clauses, so that two
hundred words give many texts, and no clause can speak of a distortion that is not there: each effect belongs to one
category, locations have words of their own, and strength words follow the severity (method.md 6.4).
"""

import re

import numpy as np

from depictqa_core.tasks import DISTORTIONS, GRADES, LEVEL_SCORES, LEVELS, answer_text
from training.distortions import ANSWER
from training.faults import REGISTRY as FAULTS
from training.random_choice import pick

from .labels import severity

CATEGORY_OF = {label: category for category, label in ANSWER.items()}

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
# what each fault looks like; no clause names a distortion
_FAULT_EFFECTS = {
    "seams": ("borders between parts of the image are {m}visible", "neighboring parts {look} {m}mismatched"),
    "grid pattern": ("a regular pattern is {m}visible", "a fine raster lies over the image and is {m}visible"),
    "banding": ("soft gradients {look} {m}stepped", "bands of color are {m}visible"),
    "color cast": ("all colors lean to one side and {look} {m}wrong", "neutral surfaces {look} {m}tinted"),
    "color fringing": ("colored rims along contours are {m}visible", "contours {look} {m}split into colors"),
    "ghosting": ("a second copy of the contours is {m}visible", "objects {look} {m}doubled"),
    "moire": ("curved color waves are {m}visible", "an interference pattern is {m}visible"),
    "row glitches": ("displaced rows are {m}visible", "rows of the image {look} {m}broken"),
    "missing region": ("a part of the content is gone", "an empty area hides a part of the content"),
    "overlay": ("something was laid over the image", "added text, a bar or a frame is visible"),
    "waxy smoothing": ("surfaces {look} {m}waxy", "fine textures {look} {m}smeared away"),
    "sharpening halos": ("bright rims along contours are {m}visible", "contours {look} {m}outlined"),
    "latent noise": ("colored patches of unfinished content are {m}visible", "surfaces {look} {m}blotchy"),
    "burned contrast": ("colors and tones {look} {m}burned", "highlights and shadows {look} {m}clipped"),
}
_ARTICLES = {"grid pattern": "a ", "color cast": "a ", "missing region": "a ", "overlay": "an "}
_BUT = ("but it shows {f}", "though {f} can be seen", "yet {f} can be seen")
_ALSO = ("the image shows {f}", "{f} can be seen as well")
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
_LOCAL = (
    "the damage is confined to {w}, about {s} of the image",
    "only {w} is damaged, about {s} of the image",
    "the damage covers {w}, about {s} of the image, and the rest is intact",
)
_PLACES = {
    "upper left": "the upper left", "top": "the top", "upper right": "the upper right", "left": "the left side",
    "center": "the center", "right": "the right side", "lower left": "the lower left", "bottom": "the bottom",
    "lower right": "the lower right", "border": "the border", "part": "one part",
}  # fmt: skip
_AT = {
    "upper left": "in the upper left", "top": "at the top", "upper right": "in the upper right",
    "left": "on the left side", "center": "in the center", "right": "on the right side",
    "lower left": "in the lower left", "bottom": "at the bottom", "lower right": "in the lower right",
    "border": "along the border", "part": "in one part",
}  # fmt: skip
_SHARES = ((0.07, "a twentieth"), (0.13, "a tenth"), (0.22, "a sixth"), (0.29, "a quarter"), (0.42, "a third"))
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
    """Compose a detailed answer about one image, 24 to 70 words.

    Args:
        variant: a variant of scenes.jsonl: its ``distortions``, ``where`` and ``quality`` are used.
        rng: source of all variation; the same state gives the same text.
        reference: whether the reference may be mentioned.

    Raises:
        ValueError: more than two distortions, or a location, severity or category that is not known.
    """
    graded, faults = _graded(variant), _faults(variant)
    answer = answer_text(tuple(dict.fromkeys(_name(d) for _, d in graded)))
    frames = (_NO_DISTORTION, _ONE, _TWO)[len(graded)]
    first = pick(frames, rng).format(a=answer, **dict(zip("gh", (grade for grade, _ in graded))))
    if reference and rng.random() < 0.6:
        first += pick(_BESIDE_REFERENCE, rng)
    if faults and not graded:
        first += ", " + pick(_BUT, rng).format(f=_fault_names(faults))
    sentences = [first]
    if faults and graded:
        sentences.append(pick(_ALSO, rng).format(f=_fault_names(faults)))
    effects = _effects(graded, 2 if graded else 3, rng) if graded or not faults else []
    effects += [_fault_effect(fault, rng) for fault in faults]
    sentences.append(", ".join(effects[:-1]) + " and " + effects[-1] if len(effects) > 1 else effects[0])
    region = variant.get("region")
    if region:
        share = next((words for most, words in _SHARES if region["area"] < most), "half")
        sentences.append(pick(_LOCAL, rng).format(w=_PLACES[region["place"]], s=share))
    elif graded and not faults:
        where = _where(variant.get("where"))
        sentences.append(pick(_WHERE, rng).format(w=where) if where else pick(_EVERYWHERE, rng))
    level = level_of(variant["quality"])
    reason = pick(_REASONS[level] if graded or faults else _CLEAN_REASONS, rng)
    sentences.append(pick(_OPENINGS, rng) + pick(_VERDICTS, rng).format(q=level) + ", " + reason)
    return _join(sentences)


def comparison(a: dict, b: dict, better: bool, rng: np.random.Generator, reference: bool) -> str:
    """Compose a detailed answer about Image A and Image B that names the winner, 24 to 80 words.

    Args:
        a, b: variants of scenes.jsonl; a region or faults are named, too.
        better: True when A is better, False when B is (``labels.better``).
        rng, reference: as for ``assessment``.

    Raises:
        ValueError: ``better`` is None (no answer can be composed for an undecided pair); otherwise as ``assessment``.
    """
    if better is None:
        raise ValueError("an undecided pair has no winner to name: leave it out")
    pair = {"Image A": (a, _graded(a)), "Image B": (b, _graded(b))}
    has = [f"{name} {_issues(variant, graded, rng)}" for name, (variant, graded) in pair.items()]
    first = pick(_JOINTS, rng).join(has)
    if reference and rng.random() < 0.6:
        first = "compared to the reference, " + first
    effects = [f"in {name}, {_one_effect(variant, graded, rng)}" for name, (variant, graded) in pair.items()]
    winner, loser = pair if better else reversed(pair)
    gap = pair[winner][0]["quality"] - pair[loser][0]["quality"]
    degree = "clearly " if gap >= 0.3 else "a little " if 0 < gap < 0.1 else ""
    weaker = _total(pair[winner][0]) < _total(pair[loser][0])
    clean = not pair[winner][1] and not _faults(pair[winner][0])
    whys = _WHY_CLEAN if clean else _WHY_MILDER + _WHY_WEAKER if weaker else _WHY_MILDER
    why = pick(whys, rng).format(loser=loser)
    verdict = f"{pick(_OPENINGS, rng)}{winner} {pick(_WINS, rng).format(d=degree)} {loser}, {why}"
    return _join([first, pick(_JOINTS, rng).join(effects), verdict])


def named(text: str) -> set[str]:
    """The distortion labels (``tasks.DISTORTIONS``) that a text names."""
    return {name.lower() for name in _NAMED.findall(text)}


def winner(text: str) -> str | None:
    """``"A"`` or ``"B"``: the image that a composed comparison calls better, None when there is no such sentence."""
    found = re.findall(r"\bImage ([AB])\b[^.]*?\bbetter\b[^.]*\bthan Image ([AB])\b", text)
    return found[-1][0] if found and found[-1][0] != found[-1][1] else None


def level_of(quality: float) -> str:
    """The rating level (``tasks.LEVELS``) nearest to a quality of 0 (worst) to 1 (pristine)."""
    if not 0 <= quality <= 1:
        raise ValueError(f"quality must be from 0 to 1, got {quality}")
    return min(zip(LEVELS, LEVEL_SCORES, strict=True), key=lambda level: abs(level[1] - 100 * quality))[0]


def _graded(variant: dict) -> list[tuple[str, dict]]:
    """(grade word, distortion) of all that one of the 13 labels names: distortions, and faults that look like one."""
    found = [*variant["distortions"]]
    names = {_name(d) for d in found}
    for fault in variant.get("faults") or ():
        label = FAULTS[fault["name"]].label
        if label in DISTORTIONS and label not in names:
            names.add(label)
            found.append({"category": CATEGORY_OF[label], "name": fault["name"], "severity": fault["severity"]})
    words = GRADES if len(found) < 2 else DOUBLE_GRADES
    if len(found) > 2:
        raise ValueError(f"at most two distortions can be described, got {len(found)}")
    for d in found:
        if not 1 <= d["severity"] <= len(words):
            raise ValueError(
                f"severity must be from 1 to {len(words)} with {len(found)} distortion(s), got {d['severity']}"
            )
    return [(words[d["severity"] - 1], d) for d in found]


def _name(distortion: dict) -> str:
    return ANSWER[distortion["category"]]


def _faults(variant: dict) -> list[dict]:
    """The faults that can be described, one of each kind."""
    found = {fault["fault"]: fault for fault in variant.get("faults") or ()}
    if unknown := found.keys() - _FAULT_EFFECTS.keys():
        raise ValueError(f"an image with {min(unknown)} cannot be described")
    return list(found.values())


def _fault_names(faults: list[dict]) -> str:
    return " and ".join(_ARTICLES.get(fault["fault"], "") + fault["fault"] for fault in faults)


def _fault_effect(fault: dict, rng: np.random.Generator) -> str:
    strength = pick(_STRENGTH[GRADES[fault["severity"] - 1]], rng)
    return pick(_FAULT_EFFECTS[fault["fault"]], rng).format(look=pick(_LOOK, rng), m=strength)


def _total(variant: dict) -> float:
    return severity(variant["distortions"], variant.get("faults") or ())


def _one_effect(variant: dict, graded: list, rng: np.random.Generator) -> str:
    faults = _faults(variant)
    return _fault_effect(pick(faults, rng), rng) if faults and not graded else _effects(graded, 1, rng)[0]


def _effects(graded: list, count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different effect clauses of a clean image or one distortion; of two, one for each (or of either)."""
    if not graded:
        chosen = [(effect, "") for effect in _picks(_CLEAN_EFFECTS, count, rng)]
    elif len(graded) == 1:
        chosen = [(effect, graded[0][0]) for effect in _picks(_effects_of(graded[0][1]), count, rng)]
    else:
        shown = graded if count > 1 else [pick(graded, rng)]
        chosen = [(pick(_effects_of(distortion), rng), grade) for grade, distortion in shown]
    return [effect.format(look=pick(_LOOK, rng), m=pick(_STRENGTH[g], rng) if g else "") for effect, g in chosen]


def _effects_of(distortion: dict) -> tuple[str, ...]:
    return _EFFECTS[distortion["category"]] + _SPECIAL_EFFECTS.get(distortion["name"], ())


def _issues(variant: dict, graded: list, rng: np.random.Generator) -> str:
    found = [f"{grade} {_name(d)}" for grade, d in graded]
    if region := variant.get("region"):
        found[-1] += f" {_AT[region['place']]} only"
    if faults := _faults(variant):
        found.append(_fault_names(faults))
    return f"{pick(_HAS, rng)} {' and '.join(found)}" if found else pick(_HAS_NONE, rng)


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


def _picks(options, count: int, rng: np.random.Generator) -> list:
    return [options[int(i)] for i in rng.permutation(len(options))[:count]]
