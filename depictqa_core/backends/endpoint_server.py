"""What a judge sends to a server and what comes back: questions with images, tokens, answers from the cache."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..chat.client import Client, Reply
from ..chat.endpoint import EndpointError
from ..chat.messages import image_part, request_body
from ..images.image import RGBImage
from ..runtime.byte_cache import ByteCache
from .base import ImageSet
from .endpoint_cache import ReplyCache
from .profiles import Profile
from .vlm_inputs import shrunk
from .vlm_prompts import THINK, THINK_END, laid_out, plain

PART_BYTES = 64 * 2**20
"""Memory budget for encoded images, which are sent with many questions."""
CONTINUED = {"add_generation_prompt": False, "continue_final_message": True}
"""Fields by which the answer of a request is continued instead of a new one being begun."""
_CONTROL = re.compile(r"<[|/]?[\w|:.-]+>")
"""What a server may take for a control token; whose model it is not known, so all of that form is removed."""


class Server:
    """One model of a server, asked in the words of a profile.

    Args:
        client: sends the requests.
        profile: titles, system text and the largest size of images.
        cache: stored replies, or None.

    Attributes:
        fields: what every request carries.
    """

    def __init__(self, client: Client, profile: Profile, cache: ReplyCache | None = None):
        self.client, self.profile, self.cache = client, profile, cache
        self.fields: dict[str, Any] = {}
        self._parts = ByteCache(PART_BYTES)

    @property
    def name(self) -> str:
        """Scheme, host and port, for messages."""
        return self.client.endpoint.origin

    def send(
        self,
        question: str,
        images: ImageSet,
        max_tokens: int,
        *,
        begun: str = "",
        temperature: float = 0.0,
        extra: Mapping[str, Any] | None = None,
        client: Client | None = None,
    ) -> Reply:
        """Ask one question about a set of images.

        Args:
            begun: what the answer begins with; the reply continues it.
            extra: further fields of the request.
            client: one that can be closed without others; None takes the server's.

        Raises:
            EndpointError: as in ``Client.complete``; or the model thinks before it answers.
        """
        messages = self._messages(question, images, begun)
        extra = {**self.fields, **(extra or {}), **(CONTINUED if begun else {})}
        reply = self._answered(client or self.client, messages, max_tokens, temperature, extra)
        if reply.thought or reply.text.lstrip().startswith(THINK):
            raise EndpointError(
                f"{self.name}: {self.client.endpoint.model} thinks before it answers, so its answers have no"
                " probabilities; serve it with thinking turned off"
            )
        return reply

    def _answered(
        self, client: Client, messages: list[dict], max_tokens: int, temperature: float, extra: Mapping[str, Any]
    ) -> Reply:
        if self.cache is None:
            return client.complete(messages, max_tokens, temperature, extra)
        model = self.client.endpoint.model
        key = self.cache.key({**request_body(model, messages, max_tokens, temperature), **extra})
        if (reply := self.cache.get(key)) is None:
            reply = client.complete(messages, max_tokens, temperature, extra)
            self.cache.put(key, reply)
        return reply

    def _messages(self, question: str, images: ImageSet, begun: str) -> list[dict]:
        titled, question = laid_out(self.profile, question, images)
        shown: list[dict] = []
        for title, image in titled:
            shown += [{"type": "text", "text": title}] if title else []
            shown.append(self._part(image))
        content = self.profile.ordered(shown, [{"type": "text", "text": question}])
        messages: list[dict] = [{"role": "system", "content": self.profile.system}] if self.profile.system else []
        messages.append({"role": "user", "content": content})
        return messages + ([{"role": "assistant", "content": begun}] if begun else [])

    def _part(self, image: RGBImage) -> dict:
        if (part := self._parts.get(image.key)) is None:
            part = image_part(shrunk(image, self.profile.max_pixels))
            self._parts.put(image.key, part, len(part["image_url"]["url"]))
        return part


class NoTokenizer(EndpointError):
    """The server does not offer the tokenizer of its model."""


class ServerTokenizer:
    """The tokenizer of a model on a vLLM server, by its ``/tokenize`` and ``/detokenize``.

    Args:
        server: the server; its ``fields`` go into the chat template.

    Attributes:
        behind: the text behind which an answer begins.
        spacing: what separates an answer from it.

    Raises:
        NoTokenizer: the server answers otherwise there.
        EndpointError: it cannot be used, or its chat template opens a chain of thought.
    """

    def __init__(self, server: Server):
        self.server = server
        self._ids: dict[str, list[int]] = {}
        self._texts: dict[tuple[int, ...], str] = {}
        asked = {"role": "user", "content": "A"}
        self.behind = self.text(self._chat([asked], add_generation_prompt=True))
        if self.behind.rfind(THINK) > self.behind.rfind(THINK_END):
            raise EndpointError(
                f"{server.name}: the chat template of {server.client.endpoint.model} opens a chain of thought, behind"
                " which no answer can be scored; serve it with a template that does not"
            )
        self.spacing = " " if self.behind[-1:].isalnum() or self.behind[-1:] == ":" else ""
        self._asked = asked

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        if text not in self._ids:
            self._ids[text] = self._tokens({"prompt": text, "add_special_tokens": False})
        return self._ids[text]

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, control tokens included."""
        key = tuple(ids)
        if key not in self._texts:
            found = self._post("/detokenize", {"tokens": list(ids)}).get("prompt")
            if not isinstance(found, str):
                raise NoTokenizer(f"{self.server.name}: /detokenize gave no text")
            self._texts[key] = found
        return self._texts[key]

    def end(self) -> int | None:
        """Return the token that ends an answer; None if the chat template does not show it."""
        messages = [self._asked, {"role": "assistant", "content": "B"}]
        open_, closed = self._chat(messages, **CONTINUED), self._chat(messages, add_generation_prompt=False)
        return closed[len(open_)] if closed[: len(open_)] == open_ and len(closed) > len(open_) else None

    def _chat(self, messages: list[dict], **more: bool) -> list[int]:
        return self._tokens({"messages": messages, **self.server.fields, **more})

    def _tokens(self, body: dict[str, Any]) -> list[int]:
        found = self._post("/tokenize", body).get("tokens")
        if not isinstance(found, list) or not found or not all(type(one) is int for one in found):
            raise NoTokenizer(f"{self.server.name}: /tokenize gave no tokens")
        return found

    def _post(self, path: str, body: dict[str, Any]) -> dict:
        return self.server.client.post(path, {"model": self.server.client.endpoint.model, **body})


def without_control(text: str) -> str:
    """Remove from a user's text what a server may take for control tokens."""
    while found := _CONTROL.findall(text):
        text = plain(text, found)
    return plain(text, ())
