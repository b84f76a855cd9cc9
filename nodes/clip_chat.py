"""Chats in the format of the vision-language models that ComfyUI loads as text encoders.

ComfyUI's own templates are made for conditioning: they begin with a task for an image generator, and put all images in
front of the text. A judge needs the chat that the model was tuned for, with each image behind its title.
"""

import re
from dataclasses import dataclass
from typing import Any

CONTROL = re.compile(r"</?[^<>\s]+>")
EMBEDDING = "embedding:"
"""Behind a blank, ComfyUI's tokenizers take this for the name of a file."""


@dataclass(frozen=True)
class ChatFormat:
    """How a chat is written.

    Attributes:
        turn: one turn, with the places ``{role}`` and ``{text}``.
        answer: what the answer stands behind, thinking off.
        image: one image.
        image_token: the token in ``image`` that ComfyUI replaces by the features.
        end: the token that ends a turn.
        marker: a control token that a text may begin with, so that ComfyUI puts no template around it.
    """

    turn: str
    answer: str
    image: str
    image_token: str
    end: str
    marker: str


_QWEN = ChatFormat(
    turn="<|im_start|>{role}\n{text}<|im_end|>\n",
    answer="<|im_start|>assistant\n",
    image="<|vision_start|><|image_pad|><|vision_end|>",
    image_token="<|image_pad|>",
    end="<|im_end|>",
    marker="<|im_start|>",
)
_QWEN35 = ChatFormat(**{**vars(_QWEN), "answer": f"{_QWEN.answer}<think>\n\n</think>\n\n"})
_GEMMA3 = ChatFormat(
    turn="<start_of_turn>{role}\n{text}<end_of_turn>\n",
    answer="<start_of_turn>model\n",
    image="\n\n<start_of_image><image_soft_token><end_of_image>\n\n",
    image_token="<image_soft_token>",
    end="<end_of_turn>",
    marker="<end_of_turn>",  # ComfyUI drops the first token of a text with control tokens
)
FORMATS = {"Qwen3VL": _QWEN, "Qwen35": _QWEN35, "Gemma3_4B_Vision": _GEMMA3, "Gemma3_12B": _GEMMA3}
"""By the name of ComfyUI's class, or of one that it is derived from."""


def chat_format(model: Any) -> ChatFormat | None:
    """The format of the chats of one of ComfyUI's language models; None where it is not known."""
    names = [kind.__name__ for kind in type(model).__mro__]
    return next((FORMATS[name] for name in names if name in FORMATS), None)


class ChatTokenizer:
    """What ``ChatTemplate`` and ``VlmBackend`` need of a tokenizer, over that of a CLIP object.

    Args:
        clip: ComfyUI's CLIP object.
        chat: the format of its chats.
        vocabulary: token -> id.
    """

    bos_token = None
    """Begins every prompt by itself (``TextEncoder.start``)."""

    def __init__(self, clip: Any, chat: ChatFormat, vocabulary: dict[str, int]):
        self.clip, self.chat = clip, chat
        self.all_special_tokens = [EMBEDDING, *(token for token in vocabulary if CONTROL.fullmatch(token))]

    def get_added_vocab(self) -> dict[str, int]:
        """None besides the special tokens."""
        return {}

    def apply_chat_template(self, messages: list[dict], **_: Any) -> str:
        """Write turns of texts and images, and begin the answer; arguments as in transformers."""
        turns = []
        for message in messages:
            pieces = [part.get("text", self.chat.image) for part in message["content"]]
            turns.append(self.chat.turn.replace("{role}", message["role"]).replace("{text}", "".join(pieces)))
        return "".join(turns) + self.chat.answer

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """The text of tokens."""
        return self.clip.decode(ids, skip_special_tokens=skip_special_tokens)
