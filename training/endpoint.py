"""Client for any OpenAI-compatible chat endpoint: retries with back-off, rate and time limits, pictures in requests."""

import base64
import email.utils
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from depictqa_core.errors import DepictQAError

BASE, MODEL, KEY = "DEPICTQA_API_BASE", "DEPICTQA_API_MODEL", "DEPICTQA_API_KEY"
"""Environment variables that name the endpoint; the key may be missing, as local servers need none."""

RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Statuses that pass by themselves; every other one would come again."""

REJECTED = {400, 413, 415, 422}
"""Statuses that concern one request (too large, against the rules of the endpoint); others can still be answered."""

MAX_ANSWER = 16 * 2**20  # bytes
LONGEST_RETRY_AFTER = 3600.0  # seconds
_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}


class EndpointError(DepictQAError):
    """The endpoint cannot be used: not named, refused the key, knows no such model, or gave no answer."""


class RequestRejected(EndpointError):
    """The endpoint will not answer this one request; it may answer others."""


class NoAnswer(EndpointError):
    """Every attempt failed in a way that may pass; the same request may be answered later."""


@dataclass(frozen=True)
class Endpoint:
    """Where requests go: base URL (``https://host/v1``), model name and, where one is needed, the key (never shown)."""

    base: str
    model: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self):
        if not self.base.startswith(("http://", "https://")):
            raise EndpointError(f"the base URL of the endpoint must begin with http:// or https://, not '{self.base}'")

    @classmethod
    def from_environment(cls, environment=os.environ) -> "Endpoint":
        """Read ``DEPICTQA_API_BASE``, ``DEPICTQA_API_MODEL`` and ``DEPICTQA_API_KEY``.

        Raises:
            EndpointError: base or model is missing, or the base is no URL.
        """
        missing = [name for name in (BASE, MODEL) if not environment.get(name)]
        if missing:
            raise EndpointError(
                f"no endpoint: set {' and '.join(missing)} (and {KEY} if it needs a key), such as {BASE}=http://host/v1"
            )
        return cls(environment[BASE].rstrip("/"), environment[MODEL], environment.get(KEY) or None)


