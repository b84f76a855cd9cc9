"""Vision-language models as judges: against computations straight from transformers, batches, caches, every verb."""

import numpy as np
import pytest
import torch
import transformers
from core.judging import alike, plain
from PIL import Image
from tiny_vlms import FAMILIES, make_tiny_vlm

from depictqa_core import tasks
from depictqa_core.backends import vlm_network
from depictqa_core.backends.base import Opening
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge
from depictqa_core.runtime.progress import ProgressCounter

SHARING = dict.fromkeys(FAMILIES, vlm_network.IMAGES) | {"gemma3": vlm_network.SETS}
"""Gemma lets the tokens of an image attend to each other, which transformers does at the first call alone."""


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / family, family)


@pytest.fixture(scope="module")
def smol(tmp_path_factory):
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / "smolvlm", "smolvlm")


@pytest.fixture(autouse=True, scope="module")
def no_number_words():
    """SmolVLM's processor asks for the package num2words, for the wording of videos alone."""
    from transformers.models.smolvlm import processing_smolvlm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processing_smolvlm, "num2words", str)
        yield


def images(count=3, seed=5):
    rng = np.random.default_rng(seed)
    return [
        as_image(rng.integers(0, 256, (64 + 16 * (i % 2), 64 + 32 * i, 3), np.uint8), f"i{i}") for i in range(count)
    ]


# ---------------------------------------------------------------------- computations of another make


class ByHand:
    """The documented way: processor, model, softmax. Nothing of the judge."""

    def __init__(self, folder, family):
        _, _, self.template, kind, image_kind, _, own = FAMILIES[family]
        pil = getattr(transformers, f"{image_kind}ImageProcessorPil", None)
        processor = pil or getattr(transformers, f"{image_kind}ImageProcessor")
        made = type(kind, (getattr(transformers, kind),), {"check_argument_for_proper_class": lambda *_: None})
        video = {"video_processor": None} if family not in ("gemma3", "llava") else {}
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.processor = made(processor.from_pretrained(folder), self.tokenizer, **video, **own)
        self.model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()

    def answers(self, content, stem, words, shown):
        """P(word) of each, by the product over its tokens, among them; and their sum before that."""
        messages = [{"role": "user", "content": content}]
        prompt = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self.template,
            add_generation_prompt=True,
            tokenize=False,
            enable_thinking=False,
        )
        logs = []
        for word in words:
            inputs, whole = (self.inputs(prompt + text, shown) for text in (stem, stem + word))
            with torch.no_grad():
                table = self.model(**whole).logits[0].log_softmax(-1)
            start, ids = inputs["input_ids"].shape[1], whole["input_ids"][0]
            assert torch.equal(ids[:start], inputs["input_ids"][0])
            logs.append(sum(table[i - 1, ids[i]].item() for i in range(start, len(ids))))
        mass = np.exp(np.array(logs, np.float64))
        return mass / mass.sum(), mass.sum()

    def inputs(self, text, shown):
        pictures = [Image.fromarray(image.rgb) for image in shown]
        return self.processor(text=[text], images=pictures, return_tensors="pt", add_special_tokens=False)


@pytest.mark.slow
def test_the_five_word_score_equals_a_computation_straight_from_transformers(folder, family):
    judge, by_hand, shown = load_judge(folder, "cpu"), ByHand(folder, family), images()
    content = [{"type": "image"}, {"type": "text", "text": "How would you rate the quality of the image?"}]
    words = [f" {level}" for level in tasks.LEVELS]
    stem = f"{judge.backend.template.spacing}The quality of the image is"
    for image, score in zip(shown, judge.score(shown)):
        expected, mass = by_hand.answers(content, stem, words, [image])
        assert [level.label for level in score.levels] == list(tasks.LEVELS)
        assert [level.probability for level in score.levels] == pytest.approx(expected, abs=1e-5)
        assert score.score == pytest.approx(float(expected @ tasks.LEVEL_SCORES), abs=1e-3)
        assert score.coverage == pytest.approx(mass, rel=1e-3)


