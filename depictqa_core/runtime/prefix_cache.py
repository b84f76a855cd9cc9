"""What the questions of one verb share while it lasts."""

from collections.abc import Sequence

from .byte_cache import ByteCache


class PrefixCache(ByteCache):
    """KV caches of prompts' prefixes, by the keys of their segments, and embeddings of images.

    Args:
        budget: bytes of the KV caches; the embeddings may take an eighth of it in addition.
        questions: the questions that are asked about the same images, so that prefixes end where these begin to
            differ. Without them the same question is asked about other combinations of the images.

    Attributes:
        embeddings: language-model embeddings [T, hidden] of images, by their feature keys.
    """

    def __init__(self, budget: int, questions: Sequence[str] = ()) -> None:
        super().__init__(budget)
        self.questions, self.embeddings = tuple(questions), ByteCache(budget // 8)

    def clear(self) -> None:
        super().clear()
        self.embeddings.clear()
