"""The judge while it works: progress that reaches its total, Cancel at once, and the same answers afterwards."""

import pytest
from core.judging import VERBS, alike, compare_pairs, fresh, pictures, plain

from depictqa_core.engine import runner
from depictqa_core.network.vision import prepare


class Cancelled(Exception):
    pass


EXPLAINED = {**VERBS, "explain": lambda j, p, r, **o: compare_pairs(j, p, r, explain=True, **o)}


@pytest.mark.slow
@pytest.mark.parametrize("verb", EXPLAINED)
def test_progress_never_falls_and_reaches_its_total(cnn, monkeypatch, verb):
    monkeypatch.setattr(runner, "BATCH", 2)
    monkeypatch.setattr("depictqa_core.judge.EXPLANATION_TOKENS", 4)
    calls = []
    EXPLAINED[verb](fresh(cnn), pictures(4), None, progress=lambda done, total: calls.append((done, total)))
    totals = {"compare": 8, "explain": 12, "rank by pairs": 4 + 4 + 2 * 6, "rank by score": 4 + 4}
    dones = [done for done, _ in calls]
    assert {total for _, total in calls} == {totals.get(verb, 4)}
    assert dones == sorted(dones) and dones[-1] == totals.get(verb, 4)
    assert len(set(dones)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("fatal", [Cancelled, KeyboardInterrupt])
@pytest.mark.parametrize("verb", EXPLAINED)
def test_cancel_passes_through_and_the_judge_lives_on(cnn, monkeypatch, verb, fatal):
    monkeypatch.setattr(runner, "BATCH", 2)
    monkeypatch.setattr("depictqa_core.judge.EXPLANATION_TOKENS", 4)
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
    monkeypatch.setattr("depictqa_core.engine.features.prepare", lambda *args: prepared.append(args) or prepare(*args))

    def progress(done, total):
        assert (done, total) == (0, 32)
        raise Cancelled

    with pytest.raises(Cancelled):
        fresh(cnn).score(pictures(32), progress=progress)
    assert 0 < len(prepared) < 32
