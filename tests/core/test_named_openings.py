"""Descriptions that open with what identify names, and the severity of what it names."""

import numpy as np
import pytest

from depictqa_core import tasks
from depictqa_core.checkpoints import Checkpoint
from depictqa_core.images import as_picture
from depictqa_core.judge import Judge
from tests.tiny import make_tiny_model


def pictures(count):
    rng = np.random.default_rng(5)
    return [as_picture(rng.integers(0, 256, (70 + 4 * i, 80, 3), np.uint8)) for i in range(count)]


def judge(**changes):
    model, tokenizer = make_tiny_model("cnn", **changes)
    return Judge(Checkpoint(model.eval(), tokenizer, {"name": "tiny"}))


def test_descriptions_open_with_what_identify_names():
    named, shown, heard = judge(names_first=True), pictures(4), {}
    texts = named.describe(shown, max_new_tokens=6, on_text=lambda index, text: heard.setdefault(index, text))
    for index, (description, one) in enumerate(zip(texts, named.identify(shown))):
        opening = next(o for o in tasks.identification_answers()[::-1] if description.text.startswith(o))
        assert heard[index].startswith(opening) and len(description.text) > len(opening)
        assert set(one.labels) <= set(tasks.parse_labels(opening)) and bool(one.labels) == (opening != "None")
    free = judge().describe(shown, max_new_tokens=6)
    assert not all(d.text.startswith(a.text) for d, a in zip(free, named.identify(shown)))


def test_words_behind_the_opening_are_those_the_model_would_write_itself():
    """The opening is read as tokens of the answer: forced to what the free answer began with, the rest is the same."""
    free, shown = judge(), pictures(1)
    asked = [(shown[0], None)]
    from depictqa_core.engine import Counter

    (written,) = free.engine.write(tasks.ASSESSMENT, None, asked, 8, Counter(None, 1))
    start = free.engine.decode(written.ids[:1])
    assert free.tokenizer(start, add_special_tokens=False)["input_ids"] == written.ids[:1]
    (forced,) = free.engine.write(tasks.ASSESSMENT, None, asked, 7, Counter(None, 1), openings=[(start, 0.25)])
    assert forced.ids == written.ids and forced.probabilities[0] == 0.25
    np.testing.assert_allclose(forced.probabilities[1:], written.probabilities[1:], rtol=1e-4)


def test_severities_are_mean_grades_of_the_named_distortions():
    able, shown, calls = judge(), pictures(3), []
    found = able.identify(shown, count=2, progress=lambda *now: calls.append(now))
    assert calls[-1] == (3, 3)
    for picture, answer in zip(shown, found):
        assert len(answer.severities) == len(answer.labels)
        for label, severity in zip(answer.labels, answer.severities):
            options, rows = able.ask(
                [{"A": picture}], tasks.SEVERITY, tasks.SEVERITY.ask(tasks.severity_question(label))
            )
            assert options == ("Slight", "Moderate", "Obvious", "Serious", "Catastrophic")
            assert severity == pytest.approx(float(rows[0] @ [1, 2, 3, 4, 5]), rel=1e-4)
    unable = judge(tasks=("identification",))
    assert unable.identify(shown[:1])[0].severities is None
