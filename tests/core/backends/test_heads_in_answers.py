"""Answers of a network with heads: what calibration adds to those of its language model, and where."""

import numpy as np
import pytest
import torch
from tiny import CNN, make_tiny_model

from depictqa_core import tasks
from depictqa_core.backends.native import NativeBackend
from depictqa_core.calibration import Calibration
from depictqa_core.images.image import as_image
from depictqa_core.judge import Judge
from depictqa_core.loading.checkpoint import Checkpoint
from depictqa_core.network.head_answers import answer_logits
from depictqa_core.network.vision import prepare
from depictqa_core.runtime.progress import ProgressCounter

WEIGHTS = {f"heads_{task}_nr": 0.7 for task in ("identification", "score", "faults", "rating")}
ASKED = [
    (tasks.IDENTIFICATION, tasks.ONE_ISSUE),
    (tasks.IDENTIFICATION, tasks.TWO_ISSUES),
    (tasks.SCORE, tasks.SCORE.question),
    (tasks.FAULT, tasks.fault_question("banding")),
    (tasks.RATING, tasks.RATING.question),
]


def pictures(count):
    rng = np.random.default_rng(5)
    return [as_image(rng.integers(0, 256, (48, 64, 3), np.uint8)) for _ in range(count)]


def judge(findings: bool = True, **calibration: float) -> Judge:
    model, tokenizer = make_tiny_model("cnn", connector={**CNN["connector"], "findings": findings})
    if findings:  # a new network of the same seed, but for the heads
        model.load_state_dict(make_tiny_model("cnn")[0].state_dict(), strict=False)
        with torch.no_grad():
            torch.manual_seed(1)
            model.connector.heads.whole[-1].weight.normal_(std=0.2)
            model.connector.heads.whole[-1].bias.fill_(2.5)  # in the middle of the range of the quality
    card = {"name": "tiny", "version": "0", "license": "Apache-2.0", "trained_on": "nothing"}
    made = Judge(NativeBackend(Checkpoint(model, tokenizer, card)))
    made.backend.calibration = Calibration(calibration)
    return made


def answers(judge: Judge, task: tasks.Task, question: str, image_sets) -> np.ndarray:
    return judge.backend.choose(task, question, image_sets, ProgressCounter(None, 1)).probabilities


@pytest.mark.parametrize("task, question", ASKED)
def test_heads_add_to_the_log_probabilities_of_images_without_a_reference(task, question):
    *shown, reference = pictures(3)
    images = tuple(shown[: 2 if task.pair else 1])
    image_sets = [(*images, None), (*images, reference)]
    with_heads, plain = judge(**WEIGHTS), judge(findings=False)
    options = tasks.answers(task, question)
    before, after = (answers(one, task, question, image_sets) for one in (plain, with_heads))
    model = with_heads.backend.model
    with torch.inference_mode():
        found = [model.connector.findings(torch.stack(model.encode([prepare(one, model.config)]))) for one in images]
    expected = np.log(before[0]) + 0.7 * answer_logits(task, question, options, found).numpy()[0]
    expected = np.exp(expected - expected.max())
    np.testing.assert_allclose(after[0], expected / expected.sum(), rtol=1e-4, atol=1e-9)
    assert abs(after[0] - before[0]).max() > 1e-3
    np.testing.assert_allclose(after[1], before[1], rtol=1e-12)


def test_heads_without_a_weight_change_nothing():
    shown = [(image, None) for image in pictures(2)]
    for task, question in ASKED[:-1]:
        without_weight, plain = (answers(judge(findings=f), task, question, shown) for f in (True, False))
        assert np.array_equal(without_weight, plain)


def test_many_images_at_once_equal_single_ones():
    shown = [(image, None) for image in pictures(5)]
    one, many = judge(**WEIGHTS), judge(**WEIGHTS)
    for task, question in ASKED[:-1]:
        together = answers(many, task, question, shown)
        alone = np.concatenate([answers(one, task, question, [images]) for images in shown])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-7)


def test_stored_answers_include_the_heads_without_the_images_features():
    shown = [(image, None) for image in pictures(2)]
    with_heads = judge(**WEIGHTS)
    first = answers(with_heads, *ASKED[0], shown)
    with_heads.backend.runner.features.cache.clear()
    with_heads.backend.runner.features.findings.clear()
    assert np.array_equal(answers(with_heads, *ASKED[0], shown), first)
    assert len(with_heads.backend.runner.features.cache) == 0  # nothing was encoded again
