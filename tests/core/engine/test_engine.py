"""How questions are asked: caches, shared beginnings, memory shortage, failures, threads, Cancel."""

import threading
import time

import numpy as np
import pytest
import torch
from tiny import KINDS, make_tiny_checkpoint

from depictqa_core import tasks
from depictqa_core.backends.base import AnswerProbabilities
from depictqa_core.backends.native import NativeBackend
from depictqa_core.engine import batching as memory
from depictqa_core.engine import features, prefill
from depictqa_core.engine import runner as runner_module
from depictqa_core.engine.prefill import PrefixPrefiller
from depictqa_core.errors import CheckpointError, OutOfMemory
from depictqa_core.images.image import as_image
from depictqa_core.judge import Judge, load_judge
from depictqa_core.loading.checkpoint import Checkpoint
from depictqa_core.runtime import threads as workers
from depictqa_core.runtime.byte_cache import ByteCache
from depictqa_core.runtime.progress import ProgressCounter


@pytest.fixture(scope="module", params=["cnn", pytest.param("clip", marks=pytest.mark.slow)])
def loaded(request, folders):
    return load_judge(folders[request.param], "cpu")


def fresh(judge, **options):
    """The same network with empty caches."""
    return Judge(NativeBackend(Checkpoint(judge.model, judge.backend.tokenizer, judge.info), **options))


SIZES = [(40, 60), (60, 40), (90, 90), (33, 150)]


def pictures(count=4, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [SIZES[i % len(SIZES)] for i in range(count)]
    return [as_image(rng.integers(0, 256, (*shape, 3), np.uint8), f"p{seed}-{i}") for i, shape in enumerate(shapes)]


def scores(judge, shown, reference=None):
    return [answer.score for answer in judge.score(shown, reference)]


def close(got, expected):
    return got == pytest.approx(expected, abs=0.01)


# ---------------------------------------------------------------------- the cache


def test_the_cache_forgets_what_was_used_least_recently():
    cache = ByteCache(10)
    for key in "abc":
        cache.put(key, key.upper(), 3)
    assert cache.get("a") == "A" and cache.bytes == 9
    cache.put("d", "D", 3)  # b is the oldest now
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    cache.put("e", "E", 8)
    assert [cache.get(key) for key in "acde"] == [None, None, None, "E"] and cache.bytes == 8 and len(cache) == 1


def test_the_cache_never_exceeds_its_budget():
    cache = ByteCache(5)
    cache.put("a", 1, 6)
    assert cache.get("a") is None and cache.bytes == 0
    cache.put("a", 1, 2)
    cache.put("a", 2, 4)
    assert cache.get("a") == 2 and cache.bytes == 4
    cache.put("a", 3, 6)  # the old value would be wrong
    assert cache.get("a") is None and cache.bytes == 0 and len(cache) == 0
    nothing = ByteCache(0)
    nothing.put("a", 1, 1)
    assert nothing.get("a") is None


def test_threads_leave_the_cache_consistent():
    cache = ByteCache(50)

    def work(seed):
        rng = np.random.default_rng(seed)
        for key in rng.integers(0, 20, 2000).tolist():
            value = cache.get(key)
            assert value is None or value == key
            cache.put(key, key, key % 7 + 1)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.bytes == sum(key % 7 + 1 for key in range(20) if cache.get(key) is not None) <= 50


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_per_image_are_those_of_the_largest_image(tmp_path, kind):
    judge = load_judge(make_tiny_checkpoint(tmp_path / kind, kind), "cpu", cache_bytes=2**28)
    size = judge.model.config.size
    rgb = np.zeros((size["short"], size["long"], 3), np.uint8)
    judge.score(as_image(rgb, "the largest"))
    (row,) = [row for row, _ in judge.backend.runner.features.cache._values.values()]
    assert features.bytes_per_image(judge.model) == row.numel() * row.element_size()


def test_the_default_budget_has_room_for_images_of_this_model_within_the_free_memory(folders, monkeypatch):
    judge = load_judge(folders["cnn"], "cpu")
    assert judge.backend.runner.features.cache.budget == features.LEAST_BYTES  # features of small models are small
    monkeypatch.setattr(features, "bytes_per_image", lambda model: 11 * 2**20)
    memory = type("Memory", (), {"available": 2**40})
    monkeypatch.setattr(features.psutil, "virtual_memory", lambda: memory)
    assert fresh(judge).backend.runner.features.cache.budget == features.CACHED_IMAGES * 11 * 2**20
    memory.available = 2**30
    assert fresh(judge).backend.runner.features.cache.budget == 2**28
    assert fresh(judge, cache_bytes=0).backend.runner.features.cache.budget == 0


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 20_000, 2**28])
def test_cached_pictures_are_never_mixed_up(loaded, monkeypatch, budget):
    monkeypatch.setattr("depictqa_core.backends.native.ANSWER_BYTES", 0)
    used = fresh(loaded, cache_bytes=budget)
    shown = pictures(6, 2)
    same_name = [as_image(p.rgb, "same") for p in shown]
    rng = np.random.default_rng(0)
    expected = {p.key: fresh(loaded).score(p)[0].score for p in shown}
    for _ in range(6):
        chosen = [same_name[i] for i in rng.integers(0, 6, 4)]
        assert close(scores(used, chosen), [expected[p.key] for p in chosen])
        kept = [row for row, _ in used.backend.runner.features.cache._values.values()]
        assert (
            used.backend.runner.features.cache.bytes == sum(row.numel() * row.element_size() for row in kept) <= budget
        )
        # an evicted row must really be freed: none may be a view into a batch
        assert all(row.untyped_storage().nbytes() == row.numel() * row.element_size() for row in kept)


