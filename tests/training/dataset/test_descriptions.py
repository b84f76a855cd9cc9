"""Composed answers never contradict the truth: a large grid of truths, and rules independent of the composer."""

import itertools
import re

import numpy as np
import pytest

from depictqa_core import tasks
from training import distortions
from training.dataset.records import descriptions
from training.dataset.records.descriptions import assessment, comparison, level_of, named, winner

GRADES = ["slight", "moderate", "obvious", "serious", "catastrophic"]
# Words that speak of one distortion only; no text about an image without it may hold them.
CUES = {
    "noise": r"nois|grain|speck|dots",
    "blur": r"blur|soft|fuzz|focus|smear|streak|ragged|smudg",
    "compression": r"compress|block|ripple|artifact|textures (look|appear)|ringing",
    "oversharpening": r"sharp|halo|outline|exaggerated",
    "pixelation": r"pixel|mosaic|square|jagged|coarse",
    "color quantization": r"quantiz|band|stepped|abrupt|poster",
    "insufficient saturation": r"insufficient saturation|pale|faded|weak\b|dull|colorless",
    "overly high saturation": r"high saturation|garish|gaudy|vivid|unnatural",
    "insufficient contrast": r"insufficient contrast|flat|haz|tell apart",
    "overly high contrast": r"high contrast|harsh|steep|excessive",
    "insufficient brightness": r"insufficient brightness|\bdark|\bdim|underexposed|gloom",
    "overly high brightness": r"high brightness|\bbright\b|glar|overexposed",
}
STRONG, WEAK = r"\b(very|extremely)\b", r"\b(a little|somewhat) (?!better)"
WHERE = {
    "upper left": "toward the upper left",
    "upper right": "toward the upper right",
    "lower left": "toward the lower left",
    "lower right": "toward the lower right",
    "top": "toward the top",
    "bottom": "toward the bottom",
    "left": "toward the left",
    "right": "toward the right",
    "center": "toward the center",
    "everywhere": None,
    None: None,
    "dark areas": "in the shadows",
    "bright areas": "in the highlights",
    "midtones": "in the midtones",
    "smooth areas": "in smooth areas",
    "textured areas": "in textured areas",
    "edges": "along the edges",
}


def grades_of(variant):
    words = GRADES if len(variant["distortions"]) == 1 else ["slight", "obvious", "serious"]
    return [words[d["severity"] - 1] for d in variant["distortions"]]


def labels_of(variant):
    return [distortions.ANSWER[d["category"]] for d in variant["distortions"]]


def effective(found):
    steps = sorted(d["severity"] for d in found)
    return 0 if not steps else steps[-1] if len(steps) == 1 else min(5, steps[1] + steps[0] / 2)


def make_variant(found, rng, where=None):
    found = [{"category": distortions.CATEGORY[name], "name": name, "severity": severity} for name, severity in found]
    quality = float(np.clip(1 - 0.18 * (effective(found) + rng.uniform(-0.45, 0.45)), 0, 1)) if found else 1.0
    return {
        "distortions": found,
        "where": where or {"region": "everywhere", "tone": None, "texture": None},
        "quality": quality,
    }


def random_variant(rng):
    kind = rng.random()
    found = [] if kind < 0.08 else [distortions.sample_one(rng)] if kind < 0.55 else distortions.sample_two(rng)
    region, tone, texture = (
        rng.choice(np.array(options, dtype=object))
        for options in (
            (
                "upper left",
                "top",
                "upper right",
                "left",
                "center",
                "right",
                "lower left",
                "bottom",
                "lower right",
                "everywhere",
            ),
            ("dark areas", "midtones", "bright areas", None),
            ("smooth areas", "textured areas", "edges", None),
        )
    )
    return make_variant(found, rng, {"region": region, "tone": tone, "texture": texture})


def grid():
    """All single truths and all pairs of categories at all severities, each several times, and pristine images."""
    rng = np.random.default_rng(5)
    for name, severity in itertools.product(distortions.NAMES, range(1, 6)):
        for _ in range(6):
            yield make_variant([(name, severity)], rng)
    for (first, second), a, b in itertools.product(sorted(distortions.ALLOWED_PAIRS), (1, 2, 3), (1, 2, 3)):
        for _ in range(2):
            names = [rng.choice(distortions.CATEGORIES[category]) for category in (first, second)]
            yield make_variant([(str(names[0]), a), (str(names[1]), b)], rng)
    for _ in range(50):
        yield make_variant([], rng)
    for _ in range(2000):
        yield random_variant(rng)


