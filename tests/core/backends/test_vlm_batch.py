"""Prompts of vision-language models that run together: answers as alone, fewer at once where memory is short."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from core.judging import alike, plain
from PIL import Image
from tiny_vlms import FAMILIES, make_tiny_vlm
from trees import ROOT

from depictqa_core.backends import vlm_agreement, vlm_batch, vlm_network
from depictqa_core.errors import CheckpointError, OutOfMemory
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge

ANSWERS = ("yes", "no", "cannot tell")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny", "qwen2_5_vl")


@pytest.fixture(autouse=True, scope="module")
def no_number_words():
    """SmolVLM's processor asks for the package num2words, for the wording of videos alone."""
    from transformers.models.smolvlm import processing_smolvlm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processing_smolvlm, "num2words", str)
        yield


def images(count=6):
    """Every second one has another size, so that batches are cut."""
    rng = np.random.default_rng(7)
    return [as_image(rng.integers(0, 256, (64, 64 + 32 * (i % 2), 3), np.uint8), f"i{i}") for i in range(count)]


def counted(monkeypatch, judge):
    """The numbers of prompts that ran together."""
    sizes, original = [], judge.backend.run.together
    judge.backend.run.batches  # noqa: B018 (compared before it is counted)

    def together(prompts, *rest):
        sizes.append(len(prompts))
        return original(prompts, *rest)

    monkeypatch.setattr(judge.backend.run, "together", together)
    return sizes


def alone(folder):
    judge = load_judge(folder, "cpu")
    judge.backend.run.together_allowed = False
    return judge


# ---------------------------------------------------------------------- the same answers


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_that_run_together_are_answered_as_alone(family, tmp_path, monkeypatch):
    folder, shown = make_tiny_vlm(tmp_path / family, family), images()
    judge, single = load_judge(folder, "cpu"), alone(folder)
    assert judge.backend.run.batches, "this architecture allows it"
    sizes = counted(monkeypatch, judge)
    runs = [one.backend.run for one in (judge, single)]
    before = [(run.sharing, run.encoded)[1] for run in runs]
    for ask in (
        lambda j: j.score(shown),
        lambda j: j.score(shown[:4], shown[4]),
        lambda j: j.check(shown, "Is it sharp?", ANSWERS),
        lambda j: j.compare_many([(shown[i], shown[j]) for i in range(4) for j in range(4) if i < j]),
    ):
        assert alike(plain(ask(judge)), plain(ask(single)))
    assert set(sizes) >= {3, 2} and max(sizes) <= vlm_batch.TOGETHER
    encoded = [run.encoded - count for run, count in zip(runs, before, strict=True)]
    assert encoded[0] == encoded[1]  # vision features are cached in a batch, too


@pytest.mark.slow
def test_an_architecture_that_answers_otherwise_in_a_batch_runs_one_at_a_time(folder, monkeypatch):
    """The comparison with the plain path sees rows that are mixed up, and errors."""
    original = vlm_batch.stack
    for broken in (
        lambda caches: original(caches[::-1]),
        lambda caches: 1 / 0 if caches else None,
        lambda caches: None,
    ):
        monkeypatch.setattr(vlm_batch, "stack", broken)
        monkeypatch.setattr(vlm_agreement, "UNABLE", (*vlm_agreement.UNABLE, ZeroDivisionError))
        judge = load_judge(folder, "cpu")
        assert judge.backend.run.sharing == vlm_network.IMAGES
        shown = images(4)
        assert alike(plain(judge.compare(*shown[:2])), plain(alone(folder).compare(*shown[:2])))
        assert len(judge.score(shown)) == 4 and not judge.backend.run.batches


@pytest.mark.slow
def test_short_memory_while_both_paths_are_compared_says_nothing_about_the_architecture(folder, monkeypatch):
    judge, short = load_judge(folder, "cpu"), [True]
    run = judge.backend.run
    shared, together = run.shared, run.together

    def failing(original):
        def call(*arguments):
            if short.pop() if short else False:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return original(*arguments)

        return call

    monkeypatch.setattr(run, "shared", failing(shared))
    with pytest.raises(OutOfMemory):
        judge.score(images(1))
    assert len(judge.score(images(1))) == 1 and run.sharing == vlm_network.IMAGES
    short.append(True)
    monkeypatch.setattr(run, "together", failing(together))
    assert len(judge.score(images(4))) == 4 and run.batches