def test_pictures_that_nearly_collide_are_told_apart(cnn):
    """Equal bytes in other shapes; one pixel off by one level; one row shifted."""
    rng = np.random.default_rng(0)
    flat = rng.integers(0, 256, 40 * 60 * 3, np.uint8)
    one = flat.reshape(40, 60, 3)
    off = one.copy()
    off[20, 30, 1] ^= 1
    alike = [
        one,
        flat.reshape(60, 40, 3),
        flat.reshape(80, 30, 3),
        off,
        np.roll(one, 1, 0),
        one[:, ::-1],
        one[..., ::-1],
    ]
    together = cnn.score([as_image(np.ascontiguousarray(rgb), "same") for rgb in alike])
    assert len({answer.levels for answer in together}) == len(alike)
    again = cnn.score([as_image(np.ascontiguousarray(rgb), "same") for rgb in alike[::-1]])
    assert [answer.levels for answer in again[::-1]] == [answer.levels for answer in together]


def test_the_reference_belongs_to_the_answer(cnn):
    (one,), (a, b) = pictures(1), pictures(2, 5)
    used = fresh(cnn)
    for reference in (None, a, b, None, b, a):
        assert close(scores(used, one, reference), scores(fresh(cnn), one, reference))
    assert len({round(scores(used, one, reference)[0], 3) for reference in (None, a, b)}) == 3


@pytest.mark.slow
def test_a_picture_beside_its_reference_is_compared_once(tmp_path, monkeypatch):
    folder = make_tiny_checkpoint(tmp_path / "c", connector={"kind": "pooling", "hidden": 32, "summary_tokens": 3,
                                                             "grid_stages": [1, 2], "comparison": True})  # fmt: skip
    judge = load_judge(folder, "cpu")
    with torch.no_grad():  # a new one says nothing yet
        judge.model.connector.compared[-1].weight.normal_()
    calls, original = [], features.prepare_comparison
    monkeypatch.setattr(features, "prepare_comparison", lambda *args: calls.append(args[:2]) or original(*args))
    shown, (a, b) = pictures(3), pictures(2, 5)
    got = judge.rank(shown, a)
    assert sorted((p.name, r.name) for p, r in calls) == [(p.name, a.name) for p in shown]
    judge.score(shown, [a, b, b])
    assert [(p.name, r.name) for p, r in calls[3:]] == [(p.name, b.name) for p in shown[1:]] or len(calls) == 5
    assert got.order == fresh(judge).rank(shown, a).order
    without = fresh(judge)
    without.model.config.connector["comparison"] = False
    assert not close(scores(without, shown, a), scores(judge, shown, a))


# ---------------------------------------------------------------------- shared beginnings


