"""What one record of a run takes, whatever the network is."""

from typing import NamedTuple

TEXT_TOKENS, ANSWER_TOKENS = 130, 60
"""Tokens of the layout with its question, and of an answer, where there are no records to look at."""


class Work(NamedTuple):
    """A record with a reference and two images of the largest square size.

    Attributes:
        learned, frozen: parameters of the network.
        tokens: length of the record.
        saved: bytes that it keeps for the backward pass.
        flops: floating-point operations, forward and backward.
    """

    learned: int
    frozen: int
    tokens: int
    saved: float
    flops: float