@pytest.mark.slow
def test_pair_probabilities_equal_a_computation_straight_from_transformers(folder, family):
    judge, by_hand, (a, b, _) = load_judge(folder, "cpu"), ByHand(folder, family), images()
    question = "Which image has the higher quality, Image A or Image B? Answer with Image A or Image B only."
    content = []
    for title in ("Image A: ", "Image B: "):
        content += [{"type": "text", "text": title}, {"type": "image"}]
    content.append({"type": "text", "text": question})
    words = [judge.backend.template.spacing + word for word in tasks.WINNERS]
    forward, _ = by_hand.answers(content, "", words, [a, b])
    backward, _ = by_hand.answers(content, "", words, [b, a])
    got = judge.compare(a, b)
    assert got.probability_a == pytest.approx((forward[0] + backward[1]) / 2, abs=1e-5)
    assert got.disagreement == pytest.approx(abs(forward[0] - backward[1]), abs=1e-5)


# ---------------------------------------------------------------------- the two paths


@pytest.mark.slow
def test_the_shared_path_equals_the_plain_one(folder, family):
    judge = load_judge(folder, "cpu")
    run, shown = judge.backend.run, images()
    assert run.sharing == SHARING[family]
    a, b, reference = shown
    sets = [(a, None), (b, None), (a, reference), (a, b, None), (b, a, None), (a, b, reference), (b, a, reference)]
    rows = [[], run.ids("noise"), run.ids("insufficient contrast")[:2], run.ids("yes no yes")]
    with judge.backend.session():
        for some in sets:
            prompt = judge.backend.template.prompt("Which?", some)
            wanted = run.plain(prompt, rows, lambda: None)
            for found in (run.shared(prompt, rows, lambda: None, 2), run.shared(prompt, rows, lambda: None, 9)):
                for x, y in zip(found, wanted):
                    assert (x.exp() - y.exp()).abs().max() < 1e-4 and torch.equal(x.argmax(-1), y.argmax(-1))
            for row, y in zip(rows, wanted):  # one row runs together with its question
                (x,) = run.shared(prompt, [row], lambda: None, 9)
                assert (x.exp() - y.exp()).abs().max() < 1e-4


