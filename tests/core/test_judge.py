"""The judge's verbs on tiny random models: batches, references, progress, Cancel, caches, symmetry, ties and errors."""

import json
import math

import numpy as np
import pytest
import torch
from tiny import make_tiny_checkpoint

from depictqa_core import decoding, engine, ranking, tasks
from depictqa_core import judge as judge_module
from depictqa_core.decoding import Generated
from depictqa_core.engine import BATCH, without_end
from depictqa_core.errors import ImageError, TaskError
from depictqa_core.images import as_picture, as_pictures
from depictqa_core.judge import load_judge
from depictqa_core.prompts import Slot, answer_ids, encode, layout, text_ids
from depictqa_core.results import LabelProbability
from depictqa_core.vision import prepare


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("judges")
    return {kind: make_tiny_checkpoint(root / kind, kind, seed=2) for kind in ("cnn", "clip")}


@pytest.fixture(scope="module", params=["cnn", "clip"])
def judge(request, folders):
    return load_judge(folders[request.param], "cpu")


@pytest.fixture(scope="module")
def cnn(folders):
    return load_judge(folders["cnn"], "cpu")


def fresh(judge):
    """The same network with empty caches."""
    from depictqa_core.checkpoints import Checkpoint

    return judge_module.Judge(Checkpoint(judge.model, judge.tokenizer, judge.info))


SIZES = [(40, 60), (60, 40), (90, 90), (33, 150)]


def pictures(count=4, seed=0, sizes=SIZES):
    rng = np.random.default_rng(seed)
    shapes = [sizes[i % len(sizes)] for i in range(count)]
    return [as_picture(rng.integers(0, 256, (*shape, 3), np.uint8), f"p{seed}-{i}") for i, shape in enumerate(shapes)]


REFERENCES = {"no reference": lambda n: None, "one": lambda n: pictures(1, 9)[0], "each": lambda n: pictures(n, 8)}
PAIRS = [(0, 1), (2, 3), (3, 0), (1, 1)]


def compare_pairs(judge, shown, references, **options):
    if references is not None:
        references = as_pictures(references) * (1 if isinstance(references, list) else len(PAIRS))
    return judge.compare_many([(shown[i], shown[j]) for i, j in PAIRS], references, **options)


VERBS = {
    "identify one": lambda j, p, r, **o: j.identify(p, r, count=1, **o),
    "identify two": lambda j, p, r, **o: j.identify(p, r, count=2, **o),
    "identify any": lambda j, p, r, **o: j.identify(p, r, count=None, **o),
    "describe": lambda j, p, r, **o: j.describe(p, r, max_new_tokens=5, **o),
    "score": lambda j, p, r, **o: j.score(p, r, **o),
    "compare": compare_pairs,
    "rank by pairs": lambda j, p, r, **o: j.rank(p, r, **o),
    "rank by score": lambda j, p, r, **o: j.rank(p, r, method="score", **o),
}
EACH = [name for name in VERBS if "rank" not in name and name != "compare"]


def plain(answer):
    return [a.to_dict() for a in answer] if isinstance(answer, list) else answer.to_dict()


