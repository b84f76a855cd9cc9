"""Answer probabilities and greedy text against brute force, batches against single runs, caches against none."""

import copy

import numpy as np
import pytest
import torch
from tiny import make_tiny_model
from transformers import AutoModelForCausalLM, Qwen2Config

from benchmarks.speed_formats import int8
from depictqa_core import tasks
from depictqa_core.engine import decoding
from depictqa_core.engine.decoding import Generated, forced_prefix, token_embeddings
from depictqa_core.engine.exact_logits import compute_logits_in_float32
from depictqa_core.engine.prefill import Prefill
from depictqa_core.prompts import answer_ids

LENGTHS = (9, 3, 14, 9, 2)


@pytest.fixture(scope="module")
def tiny():
    model, tokenizer = make_tiny_model("cnn")
    return model.language, tokenizer


@pytest.fixture
def unpruned(monkeypatch):
    monkeypatch.setattr(decoding, "NEGLIGIBLE", 0.0)


def prompts(language, lengths=LENGTHS, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    width = language.config.hidden_size
    return [torch.randn(n, width, generator=generator).to(dtype) * 0.3 for n in lengths]


@torch.inference_mode()
def read(language, prompts, forced=()):
    tail = token_embeddings(language, list(forced))
    return Prefill(language, len(prompts)).extend([torch.cat([prompt, tail]) for prompt in prompts], 1 + len(forced))


def answered(language, prompts, answers, temperature=1.0):
    return decoding.answer_probabilities(read(language, prompts, forced_prefix(answers)), answers, temperature)


def answer_probabilities(language, prompts, answers, temperature=1.0):
    return answered(language, prompts, answers, temperature).probabilities


def greedy(language, prompts, end, steps, on_step=None):
    return decoding.greedy(read(language, prompts), end, steps, on_step)


def sharpen(language, factor):
    """Make the model surer of itself, so that branches become negligible."""
    with torch.no_grad():
        language.get_output_embeddings().weight.mul_(factor)


def brute_force(language, prompt, answers, temperature=1.0):
    """Score every answer by a plain forward pass over prompt and answer, and normalise over the answers.

    A token that no other answer of the same beginning contends with is forced and so carries no probability.
    """
    with torch.no_grad():
        table = language.get_input_embeddings().weight
        tails = torch.nn.utils.rnn.pad_sequence([torch.tensor(a) for a in answers], batch_first=True)
        embeds = torch.cat([prompt.expand(len(answers), -1, -1), table[tails]], 1)
        logits = language(inputs_embeds=embeds).logits[:, len(prompt) - 1 :].double()
    scores = []
    for row, answer in enumerate(answers):
        score = 0.0
        for place in range(len(answer)):
            rivals = sorted({a[place] for a in answers if a[:place] == answer[:place]})
            score += logits[row, place, rivals].log_softmax(-1)[rivals.index(answer[place])]
        scores.append(score / temperature)
    return torch.stack(scores).softmax(-1)


def options(tokenizer, count):
    sets = {
        13: tasks.identification_answers(1),
        145: tasks.identification_answers(None),
        2: tasks.WINNERS,
        1: ("None",),
    }
    sets[133], sets[5] = tasks.identification_answers(2), tuple(map(str.capitalize, tasks.LEVELS))
    assert len(sets[count]) == count
    return [answer_ids(text, tokenizer) for text in sets[count]]


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 2.5, 0.7])
@pytest.mark.parametrize("count", [13, 145, 133, 5, 2, 1])
def test_probabilities_equal_brute_force(tiny, unpruned, count, temperature):
    language, tokenizer = tiny
    answers = options(tokenizer, count)
    asked = prompts(language, (9, 4))
    got = answer_probabilities(language, asked, answers, temperature)
    expected = torch.stack([brute_force(language, prompt, answers, temperature) for prompt in asked])
    assert got.shape == (2, count) and got.dtype == torch.float64
    assert (got.sum(-1) - 1).abs().max() < 1e-12  # not the 1e-7 of float32: equal images must tie
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert count == 1 or (got[0] - got[1]).abs().max() > 1e-3  # the prompt matters


def coverage_by_hand(language, prompt, answers):
    """The probability of writing an answer up to where it differs from all others, summed over the answers."""
    total = 0.0
    for answer in answers:
        others = [other for other in answers if other != answer]
        apart = next((n for n in range(1, len(answer)) if all(o[:n] != answer[:n] for o in others)), len(answer))
        ids = answer[:apart]
        embeds = torch.cat([prompt, token_embeddings(language, ids)])
        with torch.no_grad():
            chances = language(inputs_embeds=embeds[None]).logits[0, len(prompt) - 1 :].double().log_softmax(-1)
        total += float(sum(chances[place, token] for place, token in enumerate(ids)).exp())
    return total


