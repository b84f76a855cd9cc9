"""Which records a step has, how a batch is cut into passes, and learning rates, against rules written out by hand."""

import math
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.trainer.loop import rate
from training.trainer.weighted_sampler import WeightedSampler, cut


def test_an_epoch_covers_every_record_as_often_as_its_weight_says_and_each_epoch_is_shuffled_anew():
    sampler = WeightedSampler([5, 3], [1, 4], "repeat", 4, seed=1)
    assert sampler.epoch_steps == 5  # 5 + 12 records
    epochs = [[place for step in range(5) for place in sampler(5 * epoch + step)] for epoch in (0, 1)]
    wanted = Counter({(0, row): 1 for row in range(5)} | {(1, row): 4 for row in range(3)})
    assert [Counter(epoch) for epoch in epochs] == [wanted, wanted]
    assert epochs[0] != epochs[1] and len(sampler(4)) == 1
    assert sampler(3) == WeightedSampler([5, 3], [1, 4], "repeat", 4, seed=1)(3)


def test_shares_are_kept_without_regard_to_the_sizes():
    sampler = WeightedSampler([2, 1000], [3, 1], "shares", 50, seed=1)
    drawn = Counter(part for step in range(200) for part, _ in sampler(step))
    assert drawn[0] / 10_000 == pytest.approx(0.75, abs=0.02)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.none() | st.integers(1, 120), st.integers(1, 5))
def test_passes_hold_every_example_once_within_the_budget_and_as_many_for_each_process(lengths, budget, processes):
    passes = cut(lengths, budget, processes)
    assert len(passes) % processes == 0
    assert sorted(index for group, counts in passes if counts for index in group) == list(range(len(lengths)))
    for group, _ in passes:
        longest = max(lengths[index] for index in group)
        assert budget is None or len(group) == 1 or len(group) * longest <= budget


def test_neighbours_in_a_batch_are_about_equally_long():
    passes = cut([10, 100, 11, 99, 12, 98], 300, 1)
    assert [sorted(group) for group, _ in passes] == [[0, 2, 4], [1, 3, 5]]


@dataclass
class Rates:
    schedule: str
    warm_steps: int | None = None
    learning_rate: float = 2e-4


def test_warmup_decay_is_logarithmic_then_linear_between_1e_8_and_the_highest():
    rates = [2e-4 * rate(step, 1000, Rates("warmup_decay")) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-8)
    assert rates[49] == pytest.approx(1e-8 + (2e-4 - 1e-8) * math.log(50) / math.log(100))
    assert max(rates) == rates[100] == pytest.approx(2e-4)  # a tenth of the steps is warm-up
    assert rates[550] == pytest.approx(1e-8 + (2e-4 - 1e-8) / 2)
    assert rates[-1] == pytest.approx(1e-8 + (2e-4 - 1e-8) / 900)
    short = [rate(step, 20, Rates("warmup_decay")) for step in range(20)]
    assert short.index(max(short)) == 9  # and its warm-up takes ten at least


def test_cosine_warms_up_linearly_and_ends_at_a_twentieth():
    rates = [rate(step, 104, Rates("cosine", 4)) for step in range(104)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[54] == pytest.approx(0.525) and rates[-1] == pytest.approx(0.05, abs=0.001)