def check_issues(text, variant):
    """Every distortion with its own grade word, no other distortion, no cue of another one, no other grade word."""
    truth = dict(zip(labels_of(variant), grades_of(variant), strict=True))
    lower = text.lower()
    assert {label for label in tasks.DISTORTIONS if re.search(rf"\b{label}\b", lower)} == set(truth), text
    for label, cue in CUES.items():
        assert label in truth or not re.search(cue, lower), (label, text)
    # the sentence that names them grades them in the same order
    naming = next((s for s in lower.split(".") if any(label in s for label in truth)), "")
    named = re.findall("|".join(sorted(tasks.DISTORTIONS, key=len, reverse=True)), naming)
    assert list(zip(named, re.findall("|".join(GRADES), naming), strict=True)) == [(n, truth[n]) for n in named], text
    assert set(re.findall("|".join(GRADES), lower)) == set(truth.values()), text
    if not {"serious", "catastrophic"} & set(truth.values()):
        assert not re.search(STRONG, lower), text
    if "slight" not in truth.values():
        assert not re.search(WEAK, lower), text
    if "catastrophic" not in truth.values():
        assert "extremely" not in lower, text
    if not truth:
        assert re.search(r"no distortion|free of distortions|none of the", lower) and "damage" not in lower, text
    else:
        assert not re.search(r"no distortion|free of|without", lower), text


def check_form(text, reference, most):
    assert 24 <= len(text.split()) <= most, text
    assert reference or "reference" not in text.lower()
    assert re.fullmatch(r"([A-Z][^.]*\.)( [A-Z][^.]*\.)+", text) and "  " not in text and "{" not in text, text


@pytest.mark.slow
def test_assessments_follow_the_truth():
    rng = np.random.default_rng(1)
    for index, variant in enumerate(grid()):
        reference = bool(index % 2)
        text = assessment(variant, rng, reference)
        check_form(text, reference, 70)
        check_issues(text, variant)
        assert named(text) == set(labels_of(variant))
        level = min(range(5), key=lambda i: abs(variant["quality"] - (1 - i / 4)))
        assert re.findall(r"\b(excellent|good|fair|poor|bad)\b", text) == [
            ("excellent", "good", "fair", "poor", "bad")[level]
        ], text
        said = {phrase for phrase in set(WHERE.values()) - {None} if phrase in text}
        said -= {"toward the left", "toward the right"} if re.search("toward the (upper|lower)", text) else set()
        assert said == (
            {WHERE[value] for value in variant["where"].values()} - {None} if variant["distortions"] else set()
        ), text


@pytest.mark.slow
def test_comparisons_follow_the_truth():
    rng = np.random.default_rng(2)
    variants = list(grid())
    checked = 0
    for index in range(4000):
        a, b = (variants[int(i)] for i in rng.integers(len(variants), size=2))
        if a["quality"] == b["quality"]:
            continue
        better, reference = a["quality"] > b["quality"], bool(index % 2)
        text = comparison(a, b, better, rng, reference)
        check_form(text, reference, 80)
        issues, effects, verdict = re.findall(r"[^.]+\.", text)
        split = re.split(r"\bImage B\b", issues), re.split(r"\bImage B,", effects)
        for side, (first, second) in zip((0, 1), zip(*split, strict=True), strict=True):
            part = f"{first} . {second}"
            check_issues_of_side(part, (a, b)[side])
        best, other = ("Image A", "Image B") if better else ("Image B", "Image A")
        assert re.search(rf"{best} \w+ (clearly |a little )?better (quality )?than {other}", verdict), text
        assert winner(text) == ("A" if better else "B")
        assert named(verdict) == set() and named(text) == set(labels_of(a) + labels_of(b))
        if re.search("weaker|stronger", verdict):
            assert effective((a if better else b)["distortions"]) < effective((b if better else a)["distortions"]), text
        if re.search("no distortion|nothing|only", verdict):
            assert not (a if better else b)["distortions"]
        checked += 1
    assert checked > 3500


