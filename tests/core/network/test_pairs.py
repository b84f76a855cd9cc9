"""Networks that compare Image B with Image A: where the difference counts, and that training shows what answers see."""

import numpy as np
import pytest
import torch
from tiny import CNN, make_tiny_model

from benchmarks.speed_setup import choose_naively
from depictqa_core import tasks
from depictqa_core.backends.native import NativeBackend
from depictqa_core.engine.feature_keys import FeatureKey, distinct_feature_keys, feature_keys
from depictqa_core.images.image import as_image
from depictqa_core.judge import Judge
from depictqa_core.loading.checkpoint import Checkpoint
from depictqa_core.network.model import PAIR_WEIGHTS
from depictqa_core.network.vision import prepare
from depictqa_core.runtime.progress import ProgressCounter
from training.trainer.examples import collate, make_example
from training.trainer.image_features import ImageFeatures

TOWERS = {"local": {"channels": 6, "grid": 4, "hidden": 8}, "tiles": {"channels": 16, "grid": 2, "side": 32}}


def pictures(count):
    rng = np.random.default_rng(4)
    return [as_image(rng.integers(0, 256, (48, 64, 3), np.uint8)) for _ in range(count)]


def paired_judge(**connector):
    settings = {**CNN["connector"], "pair": True, **connector}
    changes = {"connector": settings, "vision": {**CNN["vision"], **TOWERS}}
    model, tokenizer = make_tiny_model("cnn", **changes)
    with torch.no_grad():  # a new one says nothing yet
        model.connector.pair_tokens.weight.normal_()
    card = {"name": "tiny", "version": "0", "license": "Apache-2.0", "trained_on": "nothing"}
    return Judge(NativeBackend(Checkpoint(model, tokenizer, card)))


@pytest.fixture(scope="module")
def judge():
    return paired_judge()


def test_only_image_b_without_a_reference_is_compared_with_image_a():
    a, b, reference = pictures(3)
    assert feature_keys({"A": a, "B": b}, pairs=True) == {"A": FeatureKey(a.key), "B": FeatureKey(b.key, None, a.key)}
    assert feature_keys({"A": a, "B": b}, pairs=False) == {"A": FeatureKey(a.key), "B": FeatureKey(b.key)}
    beside = {"reference": reference, "A": a, "B": b}
    assert feature_keys(beside, pairs=True) == feature_keys(beside, pairs=False)
    assert feature_keys({"A": a}, pairs=True) == {"A": FeatureKey(a.key)}
    both = [{"A": a, "B": b}, {"A": b, "B": a}]
    assert len(distinct_feature_keys(both, pairs=True)) == 4 and len(distinct_feature_keys(both, pairs=False)) == 2


def test_the_other_image_counts_in_comparisons_alone(judge):
    a, b, reference = pictures(3)
    silent = paired_judge()
    with torch.no_grad():
        silent.model.connector.pair_tokens.weight.zero_()
    with_reference = [one.compare(a, b, reference).probability_a for one in (judge, silent)]
    assert abs(judge.compare(a, b).probability_a - silent.compare(a, b).probability_a) > 1e-3
    assert with_reference[0] == with_reference[1]
    assert judge.score([a])[0].score == silent.score([a])[0].score


def test_many_pairs_at_once_equal_single_ones(judge):
    shown = pictures(4)
    pairs = [(one, other) for one in shown for other in shown if one is not other]
    many = judge.compare_many(pairs)
    for (a, b), answer in zip(pairs, many):
        alone = paired_judge().compare(a, b)
        assert answer.probability_a == pytest.approx(alone.probability_a, abs=1e-4)


