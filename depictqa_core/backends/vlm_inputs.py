"""What the processor of a vision-language model makes of prompts, for answering and for training alike."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from ..images.image import RGBImage


class PromptInputs:
    """Turns prompts into the inputs of a model.

    Args:
        processor: the processor of the model.
        image_token: the text that stands for an image.
        max_pixels: larger images are shrunk to this area first.
        keywords: the names of the inputs that the model takes.
    """

    def __init__(self, processor: Any, image_token: str, max_pixels: int, keywords: frozenset[str]) -> None:
        self.processor, self.image_token = processor, image_token
        self.max_pixels, self.keywords = max_pixels, keywords

    def ids(self, text: str) -> list[int]:
        """Tokens of a text that follows an image: some tokenizers begin a text of its own with a blank."""
        tokenizer = self.processor.tokenizer
        before = len(tokenizer(self.image_token, add_special_tokens=False)["input_ids"])
        return list(tokenizer(self.image_token + text, add_special_tokens=False)["input_ids"])[before:]

    def prepare(self, texts: Sequence[str], images: Sequence[RGBImage]) -> dict[str, torch.Tensor]:
        """What the processor makes of a piece of a prompt.

        Args:
            texts: the text before each image, and that behind the last one.
            images: one fewer than texts.
        """
        if not images:
            return {"input_ids": torch.tensor([self.ids(texts[0])])}
        text, shown = self.image_token.join(texts), [shrunk(image, self.max_pixels) for image in images]
        made = self.processor(text=[text], images=shown, return_tensors="pt", add_special_tokens=False)
        return {name: value for name, value in made.items() if self._takes(name, value)}

    def _takes(self, name: str, value: object) -> bool:
        """Whether the model is given an output of the processor; some tokenizers make token types that it lacks."""
        return isinstance(value, torch.Tensor) and (name != "token_type_ids" or name in self.keywords)


def resized(height: int, width: int, max_pixels: int) -> tuple[int, int]:
    """The size of an image that is shrunk to an area of at most ``max_pixels``; at least 1 x 1."""
    if height * width <= max_pixels:
        return height, width
    scale = (max_pixels / (height * width)) ** 0.5
    return max(1, int(height * scale)), max(1, int(width * scale))


def shrunk(image: RGBImage, max_pixels: int) -> Image.Image:
    """The image, no larger than ``max_pixels``."""
    rgb = Image.fromarray(image.rgb)
    height, width = resized(image.height, image.width, max_pixels)
    return rgb if (width, height) == rgb.size else rgb.resize((width, height), Image.Resampling.BICUBIC)


def continued(inputs: dict[str, Any], row: Sequence[int]) -> dict[str, Any]:
    """Inputs of the processor with more tokens behind them."""
    if not row:
        return inputs
    new = torch.tensor([row], dtype=torch.int64)
    more = {"input_ids": new, "attention_mask": torch.ones_like(new)}
    more |= dict.fromkeys(("token_type_ids", "mm_token_type_ids"), torch.zeros_like(new))
    return {n: torch.cat([value, more[n].to(value)], 1) if n in more else value for n, value in inputs.items()}