@dataclass(frozen=True)
class Reply:
    """One answer: its text, why it ended ("stop", "length", "content_filter", ...) and the tokens it cost, if told."""

    text: str
    finish: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Client:
    """Asks one endpoint, from any number of threads.

    Failures that pass by themselves (``RETRIED``, time-outs, broken connections, answers that are no JSON) are tried
    again after a pause that doubles and is drawn at random between its half and its whole, so that many clients do not
    come back at once. A Retry-After of the endpoint is honoured by all threads.

    Args:
        timeout: seconds that one attempt may take, from connecting to the last byte.
        attempts: most attempts for one request.
        per_minute: most requests a minute over all threads; None for no limit.
        first_pause, longest_pause: bounds of the pause in seconds; a Retry-After above the longest is still honoured.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float = 120,
        attempts: int = 6,
        per_minute: float | None = None,
        first_pause: float = 1.0,
        longest_pause: float = 60.0,
    ):
        self.endpoint, self.timeout, self.attempts = endpoint, timeout, attempts
        self._pauses = first_pause, longest_pause
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next_start = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._limit_field = "max_tokens"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def complete(self, messages: list[dict], max_tokens: int, temperature: float | None = 0.0) -> Reply:
        """Answer one conversation (``messages`` as the chat completions interface defines them).

        Raises:
            RequestRejected: the endpoint refuses this request (status in ``REJECTED``).
            NoAnswer: no attempt succeeded.
            EndpointError: it refuses all (key, model, address), or the client was closed.
        """
        for attempt in range(self.attempts):
            self._wait_for_turn()
            try:
                return self._post(
                    request_body(self.endpoint.model, messages, max_tokens, temperature, self._limit_field)
                )
            except _TryAgain as failure:
                last = failure
            if attempt + 1 < self.attempts:
                self._pause(attempt, last.after)
        raise NoAnswer(f"{self.endpoint.base}: no answer after {self.attempts} attempts; the last one: {last}")

    def close(self) -> None:
        """Let waiting threads give up at once."""
        self._closed.set()

    def _wait_for_turn(self) -> None:
        while not self._closed.is_set():
            with self._lock:
                wait = self._next_start - time.monotonic()
                if wait <= 0:
                    self._next_start = time.monotonic() + self._interval
                    return
            self._closed.wait(wait)
        raise EndpointError("stopped")

    def _pause(self, attempt: int, after: float | None) -> None:
        first, longest = self._pauses
        if after is not None:  # what the endpoint asks for concerns every thread
            with self._lock:
                self._next_start = max(self._next_start, time.monotonic() + after)
        self._closed.wait(random.uniform(0.5, 1.0) * min(longest, first * 2**attempt))

    def _post(self, body: dict) -> Reply:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.endpoint.key:
            headers["Authorization"] = f"Bearer {self.endpoint.key}"
        request = urllib.request.Request(
            f"{self.endpoint.base}/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        deadline = time.monotonic() + self.timeout
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                content = _read(response, deadline)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise _TryAgain(_reason(error)) from error
        return _parse(content)

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """What a status of 300 or more means."""
        said = _said(error)
        line = f"{self.endpoint.base} answered {error.code} {error.reason}" + (f": {said}" if said else "")
        if error.code in RETRIED:
            return _TryAgain(line, _retry_after(error.headers.get("Retry-After")))
        if error.code == 400 and self._limit_field == "max_tokens" and "max_completion_tokens" in said:
            self._limit_field = "max_completion_tokens"  # newer models know the limit by this name only
            return _TryAgain(line, 0.0)
        if error.code in REJECTED:
            return RequestRejected(line)
        advice = {401: f"check {KEY}", 403: f"check {KEY}", 404: f"check {BASE} and {MODEL}"}.get(error.code)
        if 300 <= error.code < 400:
            advice = f"set {BASE} to where it points ({error.headers.get('Location')})"
        return EndpointError(line + (f"; {advice}" if advice else ""))


def request_body(
    model: str | None, messages: list[dict], max_tokens: int, temperature: float | None, limit: str = "max_tokens"
) -> dict:
    """What is posted for one conversation; ``limit`` is what the endpoint calls the most tokens of an answer."""
    warmth = {} if temperature is None else {"temperature": temperature}
    return {"model": model, **warmth, limit: max_tokens, "messages": messages}


def picture_part(path: str | Path) -> dict:
    """A picture file as a part of a message: its bytes in a data URL."""
    path = Path(path)
    kind = _TYPES.get(path.suffix.lower(), "image/png")
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def shown_request(body: dict) -> dict:
    """A request for people: the same, with every picture replaced by its size in bytes."""

    def shown(part):
        if not isinstance(part, dict) or part.get("type") != "image_url":
            return part
        head, data = part["image_url"]["url"].split(",", 1)
        return {"type": "image_url", "image_url": {"url": f"{head},<{len(data) * 3 // 4} bytes>"}}

    def content(value):
        return [shown(part) for part in value] if isinstance(value, list) else value

    messages = [{**message, "content": content(message["content"])} for message in body["messages"]]
    return {**body, "messages": messages}


class _TryAgain(Exception):
    """A failure that may pass; ``after`` is what the endpoint asked to wait, in seconds."""

    def __init__(self, reason: str, after: float | None = None):
        super().__init__(reason)
        self.after = after


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would lose its body and carry the key to another host."""

    def redirect_request(self, *_) -> None:
        return None


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole body, unless it comes too slowly: the time-out of a socket starts again with every byte."""
    content = bytearray()
    while chunk := response.read1(65536):
        content += chunk
        if time.monotonic() > deadline:
            raise TimeoutError("the answer came too slowly")
        if len(content) > MAX_ANSWER:
            raise _TryAgain("the answer is far too long")
    return bytes(content)


def _parse(content: bytes) -> Reply:
    try:
        document = json.loads(content)
        choice = document["choices"][0]
        message = choice["message"]
        text = message.get("content")
        if isinstance(text, list):
            text = "".join(part.get("text", "") for part in text)
        refusal = message.get("refusal")
        usage = document.get("usage") or {}
        return Reply(
            str(text or refusal or ""),
            "refusal" if refusal and not text else str(choice.get("finish_reason") or "stop"),
            usage.get("prompt_tokens"),
            usage.get("completion_tokens"),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _TryAgain(f"the answer is no chat completion: {content[:80]!r}") from error


def _said(error: urllib.error.HTTPError) -> str:
    """The message in the body of a refusal, as one short line."""
    try:
        text = error.read(65536).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    try:
        found = json.loads(text)["error"]
        text = found["message"] if isinstance(found, dict) else found
    except (ValueError, KeyError, TypeError):
        pass  # a page for people, or a form of its own: shown as it is
    return " ".join(str(text).split())[:300]


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return " ".join(f"{type(reason).__name__}: {reason}".split()) if not isinstance(reason, str) else reason


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which gives seconds or a date; None if there is none that can be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)