@pytest.mark.slow
@pytest.mark.parametrize("count", [13, 145, 2, 1])
def test_coverage_equals_brute_force(tiny, unpruned, count):
    language, tokenizer = tiny
    answers, asked = options(tokenizer, count), prompts(language, (9, 4))
    got = answered(language, asked, answers).coverage
    expected = [coverage_by_hand(language, prompt, answers) for prompt in asked]
    assert got.shape == (2,) and got.dtype == torch.float64
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    warm = answered(language, asked, answers, temperature=3.0)
    torch.testing.assert_close(warm.coverage, got)  # of the model as it is, whatever its calibration


def test_coverage_is_one_where_every_text_is_allowed(tiny, unpruned):
    language, _ = tiny
    vocabulary = language.config.vocab_size
    answers = [[token, 2] for token in range(vocabulary)]
    got = answered(language, prompts(language), answers)
    torch.testing.assert_close(got.coverage, torch.ones(len(LENGTHS), dtype=torch.float64), rtol=1e-5, atol=0)
    half = answered(language, prompts(language), answers[: vocabulary // 2])
    assert (half.coverage < 1).all()
    given = got.probabilities[:, : vocabulary // 2]
    torch.testing.assert_close(half.coverage, given.sum(-1), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(half.probabilities, given / given.sum(-1, keepdim=True), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("count", [145, 2])
def test_coverage_in_a_batch_equals_single_runs(sure, count):
    language, tokenizer = sure
    answers, asked = options(tokenizer, count), prompts(language, (5, 3, 8, 5, 2, 6), seed=1)
    alone = torch.cat([answered(language, [one], answers).coverage for one in asked])
    torch.testing.assert_close(answered(language, asked, answers).coverage, alone, rtol=1e-3, atol=1e-9)


def test_branches_of_several_depths(tiny, unpruned):
    """Trees that word pieces do not happen to make: long forced stretches, forks right after forks, one long answer."""
    language, _ = tiny
    answers = [[5, 6, 7, 8, 2], [5, 6, 7, 9, 10, 11, 2], [5, 6, 7, 9, 10, 12, 2], [5, 6, 2], [5, 6, 7, 9, 13, 2]]
    for chosen in (answers, answers[:1], answers[:2], [[4, 2], [6, 2]], [a[1:] for a in answers[:2]] + [[9, 9, 9, 2]]):
        (prompt,) = prompts(language, (6,), seed=3)
        got = answer_probabilities(language, [prompt], chosen)[0]
        torch.testing.assert_close(got.double(), brute_force(language, prompt, chosen), rtol=0, atol=1e-5)


def test_order_of_the_answers_does_not_matter(tiny):
    language, tokenizer = tiny
    answers = options(tokenizer, 145)
    order = np.random.default_rng(0).permutation(145)
    got = answer_probabilities(language, prompts(language), answers)
    shuffled = answer_probabilities(language, prompts(language), [answers[i] for i in order])
    torch.testing.assert_close(shuffled, got[:, order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [145, 13, 2])
def test_batch_of_mixed_lengths_equals_single_runs(tiny, count):
    language, tokenizer = tiny
    answers = options(tokenizer, count)
    together = answer_probabilities(language, prompts(language), answers)
    alone = torch.cat([answer_probabilities(language, [prompt], answers) for prompt in prompts(language)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def sure():
    """A model so sure that most branches are negligible, each prompt's own ones."""
    model, tokenizer = make_tiny_model("cnn", seed=4)
    sharpen(model.language, 4.0)
    return model.language, tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 2.5, 0.7])
def test_pruning_is_bounded_and_saves_work(sure, monkeypatch, temperature):
    language, tokenizer = sure
    answers = options(tokenizer, 145)
    asked = prompts(language, (5,) * 6, seed=1)
    used = []
    original = decoding.token_embeddings
    monkeypatch.setattr(decoding, "token_embeddings", lambda lm, ids: used.append(len(ids)) or original(lm, ids))
    pruned = torch.cat([answer_probabilities(language, [one], answers, temperature) for one in asked])
    with_pruning, used[:] = sum(used), []
    monkeypatch.setattr(decoding, "NEGLIGIBLE", 0.0)
    exact = torch.cat([answer_probabilities(language, [one], answers, temperature) for one in asked])
    error = (pruned - exact).abs()
    assert with_pruning < sum(used)  # it did prune
    assert 0 < error.max() < (1e-4 if temperature == 1 else 1e-3)  # and stayed within the documented bound


def test_pruning_in_a_batch_equals_single_runs(sure):
    """What is negligible for one prompt only is cut for that prompt, whatever it shares a batch with."""
    language, tokenizer = sure
    answers = options(tokenizer, 145)
    asked = prompts(language, (5, 3, 8, 5, 2, 6), seed=1)
    alone = torch.cat([answer_probabilities(language, [one], answers) for one in asked])
    together = answer_probabilities(language, asked, answers)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision(half):
    model, tokenizer = make_tiny_model("cnn")
    sharpen(model.language, 0.2)
    answers = options(tokenizer, 13)
    full = answer_probabilities(model.language, prompts(model.language), answers)
    language = model.language.to(half)
    got = answer_probabilities(language, prompts(language, dtype=half), answers)
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got, full, rtol=0, atol=0.02 if half == torch.float16 else 0.1)
    for one in greedy(language, prompts(language, dtype=half), [2], 4):
        assert all(0 <= p <= 1 for p in one.probabilities)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_logits_of_a_half_precision_model_are_not_rounded(half):
    """Large logits: in bfloat16 those of about 20 would be multiples of 0.125."""
    model, _ = make_tiny_model("cnn")
    language = model.language.to(half)
    asked = prompts(language, dtype=half)
    rounded = read(language, asked).logits
    compute_logits_in_float32(language)
    compute_logits_in_float32(language)
    exact = read(language, asked).logits
    assert len(language.get_output_embeddings()._forward_hooks) == 1
    assert rounded.dtype == half and exact.dtype == torch.float32
    assert not torch.equal(exact, rounded.float())
    torch.testing.assert_close(exact, rounded.float(), rtol=2e-2, atol=1e-2)
    states = []
    hook = language.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
    exact = read(language, asked).logits
    hook.remove()
    wanted = states[0][:, -1].double() @ language.get_output_embeddings().weight.double().T
    torch.testing.assert_close(exact.double(), wanted, rtol=1e-5, atol=1e-5)


def test_another_language_model():
    """Grouped keys, biases, tied words: nothing in the decoder is particular to LLaMA."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    config.num_key_value_heads, config.tie_word_embeddings, config.initializer_range = 2, True, 0.3
    language = AutoModelForCausalLM.from_config(config).eval()
    answers = [[5, 6, 2], [5, 7, 8, 2], [5, 7, 9, 2], [10, 2]]
    asked = prompts(language, (4, 7))
    got = answer_probabilities(language, asked, answers)
    expected = torch.stack([brute_force(language, prompt, answers) for prompt in asked])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


# ---------------------------------------------------------------------- greedy text


def greedy_by_hand(language, prompt, end, steps):
    """Take the most probable token by a plain forward pass over everything, again and again."""
    table, embeds = language.get_input_embeddings().weight, prompt
    ids, probabilities = [], []
    with torch.no_grad():
        for _ in range(steps):
            chances = language(inputs_embeds=embeds[None]).logits[0, -1].softmax(-1)
            ids.append(int(chances.argmax()))
            probabilities.append(float(chances.max()))
            embeds = torch.cat([embeds, table[ids[-1:]]])
            if ids[-1] == end:
                break
    return ids, probabilities


STEPS = 12


@pytest.fixture(scope="module")
def written(tiny):
    """Greedy answers of all prompts by hand, the end being a token that some of them write midway."""
    language, _ = tiny
    free = [greedy_by_hand(language, prompt, -1, STEPS)[0] for prompt in prompts(language)]
    end = free[0][4]
    assert any(end not in ids for ids in free)
    return end, [greedy_by_hand(language, prompt, end, STEPS) for prompt in prompts(language)]


def close(got: Generated, expected):
    assert got.ids == expected[0]
    np.testing.assert_allclose(got.probabilities, expected[1], atol=1e-5)


def test_greedy_equals_a_computation_by_hand(tiny, written):
    end, expected = written
    together = greedy(tiny[0], prompts(tiny[0]), [99, end], STEPS)
    assert {len(one.ids) for one in together} >= {5, STEPS}  # one that ends early, and one that is cut
    for got, wanted in zip(together, expected, strict=True):
        close(got, wanted)
    for prompt, wanted in zip(prompts(tiny[0]), expected):
        close(greedy(tiny[0], [prompt], [99, end], STEPS)[0], wanted)


def test_greedy_can_be_stopped_after_any_token_and_tried_again(tiny, written):
    class Stop(Exception):
        pass

    calls = []

    def on_step(written):
        calls.append(1)
        if len(calls) == 3:
            raise Stop

    with pytest.raises(Stop):
        greedy(tiny[0], prompts(tiny[0]), [written[0]], STEPS, on_step)
    assert len(calls) == 3
    calls.clear()
    again = greedy(tiny[0], prompts(tiny[0]), [written[0]], STEPS, lambda written: calls.append(1))
    assert len(calls) == STEPS
    for got, wanted in zip(again, written[1]):
        close(got, wanted)


def test_greedy_ignores_sampling_settings_of_the_checkpoint(tiny, written):
    language = tiny[0]
    before = language.generation_config.to_dict()
    try:
        language.generation_config.update(
            do_sample=True, temperature=0.9, top_p=0.6, top_k=5, repetition_penalty=1.3, max_length=4096
        )
        got = greedy(language, prompts(language), [written[0]], STEPS)
    finally:
        language.generation_config.update(**{k: v for k, v in before.items() if k != "transformers_version"})
    for one, wanted in zip(got, written[1]):
        close(one, wanted)


def test_the_output_layer_may_be_quantized_later(tiny):
    """The hook stays in a copy whose linear layers torch quantizes."""
    language = copy.deepcopy(tiny[0])
    compute_logits_in_float32(language)
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        both = torch.stack([one(ids).logits.flatten() for one in (language, int8(language))])
    assert torch.corrcoef(both)[0, 1] > 0.99
