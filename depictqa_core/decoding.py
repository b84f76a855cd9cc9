"""Answers out of the language model: exact probabilities of a closed set of answers, and greedy text.

Prompts are embeddings [L_i, hidden] of any length; batches are left-padded and masked, so a batch equals its single
runs.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

NEGLIGIBLE = 1e-4
"""Branches of the answer tree with less probability than this are not looked into; their share is split evenly. So no
answer is off by more than this at temperature 1, and by more than this for every such branch at others."""


@dataclass
class _Node:
    """One token of the answer tree. ``answers`` are the indexes of the answers that pass through it."""

    token: int | None
    parent: "_Node | None"
    depth: int
    children: dict[int, "_Node"] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    slot: int | None = None  # position among the tree tokens already given to the model

    def path(self) -> list["_Node"]:
        node, path = self, []
        while node.token is not None:
            path.append(node)
            node = node.parent
        return path[::-1]


def answer_tree(answers: list[list[int]]) -> _Node:
    """The prefix tree of tokenised answers; no answer may be a prefix of another (their end tokens see to that)."""
    root = _Node(None, None, 0)
    for index, ids in enumerate(answers):
        node = root
        node.answers.append(index)
        for token in ids:
            node = node.children.setdefault(token, _Node(token, node, node.depth + 1))
            node.answers.append(index)
    return root


def _fork(node: _Node) -> _Node:
    """The first node at or below this one where answers part, or the last one of a single answer."""
    while len(node.answers) > 1 and len(node.children) == 1:
        node = next(iter(node.children.values()))
    return node


@torch.inference_mode()
def answer_probabilities(
    language, prompts: list[torch.Tensor], answers: list[list[int]], temperature: float = 1.0
) -> torch.Tensor:
    """Probability of every allowed answer, given that the answer is one of them.

    The model reads each prompt once; then all open branches of the answer tree are read together, one level of forks
    after the other, each token seeing only the prompt and its own ancestors.

    Args:
        language: a causal language model.
        prompts: embeddings [L_i, hidden], one per question.
        answers: token ids of the answers, the same for all prompts.
        temperature: log-probabilities are divided by it before they are normalised.

    Returns:
        float32 [B, len(answers)] on the CPU; rows sum to 1.
    """
    embeds, mask = left_pad(prompts)
    lengths = mask.sum(1)
    root = answer_tree(answers)
    fork = _fork(root)
    read = fork.path()
    for slot, node in enumerate(read):
        node.slot = slot
    embeds, full = _append(language, embeds, mask, read, read)
    positions = _positions(mask, read)
    # Logits over a whole prompt would be the largest tensor of all, and only the last ones are of use.
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(language.forward).parameters else {}
    out = language(inputs_embeds=embeds, attention_mask=full, position_ids=positions, use_cache=True, **last)
    mass = {id(fork): torch.zeros(len(prompts))}  # log-probability of reaching a node
    frontier = [(fork, out.logits[:, -1])]
    result = torch.full((len(prompts), len(answers)), -torch.inf)
    while frontier:
        ahead = []
        for node, logits in frontier:
            children = list(node.children.values())
            if not children:  # a single allowed answer
                result[:, node.answers[0]] = mass[id(node)]
                continue
            tokens = torch.tensor([child.token for child in children], device=logits.device)
            split = logits[:, tokens].float().log_softmax(-1).cpu()
            # A prompt is cut where a run of its own would be, so that a batch equals single runs.
            even = torch.tensor([math.log(len(child.answers) / len(node.answers)) for child in children])
            split = torch.where(_negligible(mass[id(node)], node, temperature)[:, None], even, split)
            for column, child in enumerate(children):
                reached = mass[id(node)] + split[:, column]
                target = _fork(child)
                if len(target.answers) == 1 or _negligible(reached, target, temperature).all():
                    result[:, target.answers] = (reached - math.log(len(target.answers)))[:, None]
                else:
                    mass[id(target)] = reached
                    ahead.append(target)
        if not ahead:
            break
        new = [node for target in ahead for node in target.path() if node.slot is None]
        new = list({id(node): node for node in new}.values())
        for node in new:
            node.slot = len(read)
            read.append(node)
        tree_embeds = _token_embeddings(language, new).expand(len(prompts), -1, -1)
        full = _tree_mask(mask, new, read, tree_embeds.dtype)
        positions = lengths[:, None] + torch.tensor([node.depth - 1 for node in new], device=mask.device)
        out = language(
            inputs_embeds=tree_embeds,
            attention_mask=full,
            position_ids=positions,
            past_key_values=out.past_key_values,
            use_cache=True,
        )
        first = len(read) - len(new)
        frontier = [(target, out.logits[:, target.slot - first]) for target in ahead]
    return (result / temperature).softmax(-1)


def _negligible(mass: torch.Tensor, node: _Node, temperature: float) -> torch.Tensor:
    """For which prompts all answers below a node of log-probability ``mass`` [B] are negligible together, bool [B]."""
    flat = 1 / max(temperature, 1.0)  # heat raises small shares; an even split bounds what it can make of them
    return (mass * flat + (1 - flat) * math.log(len(node.answers))).exp() < NEGLIGIBLE


def left_pad(prompts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack prompts [L_i, hidden] to [B, L, hidden] with zeros in front, and their mask int64 [B, L]."""
    longest = max(len(prompt) for prompt in prompts)
    embeds = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[-1])
    mask = torch.zeros(len(prompts), longest, dtype=torch.int64, device=embeds.device)
    for row, prompt in enumerate(prompts):
        embeds[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return embeds, mask


def _token_embeddings(language, nodes: list[_Node]) -> torch.Tensor:
    embedding = language.get_input_embeddings()
    return embedding(torch.tensor([node.token for node in nodes], device=embedding.weight.device))


def _append(language, embeds, mask, new, read):
    """Prompts with the tokens of a forced prefix behind them, and the 4-D mask over both."""
    count, length = mask.shape
    causal = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    prompt = causal[None] & mask[:, None].bool()  # [B, L, L]
    # Padding sees itself: a row that sees nothing is NaN in half precision, and that would spread.
    prompt = prompt | torch.eye(length, dtype=torch.bool, device=mask.device)
    if not new:
        return embeds, _additive(prompt, embeds.dtype)
    tree = _tree_allowed(mask, new, read)
    above = torch.cat([prompt, prompt.new_zeros(count, length, len(new))], 2)
    embeds = torch.cat([embeds, _token_embeddings(language, new).expand(count, -1, -1)], 1)
    return embeds, _additive(torch.cat([above, tree], 1), embeds.dtype)


def _positions(mask: torch.Tensor, forced: list[_Node]) -> torch.Tensor:
    prompt = (mask.cumsum(1) - 1).clamp(min=0)
    after = mask.sum(1)[:, None] + torch.arange(len(forced), device=mask.device)
    return torch.cat([prompt, after], 1)


def _tree_allowed(mask: torch.Tensor, new: list[_Node], read: list[_Node]) -> torch.Tensor:
    """Which positions each new tree token sees, bool [B, new, L + read]: the prompt, its ancestors and itself."""
    among = torch.zeros(len(new), len(read), dtype=torch.bool, device=mask.device)
    for row, node in enumerate(new):
        among[row, [ancestor.slot for ancestor in node.path()]] = True
    prompt = mask[:, None].bool().expand(-1, len(new), -1)
    return torch.cat([prompt, among.expand(len(mask), -1, -1)], 2)


def _tree_mask(mask, new, read, dtype) -> torch.Tensor:
    return _additive(_tree_allowed(mask, new, read), dtype)


def _additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    blocked = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return blocked.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


@dataclass(frozen=True)
class Generated:
    """Greedy text of one prompt: token ids without the end, and the probability that the model gave to each."""

    ids: list[int]
    probabilities: list[float]


@torch.inference_mode()
def greedy(
    language,
    prompts: list[torch.Tensor],
    end: list[int],
    max_new_tokens: int = 400,
    on_step: Callable[[dict[int, list[int]]], None] | None = None,
    use_cache: bool = True,
) -> list[Generated]:
    """Write an answer to every prompt, always taking the most probable token.

    Args:
        language: a causal language model that can ``generate``.
        prompts: embeddings [L_i, hidden].
        end: ids that close an answer (``prompts.answer_ids("")``); only the last one stops generation.
        max_new_tokens: longest answer in tokens.
        on_step: called after every token with the tokens so far of every prompt (row -> ids) that is still being
            answered; what it raises stops the work (this is how Cancel works).
        use_cache: whether to keep keys and values between steps; the answer does not depend on it.
    """
    from transformers import StoppingCriteria, StoppingCriteriaList

    class _OnStep(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            if on_step:
                rows = enumerate(input_ids.tolist())
                on_step({row: ids for row, ids in rows if end[-1] not in ids[:-1]})
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    embeds, mask = left_pad(prompts)
    out = language.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        num_beams=1,
        repetition_penalty=1.0,
        use_cache=use_cache,
        eos_token_id=end[-1],
        pad_token_id=end[-1],
        output_logits=True,
        return_dict_in_generate=True,
        stopping_criteria=StoppingCriteriaList([_OnStep()]),
    )
    steps = len(out.logits)
    ids = out.sequences[:, -steps:]
    probabilities = [
        logits.float().softmax(-1).gather(1, ids[:, i : i + 1])[:, 0] for i, logits in enumerate(out.logits)
    ]
    probabilities = torch.stack(probabilities, 1).cpu().tolist()
    answers = []
    for row, chances in zip(ids.cpu().tolist(), probabilities):
        length = row.index(end[-1]) + 1 if end[-1] in row else len(row)
        answers.append(Generated(row[:length], chances[:length]))
    return answers
