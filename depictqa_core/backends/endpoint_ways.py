"""The ways to probabilities of closed answers that servers allow: exact, the most probable tokens, or votes.

A way divides a question into requests that are the same for all images, sends one of them, and makes log-probabilities
of all their replies.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..chat.client import Reply
from ..chat.endpoint import EndpointError
from .base import ImageSet
from .endpoint_replies import all_tokens, checked, folded, known_masses, lie, token_id
from .endpoint_server import ServerTokenizer
from .vlm_answers import answer_rows, answer_tokens
from .vlm_prompts import Wording

Send = Callable[..., Reply]
"""``Server.send``."""
Tokens = tuple[int, ...]
Known = dict[Tokens, dict[int, float]]
"""Behind some tokens of an answer the log-probabilities of those that may follow."""
NEGLIGIBLE = 1e-6
"""Share of the probability of all answers that is not worth another request; it counts as not covered."""
NO_END = -1
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


class Exact(Way):
    """Log-probabilities of named tokens at every fork of the answer tree (vLLM's ``logprob_token_ids``).

    The server writes along a continuation. Where it takes ``structured_outputs`` it is made to, in one request; where
    it leaves the continuation all the same (by another division into tokens), the rest is asked for behind the text so
    far. Continuations are asked for in the order of their probability, and no more once all that are left have together
    at most ``NEGLIGIBLE`` of what is known: of 145 answers most need no request.

    Args:
        server: name for messages.
        tokenizer: that of the model.
        forced: whether the server takes ``structured_outputs`` and reports log-probabilities from before them.
    """

    continues = True

    def __init__(self, server: str, tokenizer: ServerTokenizer, forced: bool):
        self.server, self.tokenizer, self.forced = server, tokenizer, forced
        self.name = "exact: log-probabilities of every token of every answer"
        self._trees: dict[tuple[str, tuple[str, ...]], _Tree] = {}

    def parts(self, wording: Wording) -> Sequence[None]:
        self._tree(wording)  # before several threads need it
        return [None]

    def _tree(self, wording: Wording) -> "_Tree":
        key = wording.stem, wording.answers
        if key not in self._trees:
            spacing = " " if wording.stem else self.tokenizer.spacing
            spaced = [spacing + answer for answer in wording.answers]
            behind = self.tokenizer.behind + (wording.stem and self.tokenizer.spacing + wording.stem)
            end = self.tokenizer.end()
            tokens = answer_tokens(behind, spaced, self.tokenizer.ids, NO_END if end is None else end)
            if any(NO_END in answer for answer in tokens):
                raise EndpointError(f"{self.server}: the chat template shows no end of an answer, which is needed here")
            self._trees[key] = _Tree(tokens, spaced)
        return self._trees[key]

    def ask(self, send: Send, question: str, images: ImageSet, wording: Wording, part: None) -> np.ndarray:
        tree = self._tree(wording)
        known: Known = {}
        while (row := tree.next(known)) is not None:
            self._follow(send, question, images, wording.stem, tree, row, known)
        return tree.logs(known)

    def logs(self, wording: Wording, replies: Sequence[np.ndarray]) -> np.ndarray:
        return replies[0]

    def _follow(
        self, send: Send, question: str, images: ImageSet, stem: str, tree: "_Tree", row: Tokens, known: Known
    ) -> None:
        """Send one request along a continuation, from its first fork that is not known."""
        done = next(length for length in range(len(row) + 1) if row[:length] not in known)
        before, text = self.tokenizer.text(row[:done]) if done else "", tree.text(row)
        if not text.startswith(before):
            raise EndpointError(
                f"{self.server}: the answer '{text.strip()}' cannot be divided into whole characters; give one without"
                " special characters"
            )
        begun, rest = stem + before if stem else before.lstrip(), text[len(before) :]
        wanted = tree.wanted(row, done)
        extra: dict[str, Any] = {"logprobs": True, "logprob_token_ids": wanted, "return_tokens_as_token_ids": True}
        if self.forced and rest and done < len(row):
            extra["structured_outputs"] = {"choice": [rest]}
        reply = send(question, images, len(row) - done + 1, begun=begun, extra=extra)
        for token, found in self._steps(reply, wanted)[: len(row) - done + 1]:
            known[row[:done]] = found
            done += 1
            if done > len(row) or token != row[done - 1]:
                return

    def _steps(self, reply: Reply, wanted: Sequence[int]) -> list[tuple[int, dict[int, float]]]:
        """For each token of a reply its id, and the log-probabilities of the wanted ones and of itself."""
        steps = []
        for step in checked(self.server, reply):
            found = {token_id(self.server, name): float(value) for name, value in all_tokens(step)}
            own = token_id(self.server, step.token)
            if missing := set(wanted) - found.keys():
                raise lie(self.server, f"no log-probability of {len(missing)} of {len(wanted)} tokens asked for")
            if other := found.keys() - {*wanted, own}:
                raise lie(self.server, f"log-probabilities of {len(other)} tokens that were not asked for")
            steps.append((own, found))
        return steps


class _Tree:
    """The tokens of closed answers, and what has to be known of their forks.

    Args:
        tokens: of each answer.
        texts: of each answer, with the blank in front of it.
    """

    def __init__(self, tokens: Sequence[Sequence[int]], texts: Sequence[str]):
        self.tokens, self.texts = [tuple(one) for one in tokens], texts
        self.rows = [tuple(row) for row in answer_rows(tokens)]

    def text(self, row: Tokens) -> str:
        """Return an answer whose tokens follow a continuation to its end."""
        return next(text for one, text in zip(self.tokens, self.texts) if one[:-1] == row)

    def wanted(self, row: Tokens, start: int) -> list[int]:
        """Return the tokens that may follow a continuation at its forks from ``start`` on."""
        forks = range(start, len(row) + 1)
        return sorted({one[i] for one in self.tokens for i in forks if len(one) > i and one[:i] == row[:i]})

    def logs(self, known: Known) -> np.ndarray:
        """Compute the log-probabilities of all answers; -inf for those of which a fork is not known."""
        return np.array(
            [self._log(one, known) if self._known(one, known) == len(one) else -math.inf for one in self.tokens]
        )

    def next(self, known: Known) -> Tokens | None:
        """Return the most probable continuation with a fork that is not known; None if the rest is negligible."""
        left: dict[Tokens, Tokens] = {}  # what is not known begins at these places, each once
        for row in self.rows:
            length = self._known((*row, 0), known)
            if length <= len(row):
                left.setdefault(row[:length], row)
        if not left:
            return None
        chances = {place: math.exp(self._log(place, known)) for place in left}
        if sum(chances.values()) <= NEGLIGIBLE * float(np.exp(self.logs(known)).sum()):
            return None
        return left[max(left, key=lambda place: chances[place])]

    def _known(self, one: Tokens, known: Known) -> int:
        """Number of leading tokens whose forks are known."""
        return next((i for i in range(len(one)) if one[:i] not in known), len(one))

    def _log(self, one: Tokens, known: Known) -> float:
        return sum(known[one[:i]][one[i]] for i in range(len(one)))


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