@pytest.mark.slow
def test_no_more_prompts_run_together_than_memory_holds(folder, monkeypatch):
    judge = load_judge(folder, "cpu")
    sizes, run = counted(monkeypatch, judge), judge.backend.run
    shown = [as_image(np.full((64, 64, 3), 20 * i, np.uint8), f"g{i}") for i in range(8)]
    prompt = judge.backend.template.prompt("Which?", (shown[0], None))
    whole = vlm_network.nbytes(run.state(prompt, lambda: None).cache)
    monkeypatch.setattr(vlm_batch, "prefill_budget", lambda device: 3.5 * whole)
    assert run.capacity(prompt) == 3
    monkeypatch.setattr(vlm_batch, "prefill_budget", lambda device: 0)
    assert run.capacity(prompt) == 1 and len(judge.score(shown)) == 8 and not sizes


# ---------------------------------------------------------------------- errors and Cancel


@pytest.mark.slow
def test_short_memory_halves_a_batch(folder, monkeypatch):
    judge, sizes = load_judge(folder, "cpu"), []
    original = judge.backend.run.together
    assert judge.backend.run.batches

    def together(prompts, *rest):
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(prompts, *rest)

    monkeypatch.setattr(judge.backend.run, "together", together)
    shown = [as_image(np.full((64, 64, 3), 20 * i, np.uint8), f"g{i}") for i in range(8)]
    assert alike(plain(judge.score(shown)), plain(alone(folder).score(shown)))
    assert sizes == [8, 4, 2, 2, 2, 2]


def too_large(monkeypatch, judge, image):
    """Let memory run out whenever one image is prepared."""
    original = judge.backend.run.inputs

    def inputs(texts, shown):
        if image.key in [one.key for one in shown]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(texts, shown)

    monkeypatch.setattr(judge.backend.run, "inputs", inputs)


def damaged(monkeypatch, judge, image):
    """Let the probabilities of one image be NaN."""
    original = judge.backend._probabilities

    def probabilities(text, wording, image_sets, *rest):
        table = original(text, wording, image_sets, *rest)
        table[[shown[0].key == image.key for shown in image_sets]] = np.nan
        return table

    monkeypatch.setattr(judge.backend, "_probabilities", probabilities)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (too_large, OutOfMemory, "i2: not enough memory on cpu even for this question alone; free some, or load"),
        (damaged, CheckpointError, "i2: tiny gave NaN or Inf as probabilities: its weights are damaged"),
    ],
)
def test_one_question_that_fails_leaves_the_answers_of_the_others(folder, monkeypatch, spoil, kind, words):
    judge, shown = load_judge(folder, "cpu"), images(4)
    shown[2] = as_image(np.full((64, 128, 3), 9, np.uint8), "i2")  # of a size of its own, in a batch with others
    assert judge.backend.run.batches
    with monkeypatch.context() as patch:
        spoil(patch, judge, shown[2])
        with pytest.raises(kind, match=words) as raised:
            judge.score(shown)
        assert "\n" not in str(raised.value)
    asked, original = [], judge.backend._probabilities
    monkeypatch.setattr(judge.backend, "_probabilities", lambda *a: (asked.extend(a[2]), original(*a))[1])
    assert alike(plain(judge.score(shown)), plain(alone(folder).score(shown)))
    assert [some[0].name for some in asked] == ["i2"]


def test_what_was_found_before_cancel_is_not_asked_again(folder, monkeypatch):
    judge, shown = (
        load_judge(folder, "cpu"),
        [as_image(np.full((64, 64, 3), i, np.uint8), f"g{i}") for i in range(12)],
    )

    def cancel(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge.score(shown, progress=cancel)
    sizes = counted(monkeypatch, judge)
    assert len(judge.score(shown)) == 12 and sum(sizes) == 4


@pytest.mark.slow
def test_cancel_is_asked_for_between_the_calls_of_a_batch(folder):
    judge, calls = load_judge(folder, "cpu"), []
    assert judge.backend.run.batches
    original = judge.backend.run.forward_with_cache
    judge.backend.run.forward_with_cache = lambda *a, **k: (calls.append("call"), original(*a, **k))[1]
    judge.identify(images(4), count=1, progress=lambda done, total: calls.append("check"))
    together = "".join({"call": "c", "check": "."}[one] for one in calls)
    assert "c" in together and "ccc" not in together, together


# ---------------------------------------------------------------------- the same bytes


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(folder, tmp_path):
    (tmp_path / "shown").mkdir()
    for image in images(5):
        Image.fromarray(image.rgb).save(tmp_path / "shown" / f"{image.name}.png")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "random"}
    for run in ("a", "b"):
        code = (
            "from depictqa_core.cli.commands import main; import sys;"
            f"sys.exit(main(['rank', 'shown', '--checkpoint', {str(folder)!r}, '--device', 'cpu',"
            f"'--json', '{run}.json', '--quiet']))"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=250)
    first, second = ((tmp_path / f"{run}.json").read_bytes() for run in "ab")
    assert first == second
    assert len(json.loads(first)["results"]) == 5
