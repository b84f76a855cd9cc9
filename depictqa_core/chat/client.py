"""Client for any OpenAI-compatible chat endpoint: the ``openai`` package under one time limit, with retries.

Nothing that the endpoint sends can raise anything but an ``EndpointError``. No message and no log holds the key or the
path of the URL, which may be a secret too.
"""

import asyncio
import copy
import json
import random
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar
from urllib.parse import urljoin

from ..checks import is_number, is_whole
from ..storage.documents import describe
from .endpoint import (
    BASE,
    KEY,
    KEYS,
    MODEL,
    Endpoint,
    EndpointError,
    NoAnswer,
    RequestRejected,
    masked,
    masked_log,
    origin_of,
)
from .messages import request_body
from .replies import Reply, Step, is_count, named, retry_after, said
from .transport import event_loop, open_api

RETRIED = {408, 409, 425, 429}
"""Statuses below 500 that pass by themselves, as all from 500 do except 501; every other one would come again."""

REJECTED = {400, 413, 414, 415, 422, 431, 451}
"""Statuses that concern one request (too large, against the rules of the endpoint); others can still be answered."""

MAX_TEXT = 2**17
"""Longest text of an answer in characters; a few hundred tokens are asked for."""
Answer = TypeVar("Answer")


class _Pace:
    """What all users of one connection share: when the next request may start, and what the server understands."""

    def __init__(self, interval: float):
        self.interval, self.next_start = interval, 0.0
        self.lock = threading.Lock()
        self.limit_field = "max_tokens"


