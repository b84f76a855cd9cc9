"""The judge's answers against an independent computation: prompts, and every answer by a plain forward pass."""

import math

import numpy as np
import pytest
import torch
from core.judging import pictures

from depictqa_core import tasks
from depictqa_core.calibration import SELF_CONSISTENCY
from depictqa_core.engine import decoding
from depictqa_core.judge import load_judge
from depictqa_core.network.vision import prepare
from depictqa_core.prompts import Slot, answer_ids, encode, layout


def prompt_by_hand(judge, question, shown):
    """Embeddings of one prompt; ``shown`` maps roles to images."""
    model, parts = judge.model, []

    def pooled(role):
        features = model.vision(
            *(None if x is None else x[None] for x in vars(prepare(shown[role], model.config)).values())
        )
        return model.connector.pool(features)

    for part in encode(layout(question, "B" in shown, "reference" in shown), judge.backend.tokenizer):
        if isinstance(part, Slot):
            beside = pooled("reference") if "reference" in shown and part.role != "reference" else None
            parts.append(model.connector(pooled(part.role), beside)[0])
        else:
            parts.append(model.get_input_embeddings().weight[part])
    return torch.cat(parts)


def probabilities_by_hand(judge, question, shown, options):
    """Score every whole answer by a plain forward pass; the answers of one word contend at their first token only."""
    scores = []
    with torch.no_grad():
        prompt = prompt_by_hand(judge, question, shown)
        answers = [answer_ids(option, judge.backend.tokenizer) for option in options]
        for answer in answers:
            table = judge.model.get_input_embeddings().weight
            logits = judge.model.language(inputs_embeds=torch.cat([prompt, table[answer]])[None]).logits[
                0, len(prompt) - 1 :
            ]
            score = 0.0
            for place, token in enumerate(answer):
                rivals = sorted({a[place] for a in answers if a[:place] == answer[:place]})
                score += float(logits[place, rivals].log_softmax(-1)[rivals.index(token)])
            scores.append(score)
    return torch.tensor(scores).softmax(-1).tolist()


TAIL = " Answer the question using a single word or phrase."
LEVELS = ("Excellent", "Good", "Fair", "Poor", "Bad")


@pytest.mark.parametrize("reference", [False, True])
def test_score_by_hand(judge, reference):
    (one,), (original,) = pictures(1), pictures(1, 5)
    shown = {"A": one} | ({"reference": original} if reference else {})
    chances = probabilities_by_hand(judge, tasks.SCORE.question + TAIL, shown, LEVELS)
    (got,) = judge.score(one, original if reference else None)
    points = (100, 75, 50, 25, 0)
    mean = sum(p * x for p, x in zip(chances, points))
    spread = math.sqrt(sum(p * (x - mean) ** 2 for p, x in zip(chances, points)))
    assert [level.label for level in got.levels] == [level.lower() for level in LEVELS]
    assert [level.probability for level in got.levels] == pytest.approx(chances, abs=1e-4)
    assert (got.score, got.spread) == pytest.approx((mean, spread), abs=0.02)
    # without a calibration: each level stands for the points that it is nearest to
    ends = ((87.5, 100), (62.5, 87.5), (37.5, 62.5), (12.5, 37.5), (0, 12.5))
    within = sum(
        p * max(0.0, min(high, mean + 10) - max(low, mean - 10)) / (high - low) for p, (low, high) in zip(chances, ends)
    )
    assert got.confidence == pytest.approx(within, abs=1e-3) and got.certainty == SELF_CONSISTENCY
    assert 0 <= got.low <= got.score <= got.high <= 100
    assert got.picture == "p0-0"


@pytest.mark.parametrize("reference", [False, True])
def test_compare_by_hand(judge, reference):
    (a, b), (original,) = pictures(2), pictures(1, 5)
    more = {"reference": original} if reference else {}
    question = tasks.RATING.question + TAIL
    forward = probabilities_by_hand(judge, question, {"A": a, "B": b, **more}, ("Image A", "Image B"))
    backward = probabilities_by_hand(judge, question, {"A": b, "B": a, **more}, ("Image A", "Image B"))
    got = judge.compare(a, b, original if reference else None)
    probability = (forward[0] + backward[1]) / 2
    assert got.probability_a == pytest.approx(probability, abs=1e-4)
    assert got.disagreement == pytest.approx(abs(forward[0] - backward[1]), abs=1e-4)
    assert got.confidence == pytest.approx(max(probability, 1 - probability), abs=1e-4)
    assert (got.picture_a, got.picture_b, got.text) == ("p0-0", "p0-1", None)
    agreed = (forward[0] > 0.5) == (backward[1] > 0.5)
    winner = "A" if probability > 0.5 else "B"
    assert got.verdict == (winner if agreed and abs(probability - 0.5) >= 0.05 else "tie")


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, None])
def test_identify_by_hand(cnn, monkeypatch, count):
    monkeypatch.setattr(decoding, "NEGLIGIBLE", 0.0)
    (one,) = pictures(1)

    def by_hand(count, question):
        options = tasks.identification_answers(count)
        return options, probabilities_by_hand(cnn, question + TAIL, {"A": one}, options)

    number = count
    if count is None:
        free, shares = by_hand(None, tasks.IDENTIFICATION.question)
        number = 2 if sum(share for option, share in zip(free, shares) if " and " in option) > 0.5 else 1
    options, chances = by_hand(number, {1: tasks.ONE_ISSUE, 2: tasks.TWO_ISSUES}[number])
    (got,) = cnn.identify(one, count=count)
    best = int(np.argmax(chances))
    assert got.text == options[best] and got.labels == tasks.parse_labels(options[best])
    same = [set(option.lower().split(" and ")) == set(options[best].lower().split(" and ")) for option in options]
    assert got.confidence == pytest.approx(sum(np.array(chances)[same]), abs=1e-4)
    mass = dict.fromkeys(tasks.LABELS, 0.0)
    for option, chance in zip(options, chances):
        names = option.lower().split(" and ")
        for name in names:
            mass[name] += chance / len(names)
    assert {p.label: p.probability for p in got.probabilities} == pytest.approx(mass, abs=1e-4)
    values = [p.probability for p in got.probabilities]
    assert values == sorted(values, reverse=True) and sum(values) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("question", [None, "What is wrong with it?"])
def test_describe_by_hand(cnn, question):
    (one,), (original,) = pictures(1), pictures(1, 5)
    table, ids, chances = cnn.model.get_input_embeddings().weight, [], []
    with torch.no_grad():
        embeds = prompt_by_hand(cnn, question or tasks.ASSESSMENT.question, {"A": one, "reference": original})
        for _ in range(6):
            out = cnn.model.language(inputs_embeds=embeds[None]).logits[0, -1].softmax(-1)
            ids.append(int(out.argmax()))
            chances.append(float(out.max()))
            embeds = torch.cat([embeds, table[ids[-1:]]])
    (got,) = cnn.describe(one, original, question=question, max_new_tokens=6)
    assert got.text == cnn.backend.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert got.picture == "p0-0" and min(chances) - 1e-4 <= got.confidence <= max(chances) + 1e-4


def test_calibration_is_a_temperature(folders):
    judge = load_judge(folders["cnn"], "cpu")
    before = np.array([p.probability for p in judge.score(pictures(1))[0].levels])
    judge.model.config.calibration = {"score": 2.0, "rating": 9.0}
    after = np.array([p.probability for p in judge.score(pictures(1))[0].levels])
    np.testing.assert_allclose(after, before**0.5 / (before**0.5).sum(), atol=1e-5)
