"""The heads of the connector: the numbers that the language model reads, and what cells add."""

import pytest
import torch

from depictqa_core.network.heads import LIMIT, NUMBERS, Findings, Heads
from depictqa_core.tasks import DISTORTIONS, FAULTS


def findings(scale: float) -> Findings:
    generator = torch.Generator().manual_seed(1)
    sizes = (len(DISTORTIONS) + 1, len(DISTORTIONS), len(FAULTS) + 1, 1)
    labels, severity, faults, quality = (scale * torch.randn(4, n, generator=generator) for n in sizes)
    return Findings(labels, severity, faults, quality[:, 0])


def test_the_numbers_are_bounded_and_the_labels_are_log_probabilities():
    read = findings(1.0).numbers()
    assert read.shape == (4, NUMBERS)
    torch.testing.assert_close(read[:, : len(DISTORTIONS) + 1].exp().sum(1), torch.ones(4))
    far = findings(1e6).numbers()
    assert far.isfinite().all() and far.abs().max() <= LIMIT
    assert torch.equal(findings(1.0).faults, read[:, -len(FAULTS) - 2 : -1])


def test_a_finding_of_one_cell_counts_wherever_it_is_and_is_not_averaged_away():
    heads = Heads(3, [2], 8).eval()
    with torch.no_grad():
        for layer in heads.whole:
            for parameter in layer.parameters():
                parameter.zero_()
        quiet = torch.zeros(1, 2, 9)
        loud = quiet.repeat(2, 1, 1)
        loud[0, :, 4], loud[1, :, 7] = torch.tensor([9.0, -9.0]), torch.tensor([9.0, -9.0])
        by_cell = heads.cells[0]
        base, one = by_cell(torch.zeros(2)), by_cell(torch.tensor([9.0, -9.0]))
        silent, found = (heads(torch.zeros(len(grid), 3), [grid]).labels for grid in (quiet, loud))
    torch.testing.assert_close(silent[0], base[: silent.shape[1]])
    torch.testing.assert_close(found[0], found[1])
    gap = (one - base)[: silent.shape[1]]
    expected = torch.log((8 + gap.exp()) / 9)  # a soft maximum, and no mean
    torch.testing.assert_close(found[0] - silent[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_heads_in_half_precision_are_close(half):
    torch.manual_seed(2)
    heads, whole, grid = Heads(6, [4], 16).eval(), torch.randn(3, 6), torch.randn(3, 4, 9)
    with torch.no_grad():
        exact = heads(whole, [grid]).numbers()
        close = heads.to(half)(whole.to(half), [grid.to(half)]).numbers()
    torch.testing.assert_close(close.float(), exact, rtol=0.05, atol=0.1)