@pytest.mark.slow
def test_rankings_with_and_without_shared_beginnings_agree(loaded, monkeypatch):
    shown, original = pictures(14, 3), pictures(1, 9)[0]  # more than one round
    shared = fresh(loaded).rank(shown, original)
    monkeypatch.setattr(prefill, "level_ends", lambda prompts, tokens, **other: [len(tokens)])
    whole = fresh(loaded).rank(shown, original)
    assert shared.order == whole.order
    for a, b in zip(shared.pictures, whole.pictures):
        assert (a.strength, a.score) == pytest.approx((b.strength, b.score), abs=1e-3)


@pytest.mark.slow
def test_little_memory_for_keys_and_values_only_makes_smaller_batches(loaded, monkeypatch):
    shown = pictures(6, 3)
    asked = {"question": "What do you see?", "max_new_tokens": 4}
    expected, words = scores(fresh(loaded), shown), fresh(loaded).describe(shown, **asked)
    sizes = []
    original = PrefixPrefiller.prefill
    monkeypatch.setattr(
        PrefixPrefiller, "prefill", lambda self, p, *rest: sizes.append(len(p)) or original(self, p, *rest)
    )
    monkeypatch.setattr(memory, "PREFILL_BYTES", 1)
    assert close(scores(fresh(loaded), shown), expected)
    assert [d.text for d in fresh(loaded).describe(shown, **asked)] == [d.text for d in words]
    assert sizes == [1] * 12


# ---------------------------------------------------------------------- memory shortage and failures


def short_of_memory(judge, monkeypatch, most):
    """The language model of a judge fails on batches of more than ``most`` prompts; returns the batches it got."""
    forward, batches = judge.model.language.forward, []

    def limited(*args, **kwargs):
        rows = len(kwargs["inputs_embeds"])
        batches.append(rows)
        if rows > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(*args, **kwargs)

    monkeypatch.setattr(judge.model.language, "forward", limited)
    return batches


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_batch_that_does_not_fit_is_halved(cnn, monkeypatch, most):
    shown = pictures(7, 1)
    expected = scores(fresh(cnn), shown)
    batches = short_of_memory(cnn, monkeypatch, most)
    calls = []
    got = fresh(cnn).score(shown, progress=lambda *now: calls.append(now))
    assert close([answer.score for answer in got], expected)
    assert batches[0] == 7 and max(batches[batches.index(next(b for b in batches if b <= most)) :]) <= most
    assert calls[-1] == (7, 7) and calls == sorted(calls)


def test_kept_beginnings_make_room_for_a_batch_that_does_not_fit(cnn, monkeypatch):
    shown = pictures(6, 1)
    asked = [(a, b, None) for a in shown[:3] for b in shown[3:]]
    expected = fresh(cnn).backend.choose(tasks.RATING, None, asked, ProgressCounter(None, 0)).probabilities
    used, kept = fresh(cnn).backend, []
    beginnings = used.prefix_cache()
    used.choose(tasks.RATING, None, asked[:2], ProgressCounter(None, 0), beginnings)
    assert beginnings.bytes > 0
    monkeypatch.setattr(memory, "release_memory", lambda: kept.append(beginnings.bytes))
    short_of_memory(cnn, monkeypatch, 2)
    got = used.choose(tasks.RATING, None, asked, ProgressCounter(None, 0), beginnings).probabilities
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)
    assert kept and kept[0] == 0


@pytest.mark.slow
def test_not_even_one_fits(cnn, monkeypatch):
    short_of_memory(cnn, monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="p0-0: not enough memory on cpu.*free some"):
        fresh(cnn).score(pictures(1))


@pytest.mark.slow
def test_one_question_that_does_not_fit_leaves_the_others(cnn, monkeypatch):
    shown = pictures(5, 1)
    expected = scores(fresh(cnn), shown)
    used, encode = fresh(cnn), cnn.model.encode
    big = max(shown, key=lambda p: p.width)

    def limited(prepared):
        if any(p.pixels.shape[-1] > 100 for p in prepared):
            raise MemoryError
        return encode(prepared)

    monkeypatch.setattr(cnn.model, "encode", limited)
    with pytest.raises(OutOfMemory, match=big.name):
        used.score(shown)
    seen = []
    monkeypatch.setattr(cnn.model, "encode", lambda prepared: seen.append(len(prepared)) or encode(prepared))
    assert close(scores(used, shown), expected) and seen == [1]  # only what was missing


