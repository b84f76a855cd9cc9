"""The judge's verbs on tiny random models: batches equal single runs, references, caches, errors, ends of answers."""

import json

import numpy as np
import pytest
import torch
from core.judging import EACH, PAIRS, REFERENCES, VERBS, alike, compare_pairs, fresh, pictures, plain
from tiny import make_tiny_checkpoint

from depictqa_core.backends.native import without_end
from depictqa_core.engine import decoding
from depictqa_core.engine.decoding import Generated
from depictqa_core.engine.runner import BATCH
from depictqa_core.errors import ImageError, TaskError
from depictqa_core.judge import load_judge
from depictqa_core.prompts import answer_ids, text_ids

# ---------------------------------------------------------------------- batches and settings


@pytest.mark.slow
@pytest.mark.parametrize("references", REFERENCES)
@pytest.mark.parametrize("verb", EACH)
def test_batch_equals_single_runs(judge, verb, references):
    shown, given = pictures(4), REFERENCES[references](4)
    together = plain(VERBS[verb](judge, shown, given))
    each = given if isinstance(given, list) else [given] * 4
    alone = [plain(VERBS[verb](fresh(judge), one, reference))[0] for one, reference in zip(shown, each)]
    assert alike(together, alone)
    assert len({json.dumps(answer) for answer in together}) == 4  # and the images matter


@pytest.mark.slow
@pytest.mark.parametrize("references", REFERENCES)
def test_compared_pairs_equal_single_comparisons(judge, references):
    shown, given = pictures(4), REFERENCES[references](4)
    together = plain(compare_pairs(judge, shown, given))
    each = given if isinstance(given, list) else [given] * 4
    alone = [fresh(judge).compare(shown[i], shown[j], reference).to_dict() for (i, j), reference in zip(PAIRS, each)]
    assert alike(together, alone)


@pytest.mark.slow
@pytest.mark.parametrize("verb", EACH)
def test_the_reference_matters(judge, verb):
    shown = pictures(2)
    answers = [plain(VERBS[verb](judge, shown, given)) for given in (None, pictures(1, 7)[0], pictures(1, 6)[0])]
    assert not alike(answers[0], answers[1]) and not alike(answers[1], answers[2])


@pytest.mark.slow
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


@pytest.mark.slow
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


# ---------------------------------------------------------------------- determinism and caches


@pytest.fixture(scope="module")
def twins(folders):
    return [load_judge(folders["cnn"], "cpu") for _ in range(2)]


@pytest.mark.slow
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
    assert sum(seen) == 5  # four images and the reference, for all questions together


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "compare"])
def test_references_that_do_not_match_are_refused(cnn, verb):
    for count in (2, 4):
        with pytest.raises(TaskError, match=f"{count} references for 3 images: give one for all, or one for each"):
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
            TaskError, match=f"tiny-cnn does not support the task {name}; it supports identification, rating"
        ):
            ask()
    judge.model.config.tasks = ["score"]
    with pytest.raises(TaskError, match="does not support the task rating"):
        judge.rank(shown)
    assert judge.rank(shown, method="score").pictures[0].labels is None
    judge.model.config.tasks = ["identification"]
    for ask in (judge.score, lambda shown: judge.rank(shown, method="score")):
        with pytest.raises(TaskError, match="does not support the task score; it supports identification"):
            ask(shown)


# ---------------------------------------------------------------------- ends of written answers


@pytest.mark.parametrize("end", ["whole", "cut off", "bare"])
def test_described_text_is_without_its_end(cnn, monkeypatch, end):
    words = text_ids("Noise and blur", cnn.backend.tokenizer)
    whole = answer_ids("", cnn.backend.tokenizer)
    ids = words + {"whole": whole, "cut off": [], "bare": whole[-1:]}[end]
    answer = Generated(ids, [0.5] * len(words) + [0.001] * (len(ids) - len(words)))
    monkeypatch.setattr(decoding, "greedy", lambda *args: [answer])
    (got,) = fresh(cnn).describe(pictures(1), question="What do you see?")
    assert got.text == "Noise and blur" and got.confidence == pytest.approx(0.5)


def test_an_empty_description(cnn, monkeypatch):
    monkeypatch.setattr(decoding, "greedy", lambda *args: [Generated(answer_ids("", cnn.backend.tokenizer), [0.9])])
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


@pytest.mark.slow
def test_results_are_plain_json(cnn):
    for verb in VERBS:
        answer = plain(VERBS[verb](cnn, pictures(4), None))
        assert json.loads(json.dumps(answer)) == answer
    numbers = cnn.score(pictures(1))[0]
    assert numbers.to_dict()["score"] == round(numbers.score, 6)
