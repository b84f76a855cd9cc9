"""Words in which distortions, degrees, verdicts and refusals are spoken of, for the checks of detailed answers."""

import re

from depictqa_core.tasks import DISTORTIONS, GRADES

STRICT = {label: re.compile(rf"\b{label}\b", re.IGNORECASE) for label in DISTORTIONS}
"""The label itself: wherever it stands it names the distortion."""

_BRIGHT, _DARK = "overly high brightness", "insufficient brightness"
_RICH, _PALE = "overly high saturation", "insufficient saturation"
_HARD, _FLAT = "overly high contrast", "insufficient contrast"

LOOSE = {
    label: re.compile(rf"\b{label}\b|{pattern}", re.IGNORECASE)
    for label, pattern in {
        "noise": r"\bnois(?:e|y)|\bgrain(?:y|iness)|\bspeckl",
        "blur": r"\bblur|\bout[- ]of[- ]focus",
        "compression": r"\bcompress|\bblock(?:y|iness)|\bJPEG",
        "oversharpening": r"\bover-?\s?sharpen",
        "pixelation": r"\bpixel+at",
        "color quantization": r"\bquanti[sz]|\bbanding|\bposteri[sz]",
        _PALE: r"\b(?:low|weak|reduced|poor|lack of) saturation|\b(?:de|under-?)saturat",
        _RICH: r"\b(?:high|excessive|exaggerated|strong) saturation|\bover-?\s?saturat",
        _FLAT: r"\b(?:low|weak|reduced|poor|lack of) contrast",
        _HARD: r"\b(?:high|excessive|exaggerated|strong) contrast",
        _DARK: r"\b(?:low|reduced|poor|lack of) brightness|\b(?:too|overly) dark|\bunder-?\s?expos",
        _BRIGHT: r"\b(?:high|excessive) brightness|\b(?:too|overly) bright|\bover-?\s?expos",
    }.items()
}  # fmt: skip
"""Any word for a distortion that is there; too weak to prove one that is not ("grain" may be that of wood)."""

_SEEN = r"(?:image|picture|photo(?:graph)?|shot) (?:is|looks|appears|seems)(?: \w+ly| quite| very| rather| so)?"
# an adjective that can also describe the content ("a noisy crowd") refers to the image if no noun follows it, or one
# that means the image; in ambiguous cases, losing a good answer is cheaper than keeping a wrong one
_SAID = (
    r"(?=\s*(?:[^\w\s]|$)|\s+(?:and|or|but|yet|as|at|in|on|to|by|of|with|from|for|over|across|throughout|overall|here|too|"
    r"everywhere|especially|particularly|mostly|mainly|due|because|since|so|that|which|when|where|while|than|compared|"
    r"images?|pictures?|photo\w*|shots?|frames?|appearance|look|quality|textures?|patterns?|artifacts?|artefacts?|"
    r"areas?|regions?|surfaces?|parts?|details?|shadows|backgrounds?|skies|sky)\b)"
)
_NOT_BEHIND = r"(?! (?:background|backdrop|foreground))"  # these are blurred by the photographer
FOREIGN = tuple(
    (re.compile(pattern, re.IGNORECASE), set(labels))
    for pattern, *labels in (
        (rf"\b(?:blurr(?:y|ed|iness)|out[- ]of[- ]focus|unfocused|defocus\w*)\b{_NOT_BEHIND}", "blur"),
        (rf"\bnoisy\b{_SAID}|\bfilm grain\b|\bgraininess\b", "noise"),
        (rf"\bgrainy\b{_SAID}", "noise", "oversharpening"),
        (r"\bJPEG\b|\bcompressed\b(?=.*\bartifacts?\b)", "compression"),
        (rf"\bblock(?:iness|ing|y)\b{_SAID}|\bblock artifacts?\b", "compression", "pixelation"),
        (r"\bover-?\s?sharpened\b", "oversharpening"),
        (r"\bpixel+at(?:ed|es)\b", "pixelation"),
        (r"\bquanti[sz]ed\b|\bcolou?r banding\b|\bposteri[sz]\w*", "color quantization"),
        (r"\bdesaturated\b|\bunder-?\s?saturated\b|\b(?:low|poor|lack of) saturation", _PALE, _FLAT, _DARK, _BRIGHT),
        (r"\bover-?\s?saturat\w+|\bexcessive saturation", _RICH, _HARD),
        (r"\b(?:low|poor|lack of) contrast\b(?! (?:between|to|with|of))", _FLAT, _DARK, _BRIGHT),
        (r"\bexcessive contrast\b", _HARD),
        (rf"\bunder-?\s?expos\w+|\b(?:too|overly|excessively) dark\b|\b{_SEEN} (?:dark|dim)\b{_SAID}", _DARK, _HARD),
        (r"\bover-?\s?expos\w+|\b(?:too|overly|excessively) bright\b", _BRIGHT, _HARD),
    )
)  # fmt: skip
"""Words that name a distortion of the image, and the distortions of which any one explains them."""

