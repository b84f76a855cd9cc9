"""Settings of a recipe that have settings of their own."""

from dataclasses import field
from pathlib import PurePath
from typing import Annotated

from depictqa_core.storage.rules import SWITCH, Rule, above, list_of, number, one_of, whole

from ..validation import NAME, Allowed, data_model, optional


@data_model
class Rehearsal:
    """Rehearsal: the fine-tuned judge is trained to keep the answers of the start on the user's own images.

    Attributes:
        share: share of the samples that are rehearsal.
        pictures: number of images that are distorted and used in questions.
    """

    share: Annotated[float, Allowed(above(0, 0.95))] = 0.5
    pictures: Annotated[int, Allowed(whole(1, 10**6))] = 200


@data_model
class Adapter:
    """A LoRA adapter (peft) of a vision-language model.

    Attributes:
        r, lora_alpha, lora_dropout: rank, scale and dropout of the adapter.
        parts: whose linear layers it adapts: "language", "vision" or both.
    """

    r: Annotated[int, Allowed(whole(1, 4096))] = 16
    lora_alpha: Annotated[float, Allowed(above(0, 1e6))] = 32
    lora_dropout: Annotated[float, Allowed(number(0, 0.99))] = 0.05
    parts: Annotated[list, Allowed(list_of(one_of("language", "vision"), 1, 2, unique=True))] = field(
        default_factory=lambda: ["language"]
    )


@data_model
class PublishedStart:
    """Published weights to start from (method.md 2): they are imported first, as ``depictqa import`` does.

    Attributes:
        clip, llm: OpenAI's ViT-L-14.pt (or a CLIPVisionModel folder) and the folder of Vicuna-7B-v1.5.
        delta: a published ckpt.pt to start from; without it LoRA, projector and abstractor are initialized.
        abstractor: whether the fresh connector has an abstractor.
    """

    clip: Annotated[str, Allowed(NAME)]
    llm: Annotated[str, Allowed(NAME)]
    delta: Annotated[str | None, Allowed(optional(NAME))] = None
    abstractor: Annotated[bool, Allowed(SWITCH)] = False


def is_pattern(value) -> bool:
    """Whether a value is the name of a file, or a pattern for such names, that stays below a folder."""
    return NAME.fits(value) and not PurePath(value).is_absolute() and ".." not in PurePath(value).parts


RECORDS = Rule(
    "a file below records or a pattern, or a list of them",
    lambda v: is_pattern(v) or (isinstance(v, list) and bool(v) and all(map(is_pattern, v))),
)


@data_model
class Validation:
    """Validation during training: the loss on records that are not trained on. The finished checkpoint has the weights
    with the lowest.

    Attributes:
        records: files of records in training form, searched for as ``parts`` are.
        every: steps between two measurements; the last step is measured as well.
        data: root folder of these records and their images; None is that of the recipe.
        patience: the run stops after this many measurements in a row without a lower loss; None never stops early.
    """

    records: Annotated[str | list, Allowed(RECORDS)]
    every: Annotated[int, Allowed(whole(1, 10**9))]
    data: Annotated[str | None, Allowed(optional(NAME))] = None
    patience: Annotated[int | None, Allowed(optional(whole(1, 10**6)))] = None

    @property
    def parts(self) -> dict[str, float]:
        """The files with equal weights, as ``record_files.read_parts`` takes them."""
        return dict.fromkeys([self.records] if isinstance(self.records, str) else self.records, 1.0)
