"""Decoding: exact probabilities of a closed set of answers with their coverage, and greedy text.

Both start from a ``Prefill``, the state of the language model behind a batch of prompts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from ..images.pixel_statistics import CPU
from .exact_logits import token_embeddings
from .prefill import Prefill

NEGLIGIBLE = 1e-4
"""Branches of the answer tree with less probability than this are not computed; their probability is split evenly over
their answers. So the error of an answer is at most this at temperature 1, and at most this for every such branch at
others."""


@dataclass
class _Node:
    """One token of the answer tree; its root has none. ``answers`` are the indexes of the answers through it."""

    token: int
    parent: "_Node | None"
    depth: int
    children: dict[int, "_Node"] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    slot: int = -1  # position among the tree tokens that the model has processed, from 0

    def path(self) -> list["_Node"]:
        """Return the nodes from behind the root to this one."""
        return [] if self.parent is None else [*self.parent.path(), self]


def answer_tree(answers: list[list[int]]) -> _Node:
    """The prefix tree of tokenised answers; no answer may be a prefix of another (their end tokens see to that)."""
    root = _Node(-1, None, 0)
    for index, ids in enumerate(answers):
        node = root
        node.answers.append(index)
        for token in ids:
            node = node.children.setdefault(token, _Node(token, node, node.depth + 1))
            node.answers.append(index)
    return root


def _fork(node: _Node) -> _Node:
    """The first node at or below this one where answers differ, or the last one of a single answer."""
    while len(node.answers) > 1 and len(node.children) == 1:
        node = next(iter(node.children.values()))
    return node


def forced_prefix(answers: list[list[int]]) -> list[int]:
    """The tokens that all answers begin with; they are prefilled together with the prompt."""
    return [node.token for node in _fork(answer_tree(answers)).path()]


class ClosedAnswers(NamedTuple):
    """What a language model finds probable among allowed answers.

    Attributes:
        probabilities: float64 [B, answers] on the CPU, given that the answer is one of them; rows sum to 1 to the last
            digit, so that equal images tie.
        coverage: float64 [B], 0..1: the probability that the model writes an allowed answer at all.
    """

    probabilities: torch.Tensor
    coverage: torch.Tensor


@torch.inference_mode()
def answer_probabilities(prefill: Prefill, answers: list[list[int]], temperature: float = 1.0) -> ClosedAnswers:
    """Compute the probability of every allowed answer, and how probable it is that the answer is one of them.

    The probabilities are conditional: at every fork of the answer tree the tokens that lead to an allowed answer share
    the whole probability, however little the model gives to all of them together. Their share of the whole vocabulary,
    multiplied along the tree, is the coverage. It is nearly 1 for a model that was trained on the question, and nearly
    0 for one that was not, such as a wrong or damaged one: then its probabilities mean nothing. The coverage counts
    tokens up to where an answer differs from all others, so it is an upper bound. The temperature does not change it.

    All open branches of the answer tree run together, one level of forks after the other; each token attends only to
    the prompt and to its own ancestors. Everything from the logits on is computed in float32.

    Args:
        prefill: the state behind the prompts and the ``forced_prefix`` of the answers, with ``last_logits`` from
            before that prefix on; it is used up.
        answers: token ids of the answers, the same for all prompts.
        temperature: log-probabilities are divided by it before they are normalised.
    """
    count, device = len(prefill), prefill.mask.device
    lengths = prefill.lengths
    fork = _fork(answer_tree(answers))
    mass = {id(fork): torch.zeros(count, **CPU)}  # log-probability of reaching a node, among the allowed answers
    reach = {id(fork): _prefix_probability(prefill, [node.token for node in fork.path()])}  # and among all texts
    shared: dict[int, torch.Tensor] = {}  # log-probability of a token that all answers of its branch have
    covered = torch.zeros(count, dtype=torch.float64, device="cpu")
    frontier = [(fork, prefill.logits)]
    done: list[_Node] = []  # nodes behind the fork, in the order in which the model processed them
    result = torch.full((count, len(answers)), -torch.inf, **CPU)
    while frontier:
        ahead = []
        for node, logits in frontier:
            children = list(node.children.values())
            if not children:  # a single allowed answer
                result[:, node.answers[0]] = mass[id(node)]
                covered += reach[id(node)].exp()
                continue
            tokens = torch.tensor([child.token for child in children], device=logits.device)
            logits = logits.float()
            among_all = (logits[:, tokens] - logits.logsumexp(-1, keepdim=True)).cpu()
            # Decided for each prompt by itself, so that a batch equals single runs.
            even = torch.tensor([math.log(len(child.answers) / len(node.answers)) for child in children], **CPU)
            cut = _negligible(mass[id(node)], node, temperature)[:, None]
            split = torch.where(cut, even, among_all.log_softmax(-1))
            among_all = torch.where(cut, even, among_all).double()
            for column, child in enumerate(children):
                reached, written = mass[id(node)] + split[:, column], reach[id(node)] + among_all[:, column]
                target = _fork(child)
                if len(target.answers) == 1 or _negligible(reached, target, temperature).all():
                    result[:, target.answers] = (reached - math.log(len(target.answers)))[:, None]
                    covered += written.exp()
                else:
                    mass[id(target)], reach[id(target)] = reached, written
                    ahead.append(target)
        if not ahead:
            break
        behind = {id(node): node for target in ahead for node in target.path()[fork.depth :] if node.slot < 0}
        new = list(behind.values())
        for slot, node in enumerate(new, start=len(done)):
            node.slot = slot
        done += new
        among = torch.zeros(len(new), len(done), dtype=torch.bool, device=device)
        for row, node in enumerate(new):
            among[row, [ancestor.slot for ancestor in node.path()[fork.depth :]]] = True
        allowed = torch.cat(
            [prefill.mask[:, None].expand(-1, len(new), -1), among.expand(count, -1, -1)], 2
        )  # [B, new, L + done]
        depths = torch.tensor([node.depth - fork.depth - 1 for node in new], device=device)
        embeds = token_embeddings(prefill.language, [node.token for node in new]).expand(count, -1, -1)
        logits = prefill.forward(embeds, allowed, lengths[:, None] + depths)
        first = len(done) - len(new)
        logits = logits.float()
        for node in new:  # what all answers of a branch share is not chosen among them, but it has to be written
            parent = node.parent
            if parent is not None and parent.slot >= first and len(parent.children) == 1:
                before = logits[:, parent.slot - first]
                shared[id(node)] = (before[:, node.token] - before.logsumexp(-1)).double().cpu()
        for target in ahead:
            forced = torch.zeros(count, dtype=torch.float64, device="cpu")
            for node in target.path():
                if id(node) in shared and node.slot >= first:
                    forced = forced + shared[id(node)]
            counts = ~_negligible(mass[id(target)], target, temperature)
            reach[id(target)] = reach[id(target)] + forced * counts
        frontier = [(target, logits[:, target.slot - first]) for target in ahead]
    return ClosedAnswers((result.double() / temperature).softmax(-1), covered.clamp(max=1.0))


def _prefix_probability(prefill: Prefill, prefix: list[int]) -> torch.Tensor:
    """Log-probability, float64 [B] on the CPU, of ``prefix``, the last tokens of the prefill."""
    before = prefill.last_logits[:, -len(prefix) - 1 : -1].float().log_softmax(-1)
    places = torch.tensor(prefix, dtype=torch.int64, device=before.device).expand(len(prefill), -1)
    return before.gather(-1, places[..., None])[..., 0].double().sum(-1).cpu()


def _negligible(mass: torch.Tensor, node: _Node, temperature: float) -> torch.Tensor:
    """Tell for which prompts all answers below a node of log-probability ``mass`` [B] are negligible, bool [B]."""
    flat = 1 / max(temperature, 1.0)  # a temperature above 1 raises small shares, at most to an even split
    return (mass * flat + (1 - flat) * math.log(len(node.answers))).exp() < NEGLIGIBLE


@dataclass(frozen=True)
class Generated:
    """Greedy text of one prompt: token ids with the end, and the probability that the model gave to each."""

    ids: list[int]
    probabilities: list[float]


@torch.inference_mode()
def greedy(
    prefill: Prefill,
    end: list[int],
    max_new_tokens: int = 400,
    on_step: Callable[[dict[int, list[int]]], None] | None = None,
    banned: Sequence[int] = (),
) -> list[Generated]:
    """Write an answer to every prompt, always taking the most probable token; finished rows leave the batch.

    Args:
        prefill: the state behind the prompts; it is used up.
        end: ids that close an answer (``prompts.answer_ids("")``); only the last one stops it.
        max_new_tokens: longest answer in tokens.
        on_step: called after every token with the tokens so far of every prompt (row -> ids) that is still being
            answered; what it raises stops the work (this is how Cancel works).
        banned: ids that no answer may begin with.
    """
    answers = [Generated([], []) for _ in range(len(prefill))]
    writing = list(range(len(answers)))
    for step in range(max_new_tokens):
        chances = prefill.logits.float().softmax(-1)
        if banned and not step:
            chances = chances.index_fill(-1, torch.tensor(banned, device=chances.device), 0.0)
        best = chances.max(-1)
        tokens = best.indices.tolist()
        for row, token, chance in zip(writing, tokens, best.values.tolist()):
            answers[row].ids.append(token)
            answers[row].probabilities.append(chance)
        if on_step:
            on_step({row: answers[row].ids for row in writing})
        active = [place for place, token in enumerate(tokens) if token != end[-1]]
        if not active or len(answers[writing[0]].ids) == max_new_tokens:
            break
        if len(active) < len(writing):
            prefill = prefill.rows(active, max_new_tokens)
            writing = [writing[place] for place in active]
        prefill.extend([text[None] for text in token_embeddings(prefill.language, [tokens[place] for place in active])])
    return answers
