"""Prompts in batches of any lengths: shared prefixes computed once, rows copied and gathered, padding masked."""

import numpy as np
import pytest
import torch
from tiny import make_tiny_model

from depictqa_core.engine.kv_cache import KVCache
from depictqa_core.engine.prefill import Prefill, PrefixPrefiller, Segment, level_ends
from depictqa_core.runtime.byte_cache import ByteCache


@pytest.fixture(scope="module")
def language():
    return make_tiny_model("cnn")[0].language


def tree_of_prompts(language, seed=0):
    """Prompts of five segments that share prefixes, of mixed lengths, and their keys."""
    generator = torch.Generator().manual_seed(seed)
    made = {}

    def segment(key):
        length = 1 + int(torch.randint(0, 9, (), generator=generator))
        if key not in made:
            made[key] = Segment(key, torch.randn(length, language.config.hidden_size, generator=generator) * 0.3)
        return made[key]

    return [
        [segment(key) for key in (0, f"r{r}", 2, f"a{a}", f"b{b}")]
        for r, a, b in sorted({tuple(torch.randint(0, 4, (3,), generator=generator).tolist()) for _ in range(30)})
    ]


@torch.inference_mode()
def alone(language, prompt):
    return Prefill(language, 1).extend([torch.cat([s.embeds for s in prompt])]).logits[0]


@pytest.mark.slow
@pytest.mark.parametrize("ends", [[5], [1, 5], [2, 5], [2, 4, 5], [1, 2, 3, 4, 5]])
@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_shared_prefixes_change_nothing(language, ends, size):
    prompts = tree_of_prompts(language)
    prefiller = PrefixPrefiller(language, ends)
    got = [prefiller.prefill(prompts[start : start + size]).logits for start in range(0, len(prompts), size)]
    expected = torch.stack([alone(language, prompt) for prompt in prompts])
    torch.testing.assert_close(torch.cat(got), expected, rtol=0, atol=1e-4)


def test_prompts_in_any_order(language):
    prompts = tree_of_prompts(language, 1)
    order = np.random.default_rng(0).permutation(len(prompts)).tolist()
    prefiller = PrefixPrefiller(language, [2, 4, 5])
    for start in range(0, len(order), 4):
        some = [prompts[i] for i in order[start : start + 4]]
        got = prefiller.prefill(some).logits
        torch.testing.assert_close(got, torch.stack([alone(language, p) for p in some]), rtol=0, atol=1e-4)


def spy_on_forward(monkeypatch):
    """A list that gets the embeddings and the mask of every pass through a language model."""
    fed, original = [], Prefill.forward

    def forward(self, embeds, allowed, *rest, **more):
        fed.append((embeds, allowed))
        return original(self, embeds, allowed, *rest, **more)

    monkeypatch.setattr(Prefill, "forward", forward)
    return fed


def test_a_shared_prefix_is_computed_once(language, monkeypatch):
    prompts = tree_of_prompts(language)
    fed = spy_on_forward(monkeypatch)
    prefiller = PrefixPrefiller(language, [2, 4, 5])
    for start in range(0, len(prompts), 4):
        prefiller.prefill(prompts[start : start + 4])
    distinct = [len({tuple(s.key for s in p[:end]) for p in prompts}) for end in (2, 4, 5)]
    assert sum(len(embeds) for embeds, _ in fed) == sum(distinct)


def test_levels_end_where_prompts_branch():
    pairs = [(0, "r", 2, f"a{a}", 4, f"b{b}", 6) for a in range(5) for b in range(4)]
    tokens = [3, 16, 2, 16, 2, 16, 12]
    assert level_ends(pairs, tokens) == [3, 5, 7]
    assert level_ends(pairs, [30, 16, 2, 16, 2, 16, 12]) == [3, 5, 7]
    singles = [(0, f"a{a}", 2) for a in range(9)]
    assert level_ends(singles, [3, 16, 12]) == [3] and level_ends(singles, [30, 16, 12]) == [1, 3]
    assert level_ends(singles[:1], [30, 16, 12]) == [3]
    assert level_ends([(0, f"r{i}", 2, f"a{i}", 4) for i in range(9)], [3, 16, 2, 16, 9]) == [5]
    matched = [(0, f"a{i}", 2, f"b{i}", 4) for i in range(4)]
    assert level_ends(matched, [3, 16, 2, 16, 9]) == [5] and level_ends(matched, [3, 16, 2, 16, 9], combined=True) == [
        3,
        5,
    ]
    assert level_ends([], [3, 16, 9], combined=True)[-1] == 3