GRADED = re.compile(rf"\b({'|'.join(GRADES)})\s+({'|'.join(DISTORTIONS)})\b", re.IGNORECASE)
"""A grade and a distortion as they were asked for: these must be true to the word."""

_DEGREES = {
    r"slight(?:ly)?|mild(?:ly)?|minor|minimal(?:ly)?|negligible|subtle|subtly|faint(?:ly)?|marginal(?:ly)?|lightly|"
    r"light(?= (?:blur|nois|compression|pixel))|barely|hardly|scarcely|(?:a )?little|a bit": range(0, 2),
    r"moderate(?:ly)?": range(0, 3),
    r"very|strong(?:ly)?|heavy|heavily|severe(?:ly)?|seriously|badly|intense(?:ly)?|terribly": range(2, 5),
    r"extreme(?:ly)?|catastrophic(?:ally)?|overwhelming(?:ly)?|completely|devastating(?:ly)?": range(3, 5),
}
DEGREE = re.compile("|".join(rf"\b(?P<d{i}>{words})(?!\w)" for i, words in enumerate(_DEGREES)), re.IGNORECASE)
"""A word for how strong a distortion is; ``grades_of`` says which grades it may stand for."""
BEFORE = re.compile(
    r"(?:\s+(?:visible|visibly|noticeable|noticeably|overall|much|any|amounts?|degrees?|levels?|touch|hint|traces?|form|of|"
    r"by|with|from|the|a|an|this|its|affected|degraded|damaged|disturbed|impaired|touched|suffering|suffers|random|colou?r|"
    r"image|motion))*\s+",
    re.IGNORECASE,
)
"""Text allowed between a degree and its distortion: "barely affected by blur"."""
AFTER = re.compile(
    r"\w*,?(?: which| that| and it)?\s+(?:is|are|was|remains|stays|looks|appears|seems)"
    r"(?: only| just| quite| rather| still)*\s+",
    re.IGNORECASE,
)
"""Text allowed between a distortion and its degree: "the blur is only mild"."""
ASIDE = re.compile(r"\w*,\s+(?:only\s+)?", re.IGNORECASE)
NOTICED = re.compile(r"\s+(?:visible|noticeable|perceptible|seen|present)\b", re.IGNORECASE)
"""The same without a verb: "blur, hardly visible"."""
COMPARED = re.compile(r"\s+(?:more|less|\w+er)\b", re.IGNORECASE)
"""What makes a degree that of a difference: "slightly more"."""

_PERCEIVE = r"(?:see|find|detect|notice|spot|identify|make out)"
NEGATED = re.compile(
    r"\b(?:no|not(?! only)|none|without|neither|nor|never|nothing|lacks?|free (?:of|from)|clean of|hardly any|"
    rf"(?:absence|devoid|instead) of|rather than|cannot {_PERCEIVE})\b|n't\b(?! only)",
    re.IGNORECASE,
)
REACH = re.compile(
    r"\b(?:because|due to|owing to|caused by|since|that|which)\b"
    r"|\band (?:is|are|looks?|appears?|shows?|has|have|suffers?|contains?)\b",
    re.IGNORECASE,
)
"""Where a negation ends: "lacks detail because of noise" does not say that there is no noise."""
FREE = re.compile(r"[- ]free\b(?! (?:of|from))", re.IGNORECASE)
"""Behind a word, it says the same: "noise-free"."""

REFUSAL = re.compile(
    r"\bsorry\b|\bapologi[sz]e\b|\bas an? (?:ai|(?:large )?language model)\b|\bunfortunately, I\b"
    r"|\bI (?:must |have to |will |respectfully )*(?:decline|refuse)\b"
    # "I cannot see any noise" is an answer, "I cannot see the image" is none
    r"|\b(?:I|we) (?:cannot|can not|can't|could not|couldn't|won't|will not|am (?:unable|not able) to)"
    rf"(?! {_PERCEIVE} (?:any|a|signs|traces)\b(?! (?:people|person|individual|face)))"
    r"|\bI(?:'m| am) (?:unable|not able|not comfortable)\b",
    re.IGNORECASE,
)  # fmt: skip

BAD = re.compile(
    r"\b(?:poor|bad|low|inferior|terrible|awful)(?: \w+)? quality\b|\bquality is (?:\w+ )?(?:poor|bad|low)\b",
    re.IGNORECASE,
)
GOOD = re.compile(
    r"\b(?:excellent|perfect|flawless|pristine|outstanding|superb)(?: \w+)? (?:quality|image|picture|condition)\b"
    r"|\bquality is (?:\w+ )?(?:excellent|perfect|flawless|outstanding|superb)\b",
    re.IGNORECASE,
)
"""Verdicts that a pristine image, or one that is seriously damaged, cannot have."""


def grades_of(degree: re.Match) -> set[str]:
    """The grades that a match of ``DEGREE`` may stand for."""
    return next({GRADES[i] for i in grades} for i, grades in enumerate(_DEGREES.values()) if degree[f"d{i}"])