class Client:
    """Asks one endpoint, from any number of threads.

    Failures that may pass (``RETRIED``, statuses from 500, time-outs, broken connections, broken answers) are tried
    again after a pause that doubles and is drawn at random between its half and its whole, so that many clients do not
    come back at once. A Retry-After of the endpoint is honoured by all threads. Redirects are not followed, and only
    what is given here is sent: no ``OPENAI_*`` variable changes a request.

    Args:
        timeout: seconds that one attempt may take: connection, headers and body, of refusals too.
        attempts: most attempts for one request.
        per_minute: maximum number of requests per minute over all threads; None for no limit.
        first_pause, longest_pause: bounds of the pause in seconds; a Retry-After above the longest is still honoured.
        ended: how the endpoint ended, or None while it runs: of one that is known to end, nothing is tried again then.

    Raises:
        EndpointError: a limit that is not above 0, the package ``openai`` is missing, or a proxy of the environment
            cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float = 120,
        attempts: int = 6,
        per_minute: float | None = None,
        first_pause: float = 1.0,
        longest_pause: float = 60.0,
        ended: Callable[[], str | None] | None = None,
    ):
        limits = {"time limit": timeout, "number of requests a minute": 1 if per_minute is None else per_minute}
        for name, value in limits.items():
            if not is_number(value, 0, 1e9) or value == 0:
                raise EndpointError(f"the {name} must be a number above 0, not {describe(value)}")
        if not is_whole(attempts):
            raise EndpointError(f"the number of attempts must be a whole number from 1, not {describe(attempts)}")
        self.endpoint, self.timeout, self.attempts = endpoint, timeout, attempts
        self._pauses, self._ended = (first_pause, longest_pause), ended
        self._pace = _Pace(60 / per_minute if per_minute else 0.0)
        self._closed, self._aborted = threading.Event(), threading.Event()
        self._under_way: set[Future[bytes]] = set()
        masked_log().secrets.update(endpoint.secrets)
        self._api, self._loop = open_api(endpoint, timeout), event_loop()

    def separate(self, attempts: int | None = None) -> "Client":
        """Return a client that shares connection and pace with this one, and is closed without it.

        Args:
            attempts: most attempts for one request; None for as many as this one.
        """
        other = copy.copy(self)
        other.attempts = attempts or self.attempts
        other._closed, other._aborted, other._under_way = threading.Event(), threading.Event(), set()
        return other

    def complete(
        self,
        messages: list[dict],
        max_tokens: int,
        temperature: float | None = 0.0,
        extra: Mapping[str, object] | None = None,
    ) -> Reply:
        """Answer one conversation (``messages`` as the chat completions interface defines them).

        Args:
            extra: further fields of the request, which need not be known to the interface.

        Raises:
            RequestRejected: the endpoint refuses this request (status in ``REJECTED``).
            NoAnswer: no attempt succeeded.
            EndpointError: it refuses all (key, model, address), or the client was closed.
        """

        async def send() -> bytes:
            body = request_body(self.endpoint.model, messages, max_tokens, temperature, self._pace.limit_field)
            raw = self._api.chat.completions.with_raw_response
            return (await raw.create(**body, extra_body=dict(extra or {}))).content

        return self._tried(send, self._reply)

    def post(self, path: str, body: Mapping[str, object]) -> dict:
        """Post to a path next to ``/v1``, where servers have what the interface does not know.

        Args:
            path: such as "/tokenize".

        Returns:
            the object that the server answers with.

        Raises:
            RequestRejected, NoAnswer, EndpointError: as in ``complete``.
        """
        import httpx2

        url = self.endpoint.base.removesuffix("/v1") + path

        async def send() -> bytes:
            return (await self._api.post(url, cast_to=httpx2.Response, body=dict(body))).content

        return self._tried(send, self._document)

    def get(self, path: str) -> dict:
        """Get the object at a path below the base, such as "/models"; raises as ``complete`` does."""
        import httpx2

        async def send() -> bytes:
            return (await self._api.get(path, cast_to=httpx2.Response)).content

        return self._tried(send, self._document)

    def close(self, abort: bool = False) -> None:
        """Let waiting threads give up at once.

        Args:
            abort: whether requests under way are given up, too; otherwise they end by themselves.
        """
        if abort:
            self._aborted.set()
        self._closed.set()
        for request in list(self._under_way) if abort else ():
            request.cancel()

    def _tried(self, send: Callable[[], Coroutine[Any, Any, bytes]], read: Callable[[bytes], Answer]) -> Answer:
        """Send a request until it is answered; ``read`` makes something of the body."""
        for attempt in range(self.attempts):
            self._wait_for_turn()
            try:
                return self._once(send, read)
            except _TryAgain as failure:
                last = failure
            if self._ended is not None and (end := self._ended()) is not None:
                raise EndpointError(end)
            if attempt + 1 < self.attempts:
                self._pause(attempt, last.after)
        raise NoAnswer(f"{self.endpoint.origin}: no answer after {self.attempts} attempts; the last one: {last}")

    def _wait_for_turn(self) -> None:
        while not self._closed.is_set():
            with self._pace.lock:
                wait = self._pace.next_start - time.monotonic()
                if wait <= 0:
                    self._pace.next_start = time.monotonic() + self._pace.interval
                    return
            self._closed.wait(wait)
        raise EndpointError("stopped")

    def _pause(self, attempt: int, after: float | None) -> None:
        first, longest = self._pauses
        if after is not None:  # what the endpoint asks for concerns every thread
            with self._pace.lock:
                self._pace.next_start = max(self._pace.next_start, time.monotonic() + after)
        self._closed.wait(random.uniform(0.5, 1.0) * min(longest, first * 2**attempt))

    def _once(self, send: Callable[[], Coroutine[Any, Any, bytes]], read: Callable[[bytes], Answer]) -> Answer:
        """One attempt; whatever the endpoint does ends in an answer, an EndpointError or _TryAgain.

        Errors of the package are not chained: their texts and requests hold what was sent, the key too.
        """
        import openai

        try:
            return read(self._sent(send))
        except _TryAgain:
            raise
        except CancelledError:
            failure: Exception = EndpointError("stopped")
        except TimeoutError:
            failure = _TryAgain(f"no complete answer within {self.timeout:g} s")
        except openai.APIStatusError as error:
            failure = self._refusal(error)
        except openai.APIConnectionError as error:
            failure = _TryAgain(self._shown(named(error.__cause__ or error)))
        except UnicodeEncodeError:
            failure = RequestRejected("the request holds characters that UTF-8 cannot encode: correct its text")
        except Exception as error:  # an answer can be broken in any way, and must not end a paid run
            failure = _TryAgain(f"the answer is broken ({self._shown(named(error))})")
        raise failure from None

    def _sent(self, send: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """The body of the response; TimeoutError after ``timeout`` seconds, whatever the time went into."""

        async def limited() -> bytes:
            try:
                return await asyncio.wait_for(send(), self.timeout)
            except asyncio.TimeoutError:  # not the built-in one before Python 3.11
                raise TimeoutError from None

        waiting = asyncio.run_coroutine_threadsafe(limited(), self._loop)
        self._under_way.add(waiting)
        if self._aborted.is_set():
            waiting.cancel()
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise
        finally:
            self._under_way.discard(waiting)

    def _document(self, content: bytes) -> dict:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
        return found

    def _reply(self, content: bytes) -> Reply:
        try:
            document = json.loads(content)
            choice = document["choices"][0]
            message = choice["message"]
            text = message.get("content")
            if isinstance(text, list):
                parts = [part.get("text") for part in text if isinstance(part, dict)]
                words = [part for part in parts if isinstance(part, str)]
                if not words:
                    raise TypeError("no part of the message has text")
                text = "".join(words)
            refusal = message.get("refusal")
            usage = document.get("usage")
            usage = usage if isinstance(usage, dict) else {}  # odd in some servers, and no reason to lose the text
            finish = "refusal" if refusal and not text else str(choice.get("finish_reason") or "stop")
            text = self._clean(str(text or refusal or ""))
            tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            steps = self._steps(choice.get("logprobs"))
            thought = bool(message.get("reasoning_content") or message.get("reasoning"))
        except (ValueError, LookupError, TypeError, AttributeError):
            start = self._shown(content.decode("utf-8", "replace"))[:80]
            raise _TryAgain(f"the answer is not a chat completion: '{start}'") from None
        if len(text) > MAX_TEXT:
            raise _TryAgain(f"the answer has {len(text)} characters, more than {MAX_TEXT}")
        asked, written = (count if is_count(count) else None for count in tokens)
        return Reply(text, self._clean(finish)[:40], asked, written, steps, thought)

    def _steps(self, found: dict | None) -> tuple[Step, ...] | None:
        """The tokens of an answer, None if there are none; raises what broken JSON values raise."""
        rows = (found or {}).get("content")
        if not rows:
            return None
        return tuple(
            Step(
                self._clean(str(row["token"])),
                row.get("logprob"),
                tuple((self._clean(str(one["token"])), one.get("logprob")) for one in row.get("top_logprobs") or ()),
            )
            for row in rows
        )

    def _refusal(self, error: Any) -> Exception:
        """What a status of 300 or more means."""
        status, headers = error.status_code, error.response.headers
        message = self._shown(said(error.body))
        line = f"{self.endpoint.origin} answered {status} {self._shown(error.response.reason_phrase)}".rstrip()
        line += f": {message}" if message else ""
        if status in RETRIED or (status >= 500 and status != 501):  # 501: the server does not know such requests
            return _TryAgain(line, retry_after(headers.get("Retry-After")))
        if status == 400 and self._pace.limit_field == "max_tokens" and "max_completion_tokens" in said(error.body):
            self._pace.limit_field = "max_completion_tokens"  # newer models know the limit by this name only
            return _TryAgain(line, 0.0)
        if status in REJECTED:
            return RequestRejected(line)
        if self.endpoint.key:
            key = f"check the key ({' or '.join(KEYS)})"
        else:
            key = f"no key was sent: set {KEY}, and for an address that a graph names also {BASE}"
        names = f"check the address and the name of the model ({BASE}, {MODEL})"
        advice = {401: key, 403: key, 404: names}.get(status)
        if 300 <= status < 400:
            target = self._shown(self._target(headers.get("Location")))
            advice = f"give the address where it points ({target}; or set {BASE} to it)"
        return EndpointError(line + (f"; {advice}" if advice else ""))

    def _target(self, location: str | None) -> str:
        """Where a redirect points, as far as people may see it."""
        try:
            origin = origin_of(urljoin(f"{self.endpoint.base}/", location or ""))
        except ValueError:
            return "it does not say"
        return "another path of the same server" if origin == self.endpoint.origin else origin

    def _clean(self, text: str) -> str:
        """Text of the endpoint without the key, and without halves of characters that UTF-8 cannot encode."""
        key = {secret: shown for secret, shown in self.endpoint.secrets.items() if secret == self.endpoint.key}
        return masked(text, key).encode("utf-8", "replace").decode()

    def _shown(self, text: str) -> str:
        """Text of the endpoint for a message: one short line that holds no secret and does nothing to a terminal."""
        line = " ".join(self._clean(masked(text, self.endpoint.secrets)).split())
        return "".join(letter if letter.isprintable() else "?" for letter in line)[:300]


class _TryAgain(Exception):
    """A failure that may pass; ``after`` is what the endpoint asked to wait, in seconds."""

    def __init__(self, reason: str, after: float | None = None):
        super().__init__(reason)
        self.after = after