def test_a_ranking_shows_every_image_with_its_own_opponent(monkeypatch):
    """More than one batch and one round: each answer is that of the pair alone, and Image A is connected once."""
    judge, shown = paired_judge(), pictures(14)
    asked, choose, connect = {}, judge.backend.choose, judge.model.connect
    connected = []

    def noting(task, question, image_sets, *rest, **named):
        before = len(connected)
        found = choose(task, question, image_sets, *rest, **named)
        if not task.pair:
            del connected[before:]
        else:
            asked.update({(a.key, b.key): row for (a, b, _), row in zip(image_sets, found.probabilities)})
        return found

    def counting(pooled, references, comparisons, others):
        connected.extend(others)
        return connect(pooled, references, comparisons, others)

    monkeypatch.setattr(judge.backend, "choose", noting)
    monkeypatch.setattr(judge.model, "connect", counting)
    judge.rank(shown, reasons=False)
    assert len(asked) > 64
    assert len(connected) == len(asked) + 14  # Image B of each pair, and each Image A once
    by_key = {image.key: image for image in shown}
    alone = paired_judge().backend
    for a, b in list(asked)[:: len(asked) // 12]:
        alone.forget_answers()
        single = alone.choose(tasks.RATING, None, [(by_key[a], by_key[b], None)], ProgressCounter(None, 1))
        np.testing.assert_allclose(asked[a, b], single.probabilities[0], atol=1e-4)


def test_the_naive_computation_of_the_benchmark_agrees():
    """Also where answers have the prior of clean images, and heads."""
    judge, (a, b, reference) = paired_judge(findings=True), pictures(3)
    heads = {f"heads_{name}_nr": 0.5 for name in ("rating", "identification", "score")}
    prior = {"identification_nr": 2.0, "none_identification_nr": 3.0, "none_score_fr": -3.0}
    judge.model.config.calibration = {**prior, **heads}
    checkpoint = Checkpoint(judge.model, judge.backend.tokenizer, judge.info)
    for task in (tasks.RATING, tasks.IDENTIFICATION, tasks.SCORE):
        for beside in (None, reference):
            images = (a, b, beside) if task.pair else (a, beside)
            engine = judge.backend.choose(task, None, [images], ProgressCounter(None, 1)).probabilities
            np.testing.assert_allclose(choose_naively(checkpoint, task, None, [images]), engine, atol=1e-4)


@pytest.mark.parametrize("reference", [False, True])
def test_training_sees_what_answering_does(judge, reference):
    model, tokenizer = judge.model, judge.backend.tokenizer
    shown = pictures(3 if reference else 2)
    names = ["image_ref", "image_A", "image_B"][-len(shown) :]
    features = dict(zip(names, model.encode([prepare(image, model.config) for image in shown])))
    tokens = model.connector.token_count(features["image_A"])
    record = {"task_type": "quality_compare" if reference else "quality_compare_noref", **dict(zip(names, names))}
    turns = ([{"value": tasks.RATING.ask()}, {"value": winner}] for winner in tasks.WINNERS)
    examples = [make_example({**record, "conversations": turn}, tokenizer) for turn in turns]
    single = {**record, "task_type": "quality_single_A_noref", "conversations": [{"value": "?"}, {"value": "None"}]}
    examples.insert(0, make_example(single, tokenizer))  # its image has no other one
    seen = [[ImageFeatures(features[path], tokens) for path in one.pictures] for one in examples]
    batch = collate(examples, seen, tokenizer.pad_token_id)
    with torch.no_grad():
        logits = model(**batch).logits[1:, :-1]
    labels = batch["labels"][1:, 1:]
    fork = (labels[0] != labels[1]).nonzero()[0, 0]  # the first token in which the two answers differ
    odds = logits[0, fork, labels[:, fork]].softmax(0)
    asked = judge.backend.choose(
        tasks.RATING, None, [(*shown[-2:], shown[0] if reference else None)], ProgressCounter(None, 1)
    )
    np.testing.assert_allclose(asked.probabilities[0], odds, atol=1e-4)


def test_the_pair_can_be_trained_alone(judge):
    model = judge.model
    try:
        model.freeze(("pair",))
        learned = {name for name, p in model.named_parameters() if p.requires_grad}
        assert learned == {name for name, _ in model.named_parameters() if name.startswith(PAIR_WEIGHTS)} != set()
        model.freeze(("connector",))
        assert learned < {name for name, p in model.named_parameters() if p.requires_grad}
    finally:
        model.freeze(())