@pytest.mark.parametrize("text, runs_out", [
    ("CUDA out of memory. Tried to allocate", True),
    ("MPS backend out of memory (MPS allocated: 8 GB)", True),
    ("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to", True),
    ("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
    ("mat1 and mat2 shapes cannot be multiplied", False),
])  # fmt: skip
def test_which_errors_say_that_memory_ran_out(text, runs_out):
    assert memory.is_out_of_memory(RuntimeError(text)) == runs_out
    assert memory.is_out_of_memory(MemoryError())


def test_other_errors_pass_through_and_finished_answers_stay(cnn, monkeypatch):
    monkeypatch.setattr(runner_module, "BATCH", 2)
    monkeypatch.setattr(runner_module, "PIECE", 1)
    shown, used = pictures(6, 1), fresh(cnn)
    expected = scores(fresh(cnn), shown)
    forward, calls = cnn.model.language.forward, []

    def broken(*args, **kwargs):
        calls.append(len(kwargs["inputs_embeds"]))
        if len(calls) > 2:
            raise RuntimeError("device lost")
        return forward(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(cnn.model.language, "forward", broken)
        with pytest.raises(RuntimeError, match="device lost"):
            used.score(shown)
    asked = []
    monkeypatch.setattr(PrefixPrefiller, "prefill", counted(PrefixPrefiller.prefill, asked))
    assert close(scores(used, shown), expected)
    assert 0 < sum(asked) < 6


def counted(read, asked):
    return lambda self, prompts, *rest: asked.append(len(prompts)) or read(self, prompts, *rest)


def test_one_damaged_answer_leaves_the_others(cnn, monkeypatch):
    shown, used = pictures(4, 1), fresh(cnn)
    expected = scores(fresh(cnn), shown)
    connect = cnn.model.connect
    bad = fresh(cnn).backend.runner.features.encode([{"A": shown[2]}], lambda: None)[shown[2].key]

    def damaged(pooled, *rest):
        seen = (torch.allclose(p, bad, atol=1e-3) for p in pooled)  # threads may change the last digit
        return [t * torch.nan if hit else t for hit, t in zip(seen, connect(pooled, *rest))]

    monkeypatch.setattr(cnn.model, "connect", damaged)
    with pytest.raises(CheckpointError, match="p1-2: tiny-cnn gave NaN or Inf as probabilities"):
        used.score(shown)
    monkeypatch.setattr(cnn.model, "connect", connect)
    asked = []
    monkeypatch.setattr(PrefixPrefiller, "prefill", counted(PrefixPrefiller.prefill, asked))
    assert close(scores(used, shown), expected) and asked == [1]


def test_the_same_question_is_asked_once(cnn, monkeypatch):
    asked = []
    monkeypatch.setattr(PrefixPrefiller, "prefill", counted(PrefixPrefiller.prefill, asked))
    (a, b), used = pictures(2), fresh(cnn)
    calls = []
    first = used.score([a, b, a, a], progress=lambda *now: calls.append(now))
    assert sum(asked) == 2 and calls[-1] == (4, 4) and first[0] == first[2] == first[3] != first[1]
    assert used.score([b, a]) == [first[1], first[0]] and sum(asked) == 2
    used.identify([a], faults=False)  # its distortion, and how severe that is
    used.compare(a, b)
    used.rank([a, b])  # scores, the identification of b, and no pair
    assert sum(asked) == 2 + 2 + 2 + 1


# ---------------------------------------------------------------------- words while they are written


@pytest.mark.slow
def test_words_are_shown_while_they_grow(cnn):
    shown, told = pictures(3), []
    described = fresh(cnn).describe(shown, max_new_tokens=6, on_text=lambda index, text: told.append((index, text)))
    for index, answer in enumerate(described):
        texts = [text for place, text in told if place == index]
        assert texts[-1] == answer.text and len(texts) == 7
        assert all(after.startswith(before) or len(after) > len(before) for before, after in zip(texts, texts[1:-1]))
    again = []
    assert fresh(cnn).describe(shown, max_new_tokens=6) == described
    used = fresh(cnn)
    used.describe(shown, max_new_tokens=6)
    used.describe(shown, max_new_tokens=6, on_text=lambda *now: again.append(now))
    assert again == [(i, answer.text) for i, answer in enumerate(described)]


def test_what_on_text_raises_stops_the_work(cnn):
    class Stop(Exception):
        pass

    def stop(index, text):
        raise Stop

    with pytest.raises(Stop):
        fresh(cnn).describe(pictures(2), max_new_tokens=6, on_text=stop)


# ---------------------------------------------------------------------- threads and Cancel


@pytest.mark.slow
def test_two_callers_at_once_get_the_answers_of_one(loaded):
    shown, original = pictures(6, 1), pictures(1, 9)[0]
    jobs = {
        "score": lambda judge: scores(judge, shown),
        "rank": lambda judge: judge.rank(shown, original).order,
        "identify": lambda judge: [a.text for a in judge.identify(shown, original)],
        "describe": lambda judge: [a.text for a in judge.describe(shown[:2], max_new_tokens=4)],
    }
    expected = {name: job(fresh(loaded)) for name, job in jobs.items()}
    shared, got, failed = fresh(loaded, cache_bytes=30_000), [], []

    def work(names):
        try:
            for name in names:
                got.append((name, jobs[name](shared)))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(names,)) for names in (list(jobs), list(jobs)[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(got) == 8
    for name, answer in got:
        assert close(answer, expected[name]) if name == "score" else answer == expected[name]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["rank", "describe", "identify any"])
def test_cancel_is_heard_between_any_two_device_calls(loaded, monkeypatch, verb):
    events = []
    for part, name in ((loaded.model, "encode"), (loaded.model, "connect"), (loaded.model.language, "forward")):
        original = getattr(part, name)
        monkeypatch.setattr(
            part, name, lambda *a, original=original, name=name, **k: events.append(name) or original(*a, **k)
        )
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # otherwise images are encoded side by side
    ask = {
        "rank": lambda j, **o: j.rank(pictures(4), pictures(1, 9)[0], **o),
        "describe": lambda j, **o: j.describe(pictures(3), max_new_tokens=4, **o),
        "identify any": lambda j, **o: j.identify(pictures(3), count=None, **o),
    }[verb]
    ask(fresh(loaded), progress=lambda *now: events.append("heard"))
    calls = [i for i, event in enumerate(events) if event != "heard"]
    assert len(calls) > 6
    assert all("heard" in events[a:b] for a, b in zip(calls, calls[1:]))


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.setattr(workers, "_pools", [])  # one that another test made may be smaller
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_parallel_work_keeps_order_and_the_number_of_threads(four_threads):
    seen = []

    def work(item):
        seen.append((threading.current_thread().name, torch.get_num_threads(), torch.is_inference_mode_enabled()))
        time.sleep(0.02)
        return item * 2

    checks = []
    assert workers.parallel(work, range(8), lambda result: checks.append(threading.current_thread())) == list(
        range(0, 16, 2)
    )
    assert len({name for name, *_ in seen}) == 4 and {tuple(rest) for _, *rest in seen} == {(1, True)}
    assert checks == [threading.current_thread()] * 8
    seen.clear()
    workers.parallel(work, range(2), lambda result: None)
    assert {threads for _, threads, _ in seen} == {1}
    assert torch.get_num_threads() == 4 and workers.parallel(work, [], lambda result: None) == []
    told = []
    thread = threading.Thread(target=lambda: told.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert told == [4]


@pytest.mark.slow
def test_small_models_answer_on_every_core_and_large_ones_with_all_threads(cnn, four_threads, monkeypatch):
    shown, where = pictures(10, 1), []
    prefill_rows = PrefixPrefiller.prefill

    def noted(self, prompts, *rest):
        where.append((threading.current_thread() is threading.main_thread(), len(prompts)))
        return prefill_rows(self, prompts, *rest)

    monkeypatch.setattr(PrefixPrefiller, "prefill", noted)
    monkeypatch.setattr(runner_module, "PIECE", 3)
    stored = []
    answers = fresh(cnn).score(shown, progress=lambda *now: stored.append(threading.current_thread()))
    assert sorted(where) == [(False, 1)] + [(False, 3)] * 3 and set(stored) == {threading.main_thread()}
    where.clear()
    monkeypatch.setattr(runner_module, "SMALL", 0)
    assert close(scores(fresh(cnn), shown), [answer.score for answer in answers]) and where == [(True, 10)]


@pytest.mark.parametrize("who", ["work", "check"])
def test_what_is_raised_stops_the_rest_and_leaves_nothing_running(four_threads, who):
    running, done = [], []

    def work(item):
        running.append(item)
        time.sleep(0.05)
        done.append(item)
        if who == "work" and item == 1:
            raise ValueError("no")

    def check(result):
        if who == "check":
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        workers.parallel(work, range(40), check)
    assert len(running) < 20 and sorted(running) == sorted(done)


def test_an_accelerator_gets_pictures_in_batches(loaded, monkeypatch):
    shown = pictures(6, 1)
    expected = scores(fresh(loaded), shown)
    sizes, encode = [], loaded.model.encode
    monkeypatch.setattr(loaded.model, "encode", lambda prepared: sizes.append(len(prepared)) or encode(prepared))
    monkeypatch.setattr(features, "encodes_alone", lambda model: False)
    assert close(scores(fresh(loaded), shown), expected)
    assert sizes == [6]


def test_every_picture_is_encoded_once_in_a_call_whatever_the_budget_keeps(cnn, monkeypatch):
    sizes, encode = [], cnn.model.encode
    monkeypatch.setattr(cnn.model, "encode", lambda prepared: sizes.append(len(prepared)) or encode(prepared))
    fresh(cnn).rank(pictures(5, 1), pictures(1, 9)[0])
    assert sum(sizes) == 6


# ---------------------------------------------------------------------- fewer questions


def test_a_ranking_says_its_budget_and_why_it_stopped(cnn):
    shown = pictures(8, 1)
    full = cnn.rank(shown, reasons=False)
    assert (full.comparisons, full.budget, full.stopped) == (28, 28, "all pairs")
    short = cnn.rank(shown, reasons=False, budget=10)
    assert (short.comparisons, short.budget, short.stopped) == (10, 10, "budget")
    by_score = cnn.rank(shown, method="score", reasons=False)
    assert (by_score.comparisons, by_score.budget, by_score.stopped) == (0, None, "scores")
    assert sorted(short.order) == list(range(8)) and short.to_dict()["stopped"] == "budget"


def test_a_decided_top_stops_the_ranking(cnn, monkeypatch):
    strength = {p.key: 3.0 * i for i, p in enumerate(pictures(10, 1))}

    def choose(task, question, asked, report, *rest):
        if task is not tasks.RATING:
            return original(task, question, asked, report)
        report.add(len(asked))
        chance = [1 / (1 + np.exp(strength[b.key] - strength[a.key])) for a, b, _ in asked]
        return AnswerProbabilities(np.array([[p, 1 - p] for p in chance]), np.ones(len(chance)))

    judge = fresh(cnn)
    original = judge.backend.choose
    monkeypatch.setattr(judge.backend, "choose", choose)
    calls = []
    got = judge.rank(pictures(10, 1), top_k=2, progress=lambda *now: calls.append(now))
    assert got.stopped == "top-k decided" and got.comparisons < 45 == got.budget
    assert set(got.order[:2]) == {8, 9} and len(got.pictures) == 10
    assert calls[-1][0] == calls[-1][1] and [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert judge.rank(pictures(10, 1), top_k=10, reasons=False).stopped == "all pairs"


def test_answers_stored_elsewhere_outlive_the_judge(loaded, monkeypatch):
    answers, shown = ByteCache(2**20), pictures()
    first = scores(fresh(loaded, answers=answers), shown)
    second = fresh(loaded, answers=answers)
    with monkeypatch.context() as broken:
        broken.setattr(second.backend.runner, "run", lambda *_: pytest.fail("asked"))
        assert scores(second, shown) == first
    second.backend.forget_answers()  # its weights have changed; those of the others have not
    assert scores(fresh(loaded, answers=answers), shown) == first and len(answers) == len(shown)
