"""Lays out the text segments and image slots of a question, for training and inference alike.

Source: facts of the published template (DepictQA-Wild): the spaces, newlines and the ``</s>`` separators below are part
of what the published checkpoints were trained on. Each text segment is tokenised on its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_Item = TypeVar("_Item")
_CHAT = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. "
)
SYSTEM = _CHAT + "As an AI assistant, you are performing an image quality assessment task."
SYSTEM_DESCRIPTION = (
    _CHAT + "As an AI assistant, you are performing an image detail description task, and your goal is to generate a "
    "natural language description of an image that accurately and comprehensively conveys its visual content."
)
SYSTEM_REFERENCE = " A high-quality Reference Image is provided to assist the evaluation."
SEPARATOR = "\n\n </s> "
USER = "USER: "
ASSISTANT = "\n   ASSISTANT: "
ANSWER_END = "\n </s>"

REFERENCE, A, B = "reference", "A", "B"
_TITLE = {REFERENCE: "Reference Image: ", A: "Image A: ", B: "Image B: ", None: "Image: "}
_TAG = {REFERENCE: "Img-Reference", A: "Img-A", B: "Img-B", None: "Img"}


@dataclass(frozen=True)
class Slot:
    """The place of one image in a prompt: ``role`` is "reference", "A" or "B"."""

    role: str


def layout(question: str, pair: bool, reference: bool) -> list[str | Slot]:
    """Lay out one question.

    Args:
        question: the user's question, one line.
        pair: two images (slots "A" and "B") or one (slot "A", titled "Image").
        reference: whether a pristine reference comes first (slot "reference").

    Returns:
        text segments and Slots in prompt order, beginning and ending with text; for example, one image without a
        reference:
        ``["A chat … task.\\n\\n </s> Image: <Img>", Slot("A"), "</Img>\\n\\n </s> USER: …\\n   ASSISTANT: "]``.
    """
    text = SYSTEM + (SYSTEM_REFERENCE if reference else "")
    parts: list[str | Slot] = []
    for role in ((REFERENCE,) if reference else ()) + ((A, B) if pair else (A,)):
        name = role if pair or role == REFERENCE else None
        parts += [text + SEPARATOR + _TITLE[name] + f"<{_TAG[name]}>", Slot(role)]
        text = f"</{_TAG[name]}>"
    return parts + [text + SEPARATOR + USER + question + ASSISTANT]


def description_layout(question: str) -> list[str | Slot]:
    """Lay out a question about the contents of one image (slot "A"); only in training data (method.md 1.6).

    A placeholder ``<image>`` in the question, with its newline, is taken out: the slot says where the image is.
    """
    question = without_placeholder(question)
    opening = SYSTEM_DESCRIPTION + SEPARATOR + USER + "<Img>"
    return [opening, Slot(A), "</Img> " + question + ASSISTANT.removeprefix("\n")]


def without_placeholder(question: str) -> str:
    """Remove the placeholder ``<image>``, with its newline, from a question of the published training data."""
    return re.sub(r"\n?<image>\n?", "", question)


def next_turn(question: str) -> str:
    """A further question of a conversation; it follows the end of the answer before without a gap (method.md 1.6)."""
    return USER + question + ASSISTANT


def fixed_strings() -> list[str]:
    """Every constant piece of the layouts, for a tokenizer that wants to spend one token on each."""
    titles = [SEPARATOR + _TITLE[name] + f"<{_TAG[name]}>" for name in _TITLE]
    closings = [f"</{tag}>" for tag in _TAG.values()]
    return [SYSTEM, SYSTEM_REFERENCE, *titles, *closings, SEPARATOR + USER, ASSISTANT, ANSWER_END]


def encode(parts: list[str | Slot], tokenizer: PreTrainedTokenizerBase) -> list[list[int] | Slot]:
    """Tokenise every text segment on its own, the first behind the beginning-of-sequence id if there is one."""
    encoded: list[list[int] | Slot] = []
    for part in parts:
        start = [] if encoded or tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        encoded.append(part if isinstance(part, Slot) else [*start, *text_ids(part, tokenizer)])
    return encoded


def encode_question(
    question: str,
    pair: bool,
    reference: bool,
    tokenizer: PreTrainedTokenizerBase,
    others: Sequence[str] = (),
) -> list[list[int] | Slot]:
    """Lay out and tokenise one question.

    Args:
        question, pair, reference: as in ``layout``.
        others: the questions that are asked about the same images. The last segment is cut behind the words that all
            of them begin with, so that the state of the language model there can be shared; the tokens stay the same.
    """
    *before, last = layout(question, pair, reference)
    encoded, text = encode(before, tokenizer), str(last)
    ids = text_ids(text, tokenizer)
    opening = text.removesuffix(question + ASSISTANT) + _common_words(others)
    shared = len(_common([ids, text_ids(opening, tokenizer)])) if others else 0
    return [*encoded, *(part for part in (ids[:shared], ids[shared:]) if part)]


def _common_words(texts: Sequence[str]) -> str:
    """The words that all texts begin with."""
    return " ".join(_common([text.split(" ") for text in texts]))


def _common(rows: Sequence[Sequence[_Item]]) -> list[_Item]:
    """What all rows begin with."""
    return [items[0] for items in itertools.takewhile(lambda items: len(set(items)) == 1, zip(*rows))]


def text_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of one text segment without special tokens around it; ``</s>`` becomes the tokenizer's own end token."""
    if tokenizer.eos_token and tokenizer.eos_token != "</s>":
        text = text.replace("</s>", tokenizer.eos_token)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def answer_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of an answer with its end, as the model is trained to write it; the last id ends generation."""
    return text_ids(text.strip() + ANSWER_END, tokenizer)