def alike(a, b, tolerance=1e-4):
    """Equal words, and numbers that are equal within a tolerance, at every depth."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return all(alike(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(alike(x, y, tolerance) for x, y in zip(a, b))
    return a == pytest.approx(b, rel=1e-5, abs=tolerance) if isinstance(a, float) else a == b


# ---------------------------------------------------------------------- batches and settings


@pytest.mark.parametrize("references", REFERENCES)
@pytest.mark.parametrize("verb", EACH)
def test_batch_equals_single_runs(judge, verb, references):
    shown, given = pictures(4), REFERENCES[references](4)
    together = plain(VERBS[verb](judge, shown, given))
    each = given if isinstance(given, list) else [given] * 4
    alone = [plain(VERBS[verb](fresh(judge), one, reference))[0] for one, reference in zip(shown, each)]
    assert alike(together, alone)
    assert len({json.dumps(answer) for answer in together}) == 4  # and the pictures matter


@pytest.mark.parametrize("references", REFERENCES)
def test_compared_pairs_equal_single_comparisons(judge, references):
    shown, given = pictures(4), REFERENCES[references](4)
    together = plain(compare_pairs(judge, shown, given))
    each = given if isinstance(given, list) else [given] * 4
    alone = [fresh(judge).compare(shown[i], shown[j], reference).to_dict() for (i, j), reference in zip(PAIRS, each)]
    assert alike(together, alone)


@pytest.mark.parametrize("verb", EACH)
def test_the_reference_matters(judge, verb):
    shown = pictures(2)
    answers = [plain(VERBS[verb](judge, shown, given)) for given in (None, pictures(1, 7)[0], pictures(1, 6)[0])]
    assert not alike(answers[0], answers[1]) and not alike(answers[1], answers[2])


def test_more_pictures_than_a_batch_of_mixed_sizes_and_references_come_back_in_order(judge):
    count = BATCH + 5
    shown = pictures(count, 3)
    assert [a.picture for a in judge.score(shown)] == [p.name for p in shown]
    references = [p if i % 3 else None for i, p in enumerate(pictures(count, 4))]
    pairs = list(zip(shown, shown[1:] + shown[:1]))
    together = judge.compare_many(pairs, references)
    for i in (0, 1, BATCH, count - 1):
        assert alike(together[i].to_dict(), fresh(judge).compare(*pairs[i], references[i]).to_dict())
    scores = judge.score(shown)
    for i in (0, 7, BATCH, count - 1):
        assert alike(scores[i].to_dict(), fresh(judge).score(shown[i])[0].to_dict())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["cnn", "clip"])
def test_batch_equals_single_runs_in_half_precision(folders, kind, dtype):
    judge = load_judge(folders[kind], "cpu", dtype)
    with torch.no_grad():
        judge.model.language.lm_head.weight *= 0.1  # random logits are large, and so is their rounding
    shown = pictures(4)
    together = judge.identify(shown, pictures(1, 9)[0])
    for one, answer in zip(shown, together):
        (alone,) = fresh(judge).identify(one, pictures(1, 9)[0])
        mine, other = ({p.label: p.probability for p in a.probabilities} for a in (answer, alone))
        assert mine == pytest.approx(other, abs=0.01 if dtype == "float16" else 0.05)
    assert all(0 <= d.confidence <= 1 for d in judge.describe(shown, max_new_tokens=3))


def test_every_kind_of_input_is_the_same_picture(cnn, tmp_path):
    from PIL import Image

    (one,) = pictures(1)
    Image.fromarray(one.rgb).save(tmp_path / "one.png")
    batch = torch.from_numpy(np.stack([one.rgb, one.rgb]).astype(np.float32) / 255)
    sources = [one, one.rgb, Image.fromarray(one.rgb), tmp_path / "one.png", str(tmp_path / "one.png"), batch[0]]
    expected = cnn.score(one)[0].score
    for source in sources:
        (answer,) = cnn.score(source)
        assert answer.score == pytest.approx(expected, abs=1e-4)
    assert [round(a.score, 3) for a in cnn.score(batch)] == [round(expected, 3)] * 2
    assert cnn.score([]) == cnn.identify([]) == cnn.describe([]) == cnn.compare_many([]) == []


# ---------------------------------------------------------------------- against an independent computation


def prompt_by_hand(judge, question, shown):
    """Embeddings of one prompt; ``shown`` maps roles to pictures."""
    model, parts = judge.model, []

    def pooled(role):
        features = model.vision(
            *(None if x is None else x[None] for x in vars(prepare(shown[role], model.config)).values())
        )
        return model.connector.pool(features)

    for part in encode(layout(question, "B" in shown, "reference" in shown), judge.tokenizer):
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
        answers = [answer_ids(option, judge.tokenizer) for option in options]
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
    assert got.confidence == pytest.approx(1 - spread / 50, abs=1e-3)
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
    assert got.verdict == ("tie" if abs(probability - 0.5) < 0.05 else "A" if probability > 0.5 else "B")


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
    assert got.confidence == pytest.approx(chances[best], abs=1e-4)
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
    assert got.text == cnn.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert got.picture == "p0-0" and min(chances) - 1e-4 <= got.confidence <= max(chances) + 1e-4


def test_calibration_is_a_temperature(folders):
    judge = load_judge(folders["cnn"], "cpu")
    before = np.array([p.probability for p in judge.score(pictures(1))[0].levels])
    judge.model.config.calibration = {"score": 2.0, "rating": 9.0}
    after = np.array([p.probability for p in judge.score(pictures(1))[0].levels])
    np.testing.assert_allclose(after, before**0.5 / (before**0.5).sum(), atol=1e-5)


# ---------------------------------------------------------------------- determinism and caches


@pytest.fixture(scope="module")
def twins(folders):
    return [load_judge(folders["cnn"], "cpu") for _ in range(2)]


@pytest.mark.parametrize("verb", VERBS)
def test_two_runs_are_byte_identical(twins, verb):
    """Loaded twice, and asked again when everything is in the cache."""
    shown, given = pictures(4), pictures(4, 8)
    runs = [fresh(twins[0]), fresh(twins[1])]
    texts = [json.dumps(plain(VERBS[verb](judge, shown, given))) for judge in (*runs, runs[0])]
    assert texts[0] == texts[1] == texts[2]


def test_pictures_of_other_sizes_with_equal_bytes_are_told_apart(cnn):
    flat = np.random.default_rng(0).integers(0, 256, 40 * 60 * 3, np.uint8)
    tall, wide = flat.reshape(60, 40, 3), flat.reshape(40, 60, 3)
    a, b = cnn.score([tall, wide])
    assert abs(a.score - b.score) > 1e-3


def test_a_picture_is_encoded_once(cnn, monkeypatch):
    used, seen = fresh(cnn), []
    original = cnn.model.encode
    monkeypatch.setattr(cnn.model, "encode", lambda prepared: seen.append(len(prepared)) or original(prepared))
    shown = pictures(4)
    used.rank([*shown, shown[0]], pictures(1, 9)[0])
    assert sum(seen) == 5  # four pictures and the reference, for all questions together


# ---------------------------------------------------------------------- progress and Cancel


class Cancelled(Exception):
    pass


EXPLAINED = {**VERBS, "explain": lambda j, p, r, **o: compare_pairs(j, p, r, explain=True, **o)}


@pytest.mark.parametrize("verb", EXPLAINED)
def test_progress_never_falls_and_reaches_its_total(cnn, monkeypatch, verb):
    monkeypatch.setattr(engine, "BATCH", 2)
    monkeypatch.setattr(judge_module, "EXPLANATION_TOKENS", 4)
    calls = []
    EXPLAINED[verb](fresh(cnn), pictures(4), None, progress=lambda done, total: calls.append((done, total)))
    totals = {"compare": 8, "explain": 12, "rank by pairs": 4 + 4 + 2 * 6, "rank by score": 4 + 4}
    dones = [done for done, _ in calls]
    assert {total for _, total in calls} == {totals.get(verb, 4)}
    assert dones == sorted(dones) and dones[-1] == totals.get(verb, 4)
    assert len(set(dones)) > 1


@pytest.mark.parametrize("fatal", [Cancelled, KeyboardInterrupt])
@pytest.mark.parametrize("verb", EXPLAINED)
def test_cancel_passes_through_and_the_judge_lives_on(cnn, monkeypatch, verb, fatal):
    monkeypatch.setattr(engine, "BATCH", 2)
    monkeypatch.setattr(judge_module, "EXPLANATION_TOKENS", 4)
    used, error, calls = fresh(cnn), fatal("stop"), []

    def progress(done, total):
        calls.append(done)
        if len(calls) == 2:
            raise error

    with pytest.raises(fatal) as caught:
        EXPLAINED[verb](used, pictures(4), None, progress=progress)
    assert caught.value is error and len(calls) == 2
    again, expected = (plain(EXPLAINED[verb](j, pictures(4), None)) for j in (used, fresh(cnn)))
    assert alike(again, expected)


def test_describing_can_be_cancelled_between_tokens(cnn):
    calls = []
    fresh(cnn).describe(pictures(1), max_new_tokens=6, progress=lambda *now: calls.append(now))
    assert set(calls[:-1]) == {(0, 1)} and len(calls) > 6 and calls[-1] == (1, 1)


def test_cancel_does_not_wait_until_a_batch_is_prepared(cnn, monkeypatch):
    prepared = []
    monkeypatch.setattr("depictqa_core.sight.prepare", lambda *args: prepared.append(args) or prepare(*args))

    def progress(done, total):
        assert (done, total) == (0, 32)
        raise Cancelled

    with pytest.raises(Cancelled):
        fresh(cnn).score(pictures(32), progress=progress)
    assert 0 < len(prepared) < 32


# ---------------------------------------------------------------------- comparing and ranking


@pytest.mark.parametrize("reference", [None, 9])
def test_comparison_is_symmetric(judge, reference):
    given = None if reference is None else pictures(1, reference)[0]
    shown = pictures(3)
    for a, b in ((shown[0], shown[1]), (shown[1], shown[2])):
        one, other = judge.compare(a, b, given), judge.compare(b, a, given)
        assert other.probability_a == pytest.approx(1 - one.probability_a, abs=1e-5)
        assert other.disagreement == pytest.approx(one.disagreement, abs=1e-5)
        assert other.confidence == pytest.approx(one.confidence, abs=1e-5)
        assert {one.verdict, other.verdict} in ({"A", "B"}, {"tie"})
    itself = judge.compare(shown[0], shown[0], given)
    assert itself.probability_a == pytest.approx(0.5, abs=1e-5) and itself.verdict == "tie"


def test_explanations(cnn, monkeypatch):
    monkeypatch.setattr(judge_module, "EXPLANATION_TOKENS", 4)
    a, b = pictures(2)
    got = cnn.compare(a, b, explain=True)
    ((_, words),) = [(None, d.text) for d in cnn.ask([{"A": a, "B": b}], tasks.COMPARISON, tasks.COMPARISON.question)]
    assert got.text == words
    assert alike({**got.to_dict(), "text": None}, cnn.compare(a, b).to_dict())


def test_another_question_is_asked_as_worded(cnn):
    a, b = pictures(2)
    options, rows = cnn.ask([{"A": a, "B": b}, {"A": b, "B": a}], tasks.RATING, "Which one?")
    assert options == ("Image A", "Image B")
    assert cnn.compare(a, b, question="Which one?").probability_a == pytest.approx(
        (rows[0, 0] + rows[1, 1]) / 2, abs=1e-5
    )
    assert cnn.compare(a, b, question="Which one?").probability_a != pytest.approx(
        cnn.compare(a, b).probability_a, abs=1e-4
    )


@pytest.mark.parametrize("method", ["pairs", "score"])
def test_rank_follows_its_pictures_whatever_their_order(cnn, method):
    shown = pictures(5, 3)
    first = cnn.rank(shown, method=method)
    order = [3, 1, 4, 0, 2]
    second = cnn.rank([shown[i] for i in order], method=method)
    assert [order[i] for i in second.order] == list(first.order)
    assert sorted(first.order) == list(range(5)) and first.method == method
    for a, b in zip(first.pictures, second.pictures):
        assert (a.rank, a.picture, a.labels, a.reason, a.tied_with_next) == (
            b.rank,
            b.picture,
            b.labels,
            b.reason,
            b.tied_with_next,
        )
        assert (a.strength, a.low, a.high) == pytest.approx((b.strength, b.low, b.high), abs=1e-3)
    assert all(a.strength >= b.strength for a, b in zip(first.pictures, first.pictures[1:]))
    assert all(place.low <= place.strength <= place.high for place in first.pictures)
    assert all(place.picture == shown[place.index].name for place in first.pictures)


def test_rank_by_pairs_fits_all_comparisons(cnn):
    shown, original = pictures(4), pictures(1, 9)[0]
    got = cnn.rank(shown, original)
    pairs = ranking.all_pairs(4)
    answers = cnn.compare_many([(shown[i], shown[j]) for i, j in pairs], [original] * 6)
    wins = [a.probability_a for a in answers]
    strengths = ranking.bradley_terry(4, pairs, wins, ranking.estimate_weight(4, pairs, wins))
    assert got.comparisons == 6
    assert got.disagreement == pytest.approx(np.mean([a.disagreement for a in answers]), abs=1e-5)
    for place in got.pictures:
        assert place.strength == pytest.approx(strengths.values[place.index], abs=1e-3)
    scores, issues = cnn.score(shown, original), cnn.identify(shown, original, count=1)
    for place in got.pictures:
        assert (place.score, place.spread) == pytest.approx(
            (scores[place.index].score, scores[place.index].spread), abs=1e-3
        )
        assert place.labels == issues[place.index].labels and place.labels[0] in place.reason


def test_many_pictures_are_ranked_with_fewer_pairs(cnn):
    shown = pictures(14, 1, sizes=[(40, 40)])
    got = cnn.rank(shown)
    assert got.comparisons == ranking.default_budget(14) < 14 * 13 / 2
    assert sorted(got.order) == list(range(14))


def test_equal_pictures_tie(cnn, monkeypatch):
    a, b = pictures(2)
    for method in ("pairs", "score"):
        got = cnn.rank([a, a, a], method=method)
        assert [place.rank for place in got.pictures] == [1, 1, 1] and got.order == (0, 1, 2)
        assert [place.tied_with_next for place in got.pictures] == [True, True, False]
    levels = np.array([np.eye(5)[i] for i in (0, 4, 0)])
    monkeypatch.setattr(cnn.engine, "choose", lambda *_: levels)
    got = cnn.rank([a, b, a], method="score", reasons=False)
    assert [place.rank for place in got.pictures] == [1, 1, 3] and got.order == (0, 2, 1)


def test_ties_share_a_rank_and_the_next_one_counts_on(cnn, monkeypatch):
    strengths = iter([90.0, 89.5, 60.0, 59.2, 58.4, 10.0])
    levels = tuple(LabelProbability(level, 0.2) for level in tasks.LEVELS)
    fake = [judge_module.Score(p.name, next(strengths), 1.0, 0.9, levels, 0.0, 100.0, "levels") for p in pictures(6)]
    monkeypatch.setattr(judge_module.Judge, "_scored", lambda *_: fake)
    got = cnn.rank(pictures(6), method="score", reasons=False)
    # 58.4 is tied with 59.2, but not with 60, the first of that rank.
    assert [place.rank for place in got.pictures] == [1, 1, 3, 3, 5, 6]
    assert [place.tied_with_next for place in got.pictures] == [True, False, True, True, False, False]


def test_ranking_one_picture_or_none(cnn):
    for method in ("pairs", "score"):
        (place,) = cnn.rank(pictures(1), method=method).pictures
        assert (place.rank, place.index, place.tied_with_next) == (1, 0, False)
    with pytest.raises(TaskError, match="no pictures"):
        cnn.rank([])


def test_ranking_without_reasons(cnn):
    got = cnn.rank(pictures(3), reasons=False)
    assert all(place.labels is None and "sure" not in place.reason for place in got.pictures)


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "compare"])
def test_references_that_do_not_match_are_refused(cnn, verb):
    for count in (2, 4):
        with pytest.raises(TaskError, match=f"{count} references for 3 pictures: give one for all, or one for each"):
            VERBS[verb](cnn, pictures(3), pictures(count, 8))
    with pytest.raises(TaskError, match="0 references for 3"):
        VERBS[verb](cnn, pictures(3), [])
    with pytest.raises(ImageError, match="reference"):
        VERBS[verb](cnn, pictures(3), np.full((9, 9, 3), np.nan))


def test_references_of_pairs_that_do_not_match_are_refused(cnn):
    a, b, c = pictures(3)
    with pytest.raises(TaskError, match="1 references for 2 pairs"):
        cnn.compare_many([(a, b), (b, c)], [a])


def test_bad_options_are_refused(cnn):
    with pytest.raises(TaskError, match="3 distortions.*1, 2 or None"):
        cnn.identify(pictures(1), count=3)
    with pytest.raises(TaskError, match="max_new_tokens is 0"):
        cnn.describe(pictures(1), max_new_tokens=0)
    with pytest.raises(TaskError, match="unknown ranking method 'dice': choose pairs or score"):
        cnn.rank(pictures(2), method="dice")
    with pytest.raises(ImageError, match="image B"):
        cnn.compare(pictures(1)[0], np.zeros((0, 4, 3)))


def test_tasks_that_were_never_taught_are_refused(tmp_path):
    judge = load_judge(make_tiny_checkpoint(tmp_path / "c", tasks=("identification", "rating")), "cpu")
    shown = pictures(2)
    judge.identify(shown)
    judge.compare(*shown)
    got = judge.rank(shown)
    assert all(place.score is None and place.spread is None and place.labels is not None for place in got.pictures)
    for ask, name in (
        (lambda: judge.describe(shown), "assessment"),
        (lambda: judge.compare(*shown, explain=True), "comparison"),
    ):
        with pytest.raises(
            TaskError, match=f"tiny-cnn was never taught the task {name}; it knows identification, rating"
        ):
            ask()
    judge.model.config.tasks = ["score"]
    with pytest.raises(TaskError, match="never taught the task rating"):
        judge.rank(shown)
    assert judge.rank(shown, method="score").pictures[0].labels is None
    judge.model.config.tasks = ["identification"]
    for ask in (judge.score, lambda shown: judge.rank(shown, method="score")):
        with pytest.raises(TaskError, match="never taught the task score; it knows identification"):
            ask(shown)


# ---------------------------------------------------------------------- ends of written answers


@pytest.mark.parametrize("end", ["whole", "cut off", "bare"])
def test_described_text_is_without_its_end(cnn, monkeypatch, end):
    words = text_ids("Noise and blur", cnn.tokenizer)
    whole = answer_ids("", cnn.tokenizer)
    ids = words + {"whole": whole, "cut off": [], "bare": whole[-1:]}[end]
    answer = Generated(ids, [0.5] * len(words) + [0.001] * (len(ids) - len(words)))
    monkeypatch.setattr(decoding, "greedy", lambda *args: [answer])
    (got,) = fresh(cnn).describe(pictures(1))
    assert got.text == "Noise and blur" and got.confidence == pytest.approx(0.5)


def test_an_empty_description(cnn, monkeypatch):
    monkeypatch.setattr(decoding, "greedy", lambda *args: [Generated(answer_ids("", cnn.tokenizer), [0.9])])
    (got,) = fresh(cnn).describe(pictures(1))
    assert (got.text, got.confidence, got.confidence_method) == ("", None, "empty answer")


def test_end_of_several_tokens():
    end = [13, 29871, 2]
    for ids, words in (
        ([5, 6, 13, 29871, 2], [5, 6]),
        ([5, 6, 2], [5, 6]),
        ([5, 6, 29871, 2], [5, 6]),
        ([5, 6], [5, 6]),
        ([13, 29871, 2], []),
        ([2], []),
        ([], []),
        ([5, 13, 29871, 2, 13, 29871, 2], [5, 13, 29871, 2]),
    ):
        assert without_end(ids, end) == words


def test_results_are_plain_json(cnn):
    for verb in VERBS:
        answer = plain(VERBS[verb](cnn, pictures(4), None))
        assert json.loads(json.dumps(answer)) == answer
    numbers = cnn.score(pictures(1))[0]
    assert numbers.to_dict()["score"] == round(numbers.score, 6)
