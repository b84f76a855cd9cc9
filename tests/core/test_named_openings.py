"""Descriptions that open with what identify names, and the severity of what it names."""

import numpy as np
import pytest
import torch

from depictqa_core import tasks
from depictqa_core.backends.base import AnswerProbabilities, Opening
from depictqa_core.backends.native import NativeBackend
from depictqa_core.errors import TaskError
from depictqa_core.images.image import as_image
from depictqa_core.judge import Judge
from depictqa_core.loading.checkpoint import Checkpoint
from depictqa_core.prompts import text_ids
from depictqa_core.runtime.progress import ProgressCounter
from tests.tiny import make_tiny_model


def pictures(count):
    rng = np.random.default_rng(5)
    return [as_image(rng.integers(0, 256, (70 + 4 * i, 80, 3), np.uint8)) for i in range(count)]


def judge(**changes):
    model, tokenizer = make_tiny_model("cnn", **changes)
    return Judge(NativeBackend(Checkpoint(model.eval(), tokenizer, {"name": "tiny"})))


@pytest.mark.slow
def test_descriptions_open_with_what_identify_names():
    named, shown = judge(names_first=True), pictures(4)
    for count in (1, 2, None):  # the same images: what was written for another opening is no answer to this one
        heard = {}
        texts = named.describe(shown, count=count, max_new_tokens=6, on_text=heard.setdefault)
        for index, (description, found) in enumerate(zip(texts, named.identify(shown, count=count))):
            assert description.text.startswith(found.text) and len(description.text) > len(found.text)
            assert heard[index].startswith(found.text)
    (asked,) = named.ask([{"A": shown[0]}], tasks.ASSESSMENT, tasks.ASSESSMENT.question)
    assert asked.text.startswith(named.identify(shown[0], count=None)[0].text)


def test_a_checkpoint_that_words_descriptions_freely_decides_what_they_name():
    free, shown = judge(), pictures(3)
    texts = free.describe(shown, max_new_tokens=6)
    assert not all(d.text.startswith(a.text) for d, a in zip(texts, free.identify(shown, count=None)))
    with pytest.raises(TaskError, match="leave count out"):
        free.describe(shown, count=1)


def test_two_are_named_where_two_are_more_probable(monkeypatch):
    """The open question decides the number alone; the names are those of the question for this number."""
    able, shown = judge(), pictures(3)
    options = tasks.answers(tasks.IDENTIFICATION, tasks.IDENTIFICATION.question)
    two = [" and " in option for option in options]
    choose, wanted = able.backend.choose, iter([0.2, 0.8, 0.51])

    def told(task, question, asked, report, *more):
        if question != tasks.IDENTIFICATION.question:
            return choose(task, question, asked, report, *more)
        shares = [next(wanted) for _ in asked]
        rows = [[p / sum(two) if pair else (1 - p) / (len(two) - sum(two)) for pair in two] for p in shares]
        return AnswerProbabilities(np.array(rows), np.ones(len(rows)))

    monkeypatch.setattr(able.backend, "choose", told)
    found = able.identify(shown, count=None)
    one, both = able.identify(shown, count=1), able.identify(shown, count=2)
    assert found == [one[0], both[1], both[2]]


def test_words_behind_the_opening_are_those_the_model_would_write_itself():
    """The opening is read as tokens of the answer: forced to what the free answer began with, the rest is the same."""
    free, shown = judge(), pictures(1)
    asked = [(shown[0], None)]
    (written,) = free.backend.write(tasks.ASSESSMENT, None, asked, 8, ProgressCounter(None, 1))
    start = free.backend.decode(written.ids[:1])
    assert free.backend.tokenizer(start, add_special_tokens=False)["input_ids"] == written.ids[:1]
    (forced,) = free.backend.write(
        tasks.ASSESSMENT, None, asked, 7, ProgressCounter(None, 1), openings=[Opening(start, 0.25)]
    )
    assert forced.ids == written.ids and forced.probabilities[0] == 0.25
    np.testing.assert_allclose(forced.probabilities[1:], written.probabilities[1:], rtol=1e-4)


def test_an_opening_is_not_lengthened_into_another():
    """Whatever the network would rather write: behind the names comes no "and", but the best of all other tokens."""
    able, shown = judge(names_first=True), pictures(3)
    joint = text_ids("Noise and", able.backend.tokenizer)[len(text_ids("Noise", able.backend.tokenizer))]
    bias = torch.zeros(able.model.language.config.vocab_size)
    bias[joint] = 5.0  # by far the most probable token everywhere
    head = able.model.language.lm_head
    head.register_forward_hook(lambda module, inputs, out: out + bias)
    for description, found in zip(able.describe(shown, count=1, max_new_tokens=3), able.identify(shown)):
        rest = description.text.removeprefix(found.text)
        assert not rest.startswith(" and") and " and" in rest  # only the first token is barred


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
