"""A written answer is written on from the word that contradicts the verdict, and otherwise mended by hand."""

import pytest
from core.judging import fresh, pictures

from depictqa_core.claims import CONCLUSIONS
from depictqa_core.results import Comparison


def verdict(letter):
    probability = {"A": 0.9, "B": 0.1, "tie": 0.5}[letter]
    return Comparison("a", "b", probability, 0.0, letter, max(probability, 1 - probability))


@pytest.fixture
def scripted(cnn, monkeypatch):
    """A judge with a given verdict, whose model writes given endings behind whatever it is made to begin with."""

    def make(letter, *endings):
        judge, calls, left = fresh(cnn), [], list(endings)
        given = lambda asker, question, asked, *rest, **more: [verdict(letter)] * len(asked)  # noqa: E731
        monkeypatch.setattr("depictqa_core.judge.compare", given)

        def write(task, question, asked, length, report, on_text=None, openings=None):
            calls.append([opening.text for opening in openings])
            return [judge.backend.tokens(opening.text + left.pop(0), 0.5) for opening in openings]

        monkeypatch.setattr(judge.backend, "write", write)
        return judge.compare(*pictures(2), explain=True).text, calls

    return make


BODY = "Image A is dark. Image B is sharp. "


def test_the_other_winner_is_written_on_from_the_right_one(scripted):
    text, calls = scripted("B", f"{BODY}Overall, Image A is better than Image B.", " is better, as it is sharp.")
    assert calls == [[""], [f"{BODY}Overall, Image B"]]
    assert text == f"{BODY}Overall, Image B is better, as it is sharp."


def test_what_agrees_is_left_alone(scripted):
    text, calls = scripted("A", f"{BODY}Overall, Image A is better.")
    assert (text, len(calls)) == (f"{BODY}Overall, Image A is better.", 1)


def test_a_model_that_insists_is_overruled(scripted):
    text, calls = scripted("B", f"{BODY}Image A is better.", *[" is worse.", " is better."] * 10)
    assert text == f"{BODY.strip()} {CONCLUSIONS['B']}." and len(calls) < 12


@pytest.mark.parametrize("letter", ["A", "B", "tie"])
def test_a_text_without_a_verdict_gets_it(scripted, letter):
    assert scripted(letter, BODY.strip())[0] == f"{BODY}{CONCLUSIONS[letter]}."


def test_a_tie_names_no_winner(scripted):
    text, calls = scripted("tie", f"{BODY}Therefore, Image A has higher quality.")
    assert (text, len(calls)) == (f"{BODY}{CONCLUSIONS['tie']}.", 1)