@pytest.mark.parametrize("kept", [0, 3, 100])
def test_prefixes_are_shared_between_prefillers_within_their_memory(language, kept, monkeypatch):
    prompts = tree_of_prompts(language)
    size = Prefill(language, 1).extend([torch.cat([s.embeds for s in prompts[0][:4]])]).rows([0]).cache.nbytes
    expected = torch.stack([alone(language, prompt) for prompt in prompts])
    prefixes, fed = ByteCache(kept * size), spy_on_forward(monkeypatch)
    # a prefiller of its own for each batch, as for each round of a ranking
    batches = [prompts[start : start + 4] for start in range(0, len(prompts), 4)]
    got = [PrefixPrefiller(language, [2, 4, 5], prefixes=prefixes).prefill(batch).logits for batch in batches]
    torch.testing.assert_close(torch.cat(got), expected, rtol=0, atol=1e-4)
    distinct = [len({tuple(s.key for s in p[:end]) for p in prompts}) for end in (2, 4, 5)]
    read = sum(len(embeds) for embeds, _ in fed)
    assert read == sum(distinct) if kept == 100 else read > sum(distinct)
    assert 0 <= prefixes.bytes <= prefixes.budget and bool(len(prefixes)) == bool(kept)


def test_keys_and_values_are_copied_and_gathered():
    generator = torch.Generator().manual_seed(0)

    def filled(rows, lengths):
        cache, written = KVCache(), []
        for length in lengths:
            new = [[torch.randn(rows, 2, length, 4, generator=generator) for _ in range(2)] for _ in range(3)]
            seen = [cache.update(*pair, layer) for layer, pair in enumerate(new)]
            written.append(new)
        whole = [[torch.cat([step[layer][kind] for step in written], 2) for kind in range(2)] for layer in range(3)]
        for layer in range(3):
            for kind in range(2):
                assert torch.equal(seen[layer][kind], whole[layer][kind])
        assert cache.get_seq_length() == sum(lengths)
        return cache, whole

    long, wide = filled(3, [5, 40, 1, 1]), filled(2, [4])
    where = [2, 0, 2]
    joined = KVCache.gather([(long[0], row) for row in where] + [(wide[0], 0), (wide[0], 1)])
    tail = torch.zeros(5, 2, 1, 4)
    for layer in range(3):
        got = joined.update(tail, tail, layer)
        for kind in range(2):
            assert torch.equal(got[kind][:3, :, :47], long[1][layer][kind][where])
            assert torch.equal(got[kind][3:, :, 43:47], wide[1][layer][kind])
            assert torch.equal(long[0].update(tail[:3], tail[:3], layer)[kind][:, :, :47], long[1][layer][kind])


@torch.inference_mode()
def test_gathered_rows_continue_as_they_would_alone(language):
    prompts = tree_of_prompts(language)[:3]
    texts = [torch.cat([s.embeds for s in p]) for p in prompts]
    parts = [Prefill(language, 1).extend([texts[0]]), Prefill(language, 2).extend(texts[1:])]
    both = Prefill.gather([(parts[1], 1), (parts[0], 0), (parts[1], 0)])
    more = [torch.randn(n, texts[0].shape[1]) for n in (4, 1, 2)]
    got = both.extend(more).logits
    expected = torch.cat(
        [Prefill(language, 1).extend([torch.cat([texts[i], m])]).logits for i, m in zip((2, 0, 1), more)]
    )
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def test_padding_never_makes_a_row_without_any_visible_position(language, monkeypatch):
    """Eager attention in half precision turns such a row into NaN, which then spreads."""
    fed = spy_on_forward(monkeypatch)
    PrefixPrefiller(language, [2, 4, 5]).prefill(tree_of_prompts(language))
    assert len(fed) == 3 and all(allowed.any(-1).all() for _, allowed in fed)
