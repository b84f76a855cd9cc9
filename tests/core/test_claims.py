"""Texts agree with the closed answers: which words contradict, what stands in their place, what is taken out."""

import pytest

from depictqa_core.claims import CONCLUSIONS, Facts, Seen, winner_claims

BETTER_A = [
    "In summary, Image A is clearly better than Image B, since its damage disturbs less.",
    "Image B has better contrast than Image A, but Image A is better overall.",
    "The better image is Image A.",
    "A viewer would prefer Image A.",
    "Image B is not better than Image A.",
    "Therefore, Image A exhibits higher quality.",
    "The quality of Image A is superior to that of Image B.",
    "Image B is worse than Image A.",
    "Compared to Image B, Image A is of better quality.",
    "Thus, in terms of overall quality, Image A outperforms Image B.",
    "Image B has a higher brightness but lower quality overall.",
    "Of the two, Image A has fewer distortions.",
    "Image A, despite its noise, is the better one.",
    "The first image is less distorted than the second image.",
    "Image B is inferior to Image A in overall quality.",
    "It is clear that the damage of Image B is stronger.",
    "Image A's quality is higher than Image B's.",
    "The quality of Image A exceeds that of Image B.",
    "Therefore, A is better.",
    "B's quality is much lower than A's.",
    "Image A is the clear winner.",
    "The winner is Image A.",
    "Image A has the edge over Image B.",
    "Thus image A is better than image B.",
    "I would rate Image A higher.",
    "Image A beats Image B.",
    "Image B is heavily degraded compared to Image A.",
]
NO_CLAIM = [
    "Image A shows slight blur, while Image B shows no distortion.",
    "Image A is better in terms of brightness.",
    "Image A has a higher contrast and better colors.",
    "Neither Image A nor Image B is better.",
    "Which image is better, Image A or Image B?",
    "Between Image A and Image B, there is no clear winner.",
    "In Image A, contours look fuzzy, whereas in Image B, fine details look soft.",
]


@pytest.mark.parametrize("text", BETTER_A)
def test_who_is_called_better(text):
    letters = {"first": "A", "second": "B"}
    claims = {(letters.get(word, word), wins) for _, word, wins in winner_claims(text)}
    assert claims and claims <= {("A", True), ("B", False)}
    assert all(text[start:].startswith(word) for start, word, _ in winner_claims(text))
    assert Facts(winner="A").contradiction(text) is None
    wrong = Facts(winner="B").contradiction(text)
    assert wrong.word in ("A", "B", "first", "second") and text[wrong.start : wrong.stop] != wrong.word
    assert Facts(winner="tie").contradiction(text).word is None


@pytest.mark.parametrize("text", NO_CLAIM)
def test_what_claims_no_winner(text):
    assert not list(winner_claims(text))


def test_a_tie_loses_its_winner_and_says_so():
    body = "Image A shows slight blur, while Image B shows slight noise."
    settled = Facts(winner="tie").settle(
        f"{body} In summary, Image A is better than Image B, as its damage disturbs less."
    )
    assert settled == f"{body} {CONCLUSIONS['tie']}."
    equal = f"{body} Both are of similar quality."
    assert Facts(winner="tie").settle(equal) == equal
    assert Facts(winner="A").settle(equal) == f"{body} {CONCLUSIONS['A']}."


def test_a_wrong_reason_goes_and_its_verdict_stays():
    text = "All in all, Image B is better than Image A, since the damage of Image B is stronger."
    settled = Facts(winner="B").settle(text)
    assert settled == "All in all, Image B is better than Image A."


@pytest.mark.parametrize("winner", ["A", "B", "tie"])
@pytest.mark.parametrize(
    "text", [*BETTER_A, *NO_CLAIM, "", "Image A", "Quite so; Image A is better. But Image B is better!"]
)
def test_what_is_settled_never_contradicts(text, winner):
    facts = Facts(winner=winner)
    settled = facts.settle(text)
    assert facts.contradiction(settled) is None and facts.settle(settled) == settled
    said = {(word in ("A", "first")) == wins for _, word, wins in winner_claims(settled)}
    assert said == ({winner == "A"} if winner != "tie" else set())


def test_levels():
    text = "Blur is slight in the image. In summary, the image is of bad quality, as the damage dominates the view."
    wrong = Facts(level="poor").contradiction(text)
    assert (text[wrong.start : wrong.stop], wrong.word) == ("bad", "poor")
    assert Facts(level="bad").contradiction(text) is None
    assert Facts(level="good").contradiction("The quality of the image is fair.").word == "good"
    assert Facts(level="good").contradiction("It was a bad day, and a fair one.") is None


def test_grades_of_the_first_sentence_are_put_right_together():
    seen = Seen(("blur", "noise"), ("moderate", "slight"))
    text = "Blur and noise are the main distortions of the image, slight and obvious in this order. Contours look soft."
    wrong = Facts(seen=seen).contradiction(text)
    assert text[: wrong.start] + wrong.word == (
        "Blur and noise are the main distortions of the image, moderate and slight in this order."
    )
    right = text[: wrong.start] + wrong.word + text[wrong.stop :]
    assert Facts(seen=seen).contradiction(right) is None
    assert seen.words() == "moderate blur and slight noise" and Seen(()).words() == "no distortion"


def test_names_contradict_only_where_all_are_others():
    noisy = Facts(seen=Seen(("noise",)))
    assert noisy.contradiction("Noise is visible, with slight blur.") is None
    assert noisy.contradiction("There is no blur.") is None
    settled = noisy.settle("A street at night. Strong blur hides the details. The colors are fine.")
    assert settled == "A street at night. The colors are fine. The most critical distortion is noise."
    clean = Facts(seen=Seen(()))
    assert clean.settle("A pristine street.") == "A pristine street."
    assert clean.settle("The street suffers from compression.") == "No distortion was found in the image."
    assert noisy.settle("The image is free of distortions.") == "The most critical distortion is noise."


CLEAN, NOISY, BLURRED = Seen(()), Seen(("noise",)), Seen(("blur",))


@pytest.mark.parametrize(
    "reason, pair, stays",
    [
        ("since only Image B is damaged", (CLEAN, NOISY), True),
        ("since only Image B is damaged", (CLEAN, CLEAN), False),
        ("since only Image B is damaged", (BLURRED, NOISY), False),
        ("since the damage of Image B is stronger", (BLURRED, NOISY), True),
        ("since the damage of Image B disturbs more", (BLURRED, CLEAN), False),
        ("as its damage disturbs less", (BLURRED, NOISY), True),
        ("as its damage disturbs less", (CLEAN, NOISY), False),
        ("because it has no distortion", (CLEAN, NOISY), True),
        ("because it has no distortion", (BLURRED, NOISY), False),
        ("as nothing disturbs its view", (BLURRED, NOISY), False),
    ],
)
def test_the_reason_of_a_verdict_agrees_with_what_was_found(reason, pair, stays):
    verdict = "In summary, Image A is better than Image B"
    settled = Facts(winner="A", pair=pair).settle(f"{verdict}, {reason}.")
    assert settled == (f"{verdict}, {reason}." if stays else f"{verdict}.")
