"""The ways to probabilities of closed answers that servers allow: exact, the most probable tokens, or votes.

A way divides a question into requests that are the same for all images, sends one of them, and makes log-probabilities
of all their replies.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..chat.client import Reply
from ..chat.endpoint import EndpointError
from .base import ImageSet
from .endpoint_replies import all_tokens, checked, folded, known_masses, lie, token_id
from .endpoint_server import ServerTokenizer
from .vlm_answers import answer_columns, answer_log_probabilities, answer_rows, answer_tokens
from .vlm_prompts import Wording

Send = Callable[..., Reply]
"""``Server.send``."""
ANSWER_TOKENS = 24
"""Longest brief answer of a server that cannot be told which answers are allowed."""


class Way(ABC):
    """How probabilities come from a server.

    Attributes:
        name: for reports.
        notice: what a user should know of it; empty if they are exact.
        continues: whether the server continues an answer that is begun.
        scored: whether replies have log-probabilities.
    """

    name: str
    notice: str = ""
    continues = False
    scored = True

    @abstractmethod
    def parts(self, wording: Wording) -> Sequence[Any]:
        """Return what has to be asked for one text of a wording, a request each."""

    @abstractmethod
    def ask(self, send: Send, question: str, images: ImageSet, wording: Wording, part: Any) -> Any:
        """Send one request.

        Raises:
            EndpointError: no reply, or its log-probabilities cannot be true.
        """

    @abstractmethod
    def logs(self, wording: Wording, replies: Sequence[Any]) -> np.ndarray:
        """Compute the log-probabilities float64 [answers] from what ``ask`` returned for each part."""


@dataclass(frozen=True)
class _Row:
    """One continuation of a prompt: its tokens, and those whose log-probabilities are needed along it."""

    ids: tuple[int, ...]
    wanted: tuple[int, ...]
    answer: str
    columns: tuple[int, ...]


class Exact(Way):
    """Log-probabilities of named tokens at every fork of the answer tree (vLLM's ``logprob_token_ids``).

    The server writes along a continuation. Where it takes ``structured_outputs`` it is made to, in one request; where
    it leaves the continuation all the same (by another division into tokens), the rest is asked for behind the text so
    far.

    Args:
        server: name for messages.
        tokenizer: that of the model.
        forced: whether the server takes ``structured_outputs`` and reports log-probabilities from before them.
    """

    continues = True

    def __init__(self, server: str, tokenizer: ServerTokenizer, forced: bool):
        self.server, self.tokenizer, self.forced = server, tokenizer, forced
        self.name = "exact: log-probabilities of every token of every answer"
        self._trees: dict[tuple[str, tuple[str, ...]], tuple[list[list[int]], list[_Row]]] = {}

    def parts(self, wording: Wording) -> Sequence[_Row]:
        return self._tree(wording)[1]

    def _tree(self, wording: Wording) -> tuple[list[list[int]], list[_Row]]:
        """The tokens of all answers, and the continuations that show every fork."""
        key = wording.stem, wording.answers
        if key not in self._trees:
            spaced = self._spaced(wording)
            behind = self.tokenizer.behind + (wording.stem and self.tokenizer.spacing + wording.stem)
            end = self.tokenizer.end()
            tokens = answer_tokens(behind, spaced, self.tokenizer.ids, -1 if end is None else end)
            if any(-1 in answer for answer in tokens):
                raise EndpointError(f"{self.server}: the chat template shows no end of an answer, which is needed here")
            columns, rows = tuple(answer_columns(tokens)), []
            for row in answer_rows(tokens):
                along = [answer for answer in tokens if row[: len(answer) - 1] == answer[:-1]]
                steps = {one[i] for one in tokens for i in range(len(one)) if i <= len(row) and one[:i] == row[:i]}
                text = spaced[tokens.index(max(along, key=len))]
                rows.append(_Row(tuple(row), tuple(sorted(steps)), text, columns))
            self._trees[key] = tokens, rows
        return self._trees[key]

    def _spaced(self, wording: Wording) -> list[str]:
        spacing = " " if wording.stem else self.tokenizer.spacing
        return [spacing + answer for answer in wording.answers]

    def ask(self, send: Send, question: str, images: ImageSet, wording: Wording, part: _Row) -> torch.Tensor:
        table = torch.full((len(part.ids) + 1, len(part.columns)), -math.inf, dtype=torch.float64)
        place = {token: column for column, token in enumerate(part.columns)}
        done = 0
        while done <= len(part.ids):
            before = self.tokenizer.text(part.ids[:done]) if done else ""
            if not part.answer.startswith(before):
                raise EndpointError(
                    f"{self.server}: the answer '{part.answer.strip()}' cannot be divided into whole characters;"
                    " give one with fewer special characters"
                )
            begun = wording.stem + before if wording.stem else before.lstrip()
            rest = part.answer[len(before) :]
            extra: dict[str, Any] = {"logprobs": True, "logprob_token_ids": list(part.wanted)}
            extra["return_tokens_as_token_ids"] = True
            if self.forced and rest and done < len(part.ids):
                extra["structured_outputs"] = {"choice": [rest]}
            reply = send(question, images, len(part.ids) - done + 1, begun=begun, extra=extra)
            for step in self._steps(reply, part.wanted)[: len(part.ids) - done + 1]:
                for token, value in step[1].items():
                    if token in place:
                        table[done, place[token]] = value
                done += 1
                if done > len(part.ids) or step[0] != part.ids[done - 1]:
                    break
        return table

    def _steps(self, reply: Reply, wanted: Sequence[int]) -> list[tuple[int, dict[int, float]]]:
        """For each token of a reply its id, and the log-probabilities of the wanted ones and of itself."""
        found = []
        for step in checked(self.server, reply):
            known = {token_id(self.server, name): float(value) for name, value in all_tokens(step)}
            own = token_id(self.server, step.token)
            if missing := set(wanted) - known.keys():
                raise lie(self.server, f"no log-probability of {len(missing)} of {len(wanted)} tokens asked for")
            if other := known.keys() - {*wanted, own}:
                raise lie(self.server, f"log-probabilities of {len(other)} tokens that were not asked for")
            found.append((own, known))
        return found

    def logs(self, wording: Wording, replies: Sequence[torch.Tensor]) -> np.ndarray:
        tokens, rows = self._tree(wording)
        return answer_log_probabilities(tokens, [list(row.ids) for row in rows], rows[0].columns, replies)


class Top(Way):
    """Log-probabilities of the most probable tokens only (``top_logprobs``).

    The server writes its answer. Along it every listed token is known; off it only the first one: what begins like one
    answer alone counts for that one, and what several answers share stays unknown. All that is unknown lowers the
    coverage. Case and blanks in front do not distinguish answers.

    Args:
        server: name for messages.
        count: number of tokens that the server lists.
    """

    def __init__(self, server: str, count: int):
        self.server, self.count = server, count
        self.name = f"the {count} most probable tokens"
        self.notice = (
            f"{server} gives log-probabilities of the {count} most probable tokens only: what is missing lowers the"
            " coverage of answers"
        )

    def parts(self, wording: Wording) -> Sequence[None]:
        return [None]

    def ask(self, send: Send, question: str, images: ImageSet, wording: Wording, part: None) -> np.ndarray:
        asked = {"logprobs": True, "top_logprobs": self.count}
        reply = send(listed(question, wording), images, ANSWER_TOKENS, extra=asked)
        return known_masses(checked(self.server, reply), wording.answers)

    def logs(self, wording: Wording, replies: Sequence[np.ndarray]) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(replies[0])


class Votes(Way):
    """Shares of sampled answers, for servers without log-probabilities.

    Args:
        server: name for messages.
        count: how often every question is asked.
    """

    scored = False

    def __init__(self, server: str, count: int):
        self.server, self.count = server, count
        self.name = f"shares of {count} sampled answers"
        self.notice = (
            f"{server} gives no log-probabilities: probabilities are the shares of {count} sampled answers, and may"
            " differ the next time"
        )

    def parts(self, wording: Wording) -> Sequence[int]:
        return range(self.count)

    def ask(self, send: Send, question: str, images: ImageSet, wording: Wording, part: int) -> str:
        return send(listed(question, wording), images, ANSWER_TOKENS, temperature=1.0, extra={"seed": part}).text

    def logs(self, wording: Wording, replies: Sequence[str]) -> np.ndarray:
        answers = [folded(answer) for answer in wording.answers]
        votes = np.zeros(len(answers))
        for text in replies:
            said = folded(text).rstrip(".! ")
            if said in answers:
                votes[answers.index(said)] += 1
        with np.errstate(divide="ignore"):
            return np.log(votes / len(replies))


def listed(question: str, wording: Wording) -> str:
    """Return a question whose answer cannot be begun with its stem: it lists the answers instead."""
    return f"{question} Answer with one of these only: {', '.join(wording.answers)}." if wording.stem else question
