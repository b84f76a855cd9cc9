"""Exact probabilities of closed answers from log-probabilities of tokens: the answer tree as arithmetic."""

from collections.abc import Callable, Sequence

import numpy as np
import torch


def answer_tokens(text: str, answers: Sequence[str], ids: Callable[[str], list[int]], end: int) -> list[list[int]]:
    """Split answers into tokens as they follow a text.

    Args:
        text: what stands in front, with its stem.
        answers: with the blank that separates them from the text, if any.
        ids: tokens of a text.
        end: the token that ends a turn. It is appended to every answer if one of them begins another, because
            "noise" is only then another answer than "noise and blur".
    """
    before = ids(text)
    whole = [ids(text + answer) for answer in answers]
    found = [one[len(before) :] if one[: len(before)] == before else ids(answer) for one, answer in zip(whole, answers)]
    begins = any(a is not b and b[: len(a)] == a for a in found for b in found)
    return [[*one, end] for one in found] if begins else found


def answer_rows(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Find the fewest continuations that show every fork of the answers: what comes before their last tokens."""
    before = sorted({tuple(one[:-1]) for one in tokens})
    return [list(one) for one in before if not any(len(o) > len(one) and o[: len(one)] == one for o in before)]


def answer_columns(tokens: Sequence[Sequence[int]]) -> list[int]:
    """Return the tokens that occur in answers, each once: only their probabilities are needed."""
    return sorted({token for one in tokens for token in one})


def answer_log_probabilities(
    tokens: Sequence[Sequence[int]],
    rows: Sequence[Sequence[int]],
    columns: Sequence[int],
    found: Sequence[torch.Tensor],
) -> np.ndarray:
    """Compute the log-probability, float64 [answers], that a model writes each answer: the sum over all its tokens.

    Args:
        rows: of ``answer_rows``.
        columns: of ``answer_columns``.
        found: for each row log-probabilities [len(row) + 1, columns] in front of and behind its tokens.
    """
    tables = [table.double().cpu() for table in found]
    place = {token: column for column, token in enumerate(columns)}
    logs = np.empty(len(tokens))
    for index, answer in enumerate(tokens):
        table = next(table for row, table in zip(rows, tables) if list(row[: len(answer) - 1]) == list(answer[:-1]))
        logs[index] = float(table[torch.arange(len(answer)), torch.tensor([place[one] for one in answer])].sum())
    return logs


def shares(logs: np.ndarray, temperature: float) -> np.ndarray:
    """Turn log-probabilities of answers into their shares of all answers, and behind them their coverage.

    Args:
        logs: float64 [answers], -inf for an answer of which nothing is known.
        temperature: divides them first.

    Returns:
        float64 [answers + 1]; equal shares where nothing is known of any answer, with a coverage of 0.
    """
    if np.isneginf(logs).all():
        return np.append(np.full(len(logs), 1 / len(logs)), 0.0)
    scaled = logs / temperature
    chosen = np.exp(scaled - scaled.max())
    return np.append(chosen / chosen.sum(), min(1.0, float(np.exp(logs).sum())))