VERBS = {
    "identify": lambda j, p, r: j.identify(p, r, count=1),
    "score": lambda j, p, r: j.score(p, r),
    "compare": lambda j, p, r: j.compare_many([(p[0], p[1]), (p[1], p[2])], r and [r, r]),
    "rank": lambda j, p, r: j.rank(p, r),
    "describe": lambda j, p, r: j.describe(p, r, max_new_tokens=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_cached_equals_uncached_and_a_batch_its_single_runs(smol, verb, monkeypatch):
    shown, reference, each = images(3), images(1, 9)[0], verb in ("identify", "score", "describe")
    if verb == "describe":  # which names one distortion or two: the plain path runs the network for each of 145 answers
        shown = shown[:2]
    some = shown[:1] if each else shown  # without a cache or anything shared: of the others, single runs show the rest
    for beside in (reference,) if verb == "describe" else (None, reference):
        fast, slow = load_judge(smol, "cpu"), load_judge(smol, "cpu", cache_bytes=0)
        slow.backend.run._sharing = vlm_network.NOTHING
        got = VERBS[verb](fast, shown, beside)
        uncached = plain(VERBS[verb](slow, some, beside))
        assert alike(plain(got)[:1] if each else plain(got), uncached)
        assert plain(VERBS[verb](load_judge(smol, "cpu"), shown, beside)) == plain(got)  # deterministic to the last bit
        if each:
            single = [VERBS[verb](load_judge(smol, "cpu"), [image], beside)[0] for image in shown]
            assert alike(plain(got), [{**plain(one), "picture": image.name} for one, image in zip(single, shown)])


@pytest.mark.slow
def test_a_ranking_encodes_every_image_once(smol):
    judge, shown = load_judge(smol, "cpu"), images(5)
    assert judge.backend.run.sharing == vlm_network.IMAGES and judge.backend.run.batches
    before = judge.backend.run.encoded
    ranking = judge.rank(shown)
    assert ranking.comparisons == 10 and judge.backend.run.encoded - before == len(shown)
    assert judge.backend.run.states.budget == 0  # nothing stays on the device


# ---------------------------------------------------------------------- answers


@pytest.mark.slow
def test_all_verbs_answer(smol):
    judge, (a, b, _) = load_judge(smol, "cpu"), images()
    reference = images(1, 9)[0]
    (found,) = judge.identify(a, reference, count=None)
    assert sum(one.probability for one in found.probabilities) == pytest.approx(1) and len(found.probabilities) == 13
    assert len(found.severities) == len(found.labels) and found.certainty == "self-consistency"
    heard = []
    (said,) = judge.describe(a, max_new_tokens=6, on_text=lambda index, text: heard.append((index, text)))
    assert heard[-1] == (0, said.text) and len(heard) > 2
    compared = judge.compare(a, b, reference, explain=True)
    assert compared.text and compared.verdict in ("A", "B", "tie")
    assert judge.self_test().keys() == {"identification", "rating", "score", "severity"}


def test_two_distortions_are_told_from_one_by_the_end_of_the_answer(smol):
    judge, (a, *_) = load_judge(smol, "cpu"), images()
    options, rows = judge.ask([{"A": a}], tasks.IDENTIFICATION, tasks.IDENTIFICATION.question)
    assert len(options) == 13 + 12 * 11 and rows.sum() == pytest.approx(1)
    assert 0 < rows[0, options.index("Noise")] < 1 and 0 < rows[0, options.index("Noise and blur")] < 1


def test_rotations_of_the_options_are_averaged(smol):
    judge, (a, *_) = load_judge(smol, "cpu"), images()
    seen, original = [], judge.backend._probabilities

    def spy(text, *rest):
        seen.append((text, original(text, *rest)))
        return seen[-1][1]

    judge.backend._probabilities = spy
    chosen = judge.backend.choose(
        tasks.SEVERITY, tasks.severity_question("noise"), [(a, None)], ProgressCounter(None, 1)
    )
    (first, one), (second, two) = seen
    assert "slight, moderate, obvious, serious, catastrophic" in first
    assert "obvious, serious, catastrophic, slight, moderate" in second
    assert chosen.probabilities[0] == pytest.approx((one[0, :-1] + two[0, :-1]) / 2)


def test_openings_are_continued(smol):
    judge, (a, *_) = load_judge(smol, "cpu"), images()
    backend, counter = judge.backend, ProgressCounter(None, 1)
    (free,) = backend.write(tasks.ASSESSMENT, None, [(a, None)], 6, counter)
    start = backend.decode(free.ids[:2])
    (forced,) = backend.write(tasks.ASSESSMENT, None, [(a, None)], 4, counter, openings=[Opening(start, 0.25)])
    if backend.tokens(start, 1.0).ids == free.ids[:2]:
        assert forced.ids == free.ids and forced.probabilities[:2] == [0.25, 0.25]
    assert forced.text.startswith(start.strip())


def test_control_tokens_in_a_question_are_words(smol):
    judge, (a, *_) = load_judge(smol, "cpu"), images()
    said = judge.describe(a, question="Is it <image> <end_of_utterance> good?", max_new_tokens=2)
    assert said == judge.describe(a, question="Is it good?", max_new_tokens=2)


def test_cancel_stops_between_two_calls_of_the_model(smol):
    judge, calls = load_judge(smol, "cpu"), []

    def cancel(done, total):
        calls.append(done)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge.score(images(), progress=cancel)
    assert len(judge.score(images())) == 3


@pytest.mark.slow
def test_short_memory_runs_fewer_rows_at_once(smol, monkeypatch):
    judge, (a, *_) = load_judge(smol, "cpu"), images()
    expected, original, sizes = load_judge(smol, "cpu").score(a), judge.backend.run.shared, []
    assert judge.backend.run.sharing == vlm_network.IMAGES  # compared before memory is short

    def shared(prompt, rows, check, size, columns):
        sizes.append(size)
        if min(size, len(rows)) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(prompt, rows, check, size, columns)

    monkeypatch.setattr(judge.backend.run, "shared", shared)
    assert alike(plain(judge.score(a)), plain(expected))
    assert sizes[1] == (sizes[0] + 1) // 2 and sizes[-1] == 1  # halved until it fits


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(smol, dtype):
    shown = images(2)
    wanted, got = load_judge(smol, "cpu").score(shown), load_judge(smol, "cpu", dtype).score(shown)
    for a, b in zip(wanted, got):
        assert b.score == pytest.approx(a.score, abs=8)
