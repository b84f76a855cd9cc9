"""The heads of the connector: what they find in an image, and what cells add."""

import pytest
import torch

from depictqa_core.network.heads import NUMBERS, Findings, Heads
from depictqa_core.tasks import DISTORTIONS, FAULTS


def findings(scale: float, count: int = 4) -> Findings:
    return Findings.of_numbers(scale * torch.randn(count, NUMBERS, generator=torch.Generator().manual_seed(1)))


def test_one_row_holds_everything_that_is_found_in_an_image():
    found = findings(1.0)
    shapes = [(4, len(DISTORTIONS) + 1), (4, len(DISTORTIONS)), (4, len(FAULTS) + 1), (4,)]
    assert [tuple(part.shape) for part in (found.labels, found.severity, found.faults, found.quality)] == shapes
    again = Findings.of_numbers(found.numbers())
    assert all(torch.equal(getattr(again, name), value) for name, value in vars(found).items())


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
