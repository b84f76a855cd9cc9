"""An exponential moving average of the weights that learn."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class MovingAverage:
    """The exponential moving average (EMA) of parameters, of each process's part of them.

    Args:
        parameters: what is averaged.
        decay: weight of the average so far in every step; the first steps count more, as a start of random weights
            would stay in the average for long: their decay is at most (1 + step) / (10 + step).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float):
        self.parameters, self.decay = list(parameters), decay
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for value, parameter in zip(self.values, self.parameters):
            value.mul_(decay).add_(parameter.detach(), alpha=1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the body, the parameters have the values of the average, and what the body does to them counts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def apply(self) -> None:
        """Give the parameters the values of the average."""
        for value, parameter in zip(self.values, self.parameters):
            parameter.copy_(value)

    @torch.no_grad()
    def _swap(self) -> None:
        for value, parameter in zip(self.values, self.parameters):
            held = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(held)