def check_issues_of_side(part, variant):
    if variant["distortions"]:
        check_issues(part, variant)
    else:
        assert named(part) == set() and not any(re.search(cue, part) for cue in CUES.values()), part


def test_a_winner_by_sight_is_not_called_less_strongly_distorted():
    rng = np.random.default_rng(0)
    a, b = make_variant([("noise_impulse", 3)], rng), make_variant([("blur_zoom", 2)], rng)
    texts = [comparison(a, b, True, rng, False) for _ in range(200)]
    assert all(
        winner(text) == "A" and "weaker" not in text and "stronger" not in text and "clearly" not in text
        for text in texts
    )


@pytest.mark.slow
def test_texts_vary_with_a_compact_vocabulary():
    rng = np.random.default_rng(3)
    texts = [assessment(random_variant(rng), rng, bool(i % 2)) for i in range(3000)]
    assert len(set(texts)) > 2900
    assert len({word for text in texts for word in re.findall(r"[a-z]+", text.lower())}) < 300
    one = make_variant([("noise_impulse", 3)], rng)
    assert len({assessment(one, rng, True) for _ in range(500)}) > 350
    assert assessment(one, np.random.default_rng(4), True) == assessment(one, np.random.default_rng(4), True)


def test_about_half_of_the_texts_with_a_reference_mention_it():
    rng = np.random.default_rng(3)
    variants = [random_variant(rng) for _ in range(500)]
    assert 200 < sum("reference" in assessment(v, rng, True) for v in variants) < 400
    assert 200 < sum("reference" in comparison(v, v, True, rng, True) for v in variants) < 400


def test_every_distortion_has_effects():
    assert descriptions._EFFECTS.keys() == set(distortions.CATEGORIES) == set(distortions.ANSWER)
    assert descriptions._SPECIAL_EFFECTS.keys() <= set(distortions.NAMES)
    special = ((distortions.CATEGORY[name], effects) for name, effects in descriptions._SPECIAL_EFFECTS.items())
    for category, effects in [*descriptions._EFFECTS.items(), *special]:
        for effect in effects:
            text = effect.format(look="look", m="very ")
            cued = {label for label, cue in CUES.items() if re.search(cue, text)}
            assert cued == {distortions.ANSWER[category]}, text


def test_named_finds_label_names_only():
    assert named("Noise, and overly high contrast.") == {"noise", "overly high contrast"}
    assert named("A noisy, blurry, bright image; compressions.") == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Image B has noise. Overall, Image A is better than Image B, as it is.", "A"),
        ("Image B has clearly better quality than Image A, since the damage of Image A is stronger.", "B"),
        ("Image A and Image B are the same.", None),
        ("Image A is better.", None),
        ("Image A is better than Image A.", None),
        ("", None),
    ],
)
def test_winner_of_a_text(text, expected):
    assert winner(text) == expected


@pytest.mark.parametrize(
    ("quality", "level"), [(1, "excellent"), (0.8, "good"), (0.5, "fair"), (0.2, "poor"), (0.1, "bad"), (0, "bad")]
)
def test_level_of_a_quality(quality, level):
    assert level_of(quality) == level


def test_impossible_truths_are_refused():
    rng = np.random.default_rng(0)
    one = make_variant([("noise_impulse", 3)], rng)
    with pytest.raises(ValueError, match="undecided"):
        comparison(one, one, None, rng, False)
    with pytest.raises(ValueError, match="severity must be from 1 to 3"):
        assessment(make_variant([("noise_impulse", 4), ("blur_zoom", 1)], rng), rng, False)
    with pytest.raises(ValueError, match="at most two"):
        assessment(
            make_variant([("noise_impulse", 1), ("blur_zoom", 1)], rng) | {"distortions": one["distortions"] * 3},
            rng,
            False,
        )
    with pytest.raises(ValueError, match="unknown location"):
        assessment(make_variant([("noise_impulse", 4)], rng, {"region": "behind"}), rng, False)
    with pytest.raises(ValueError, match="quality must be"):
        level_of(1.1)
