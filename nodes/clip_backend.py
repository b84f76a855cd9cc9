"""The clip backend: the text encoder that ComfyUI has loaded for its diffusion model as a judge."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from comfy import model_management

from ..depictqa_core.backends.base import ImageSet, names_of
from ..depictqa_core.backends.profiles import choose_profile
from ..depictqa_core.backends.vlm import FEATURE_BYTES, VlmBackend
from ..depictqa_core.backends.vlm_loading import LoadedVlm
from ..depictqa_core.backends.worded import model_card
from ..depictqa_core.errors import OutOfMemory
from .clip_encoder import TextEncoder
from .clip_network import ClipNetwork
from .loaded_judge import stopping_on_cancel


class ClipBackend(VlmBackend):
    """A text encoder of ComfyUI. Prompts, profiles and answers are those of ``VlmBackend``; the weights stay ComfyUI's.

    Args:
        clip: ComfyUI's CLIP object.

    Raises:
        CheckpointError: it does not take images, has no language head, or its chats are in an unknown format.
    """

    def __init__(self, clip: Any):
        encoder_class = type(getattr(clip, "cond_stage_model", clip)).__name__.strip("_")
        profile = choose_profile(Path(encoder_class), "")
        self.encoder = encoder = TextEncoder(clip, profile.max_pixels, FEATURE_BYTES)
        processor = SimpleNamespace(
            tokenizer=encoder.tokenizer, chat_template=None, image_token=encoder.chat.image_token
        )
        card = model_card(
            f"text encoder {encoder.name}",
            encoder_class,
            "the text encoder of a diffusion model",
            profile,
            architecture=type(encoder.model).__name__,
        )
        super().__init__(LoadedVlm(encoder.model, processor, profile, card, encoder.ends))

    def _runner(self, loaded: LoadedVlm, cache_bytes: int) -> ClipNetwork:
        return ClipNetwork(self.encoder, self.template.layout)

    @property
    def network(self) -> None:
        """None: ComfyUI has the weights in its memory management already."""
        return None

    @property
    def low_coverage_remedy(self) -> str:
        return "load another file of this text encoder, or a judge with Load DepictQA Model"

    @contextmanager
    def session(self) -> Iterator[None]:
        if self._sessions:
            with super().session():
                yield
            return
        self.encoder.load()
        on_device = getattr(model_management, "cuda_device_context", lambda _: nullcontext())
        with on_device(self.encoder.device), stopping_on_cancel(self.encoder.model), super().session():
            yield

    def _out_of_memory(self, images: ImageSet) -> OutOfMemory:
        return OutOfMemory(
            f"{names_of(images)}: not enough memory on {self.device} for this question; free some, or link a smaller"
            " text encoder"
        )
