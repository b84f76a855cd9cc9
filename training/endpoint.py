"""Client for any OpenAI-compatible chat endpoint: the ``openai`` package under one time limit, with retries and images.

Nothing that the endpoint sends can raise anything but an ``EndpointError``. No message and no log holds the key or the
path of the URL, which may be a secret too.
"""

import asyncio
import base64
import email.utils
import functools
import hashlib
import io
import json
import logging
import os
import random
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from PIL import Image

from depictqa_core.checks import is_number, is_whole
from depictqa_core.errors import DepictQAError
from depictqa_core.images.image import RGBImage
from depictqa_core.storage.documents import describe

BASE, MODEL, KEY = "DEPICTQA_API_BASE", "DEPICTQA_API_MODEL", "DEPICTQA_API_KEY"
"""Environment variables that name the endpoint; the key may be missing, as local servers need none."""

RETRIED = {408, 409, 425, 429}
"""Statuses below 500 that pass by themselves, as all from 500 do; every other one would come again."""

REJECTED = {400, 413, 414, 415, 422, 431, 451}
"""Statuses that concern one request (too large, against the rules of the endpoint); others can still be answered."""

MAX_BODY = 16 * 2**20
"""Largest body of a response in bytes."""
MAX_TEXT = 2**17
"""Longest text of an answer in characters; a few hundred tokens are asked for."""
LONGEST_RETRY_AFTER = 3600.0  # seconds
SHORTEST_SECRET = 6
"""Keys of fewer characters, such as "none", are no secrets: what the endpoint says may contain them by chance."""

_SENT = {
    *("accept", "connection", "content-length", "content-type", "host", "user-agent"),
    "x-stainless-raw-response",  # by which the package knows that it is asked for the body as it is
}


class EndpointError(DepictQAError):
    """The endpoint cannot be used: not named, refused the key, knows no such model, or gave no answer."""


class RequestRejected(EndpointError):
    """The endpoint will not answer this one request; it may answer others."""


class NoAnswer(EndpointError):
    """Every attempt failed in a way that may pass; the same request may be answered later."""


@dataclass(frozen=True)
class Endpoint:
    """Where requests go. Spaces and line ends around the values are removed.

    Attributes:
        base: URL such as ``https://host/v1``, without user, password, query and fragment. Its path may be a secret, as
            ``https://host/KEY/v1``: messages, logs and files have ``origin`` or ``identity`` instead, as ``repr`` does.
        model: name of the model.
        key: the key, where one is needed; never part of a message or of ``repr``.

    Raises:
        EndpointError: a value that no request can carry. The message holds neither key nor password.
    """

    base: str = field(repr=False)
    model: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self):
        for name, value in (("base", self.base), ("model", self.model), ("key", self.key or "")):
            if not isinstance(value, str):
                raise EndpointError(f"the endpoint's {name} must be text, not {type(value).__name__}")
        object.__setattr__(self, "base", _checked_base(self.base.strip()))
        object.__setattr__(self, "model", self.model.strip())
        object.__setattr__(self, "key", (self.key or "").strip() or None)
        if not self.model or not self.model.isprintable():
            raise EndpointError(f"the model name of the endpoint is empty or has control characters: check {MODEL}")
        if self.key and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise EndpointError(
                f"the key of the endpoint has characters that no HTTP header can carry (only printable ASCII without "
                f"spaces): copy it into {KEY} again"
            )

    @property
    def origin(self) -> str:
        """Scheme, host and port of the base: what people may see of it."""
        return _origin(self.base)

    @property
    def identity(self) -> str:
        """Base by which files tell endpoints apart: with the SHA-256 of its path where that may be a secret."""
        path = urlsplit(self.base).path
        return self.origin + (f"/{hashlib.sha256(path.encode()).hexdigest()}" if _parts(path) else path)

    @property
    def secrets(self) -> dict[str, str]:
        """What no message may hold, and what stands there instead: long parts of the path, and the key."""
        secrets = dict.fromkeys(_parts(urlsplit(self.base).path), "<path>")
        return secrets | ({self.key: "<key>"} if self.key and len(self.key) >= SHORTEST_SECRET else {})

    @classmethod
    def from_environment(cls, environment=os.environ) -> "Endpoint":
        """Read ``DEPICTQA_API_BASE``, ``DEPICTQA_API_MODEL`` and ``DEPICTQA_API_KEY``.

        Raises:
            EndpointError: base or model is missing, or a value cannot be used.
        """
        missing = [name for name in (BASE, MODEL) if not environment.get(name, "").strip()]
        if missing:
            raise EndpointError(
                f"no endpoint: set {' and '.join(missing)} (and {KEY} if it needs a key), such as {BASE}=http://host/v1"
            )
        return cls(environment[BASE], environment[MODEL], environment.get(KEY))


def _checked_base(base: str) -> str:
    """The base URL without a slash at its end. Messages leave the URL out: it may hold a password."""
    malformed = EndpointError(f"the base URL of the endpoint is malformed: check {BASE}, such as http://host/v1")
    try:
        url = urlsplit(base)
        host, _ = url.hostname, url.port  # both raise ValueError where they are malformed
        secret = url.username is not None or url.password is not None
    except ValueError:
        raise malformed from None
    if secret:
        raise EndpointError(f"the base URL of the endpoint has a user or password in it: put the key into {KEY}")
    if url.scheme not in ("http", "https"):
        raise EndpointError(f"the base URL of the endpoint must begin with http:// or https://: check {BASE}")
    if url.query or url.fragment or "?" in base or "#" in base:
        raise EndpointError(f"the base URL of the endpoint must end before any ? or #: check {BASE}")
    if not host or not base.isascii() or not base.isprintable() or " " in base or "\\" in base:
        raise malformed
    return base.rstrip("/")


def _origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _parts(path: str) -> list[str]:
    """The parts of a URL's path that are long enough for secrets."""
    return [part for part in path.split("/") if len(part) >= SHORTEST_SECRET]


def _masked(text: str, secrets: dict[str, str]) -> str:
    """The text with every secret replaced, the longest one first, as it may contain another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, secrets[secret])
    return text


class _MaskedLog(logging.Filter):
    """Takes the secrets of all clients out of what the packages below ``openai`` log: URLs and headers."""

    def __init__(self):
        super().__init__()
        self.secrets: dict[str, str] = {}
        for name in ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        masked = _masked(text, self.secrets)
        if masked != text:
            record.msg, record.args = masked, ()
        return True


_masked_log = functools.cache(_MaskedLog)


@dataclass(frozen=True)
class Reply:
    """One answer: its text, why it ended ("stop", "length", "content_filter", ...) and the tokens it cost, if told."""

    text: str
    finish: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


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
    ):
        limits = {"time limit": timeout, "number of requests a minute": 1 if per_minute is None else per_minute}
        for name, value in limits.items():
            if not is_number(value, 0, 1e9) or value == 0:
                raise EndpointError(f"the {name} must be a number above 0, not {describe(value)}")
        if not is_whole(attempts):
            raise EndpointError(f"the number of attempts must be a whole number from 1, not {describe(attempts)}")
        self.endpoint, self.timeout, self.attempts = endpoint, timeout, attempts
        self._pauses = first_pause, longest_pause
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next_start = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._limit_field = "max_tokens"
        _masked_log().secrets.update(endpoint.secrets)
        self._api, self._loop = _api(endpoint, timeout), _loop()

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
                body = request_body(self.endpoint.model, messages, max_tokens, temperature, self._limit_field)
                return self._ask(body)
            except _TryAgain as failure:
                last = failure
            if attempt + 1 < self.attempts:
                self._pause(attempt, last.after)
        raise NoAnswer(f"{self.endpoint.origin}: no answer after {self.attempts} attempts; the last one: {last}")

    def close(self) -> None:
        """Let waiting threads give up at once; requests under way end by themselves."""
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

    def _ask(self, body: dict) -> Reply:
        """One attempt; whatever the endpoint does ends in a Reply, an EndpointError or _TryAgain.

        Errors of the package are not chained: their texts and requests hold what was sent, the key too.
        """
        import openai

        try:
            return self._reply(self._post(body))
        except _TryAgain:
            raise
        except TimeoutError:
            failure: Exception = _TryAgain(f"no complete answer within {self.timeout:g} s")
        except openai.APIStatusError as error:
            failure = self._refusal(error)
        except openai.APIConnectionError as error:
            failure = _TryAgain(self._shown(_named(error.__cause__ or error)))
        except UnicodeEncodeError:
            failure = RequestRejected("the request holds characters that UTF-8 cannot encode: correct its text")
        except Exception as error:  # an answer can be broken in any way, and must not end a paid run
            failure = _TryAgain(f"the answer is broken ({self._shown(_named(error))})")
        raise failure from None

    def _post(self, body: dict) -> bytes:
        """The body of the response; TimeoutError after ``timeout`` seconds, whatever the time went into."""

        async def post() -> bytes:
            try:
                answered = self._api.chat.completions.with_raw_response.create(**body)
                return (await asyncio.wait_for(answered, self.timeout)).content
            except asyncio.TimeoutError:  # not the built-in one before Python 3.11
                raise TimeoutError from None

        waiting = asyncio.run_coroutine_threadsafe(post(), self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise

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
        except (ValueError, LookupError, TypeError, AttributeError):
            start = self._shown(content.decode("utf-8", "replace"))[:80]
            raise _TryAgain(f"the answer is not a chat completion: '{start}'") from None
        if len(text) > MAX_TEXT:
            raise _TryAgain(f"the answer has {len(text)} characters, more than {MAX_TEXT}")
        return Reply(text, self._clean(finish)[:40], *(count if _is_count(count) else None for count in tokens))

    def _refusal(self, error) -> Exception:
        """What a status of 300 or more means."""
        status, headers = error.status_code, error.response.headers
        said = self._shown(_said(error.body))
        line = f"{self.endpoint.origin} answered {status} {self._shown(error.response.reason_phrase)}".rstrip()
        line += f": {said}" if said else ""
        if status in RETRIED or status >= 500:
            return _TryAgain(line, _retry_after(headers.get("Retry-After")))
        if status == 400 and self._limit_field == "max_tokens" and "max_completion_tokens" in _said(error.body):
            self._limit_field = "max_completion_tokens"  # newer models know the limit by this name only
            return _TryAgain(line, 0.0)
        if status in REJECTED:
            return RequestRejected(line)
        advice = {401: f"check {KEY}", 403: f"check {KEY}", 404: f"check {BASE} and {MODEL}"}.get(status)
        if 300 <= status < 400:
            advice = f"set {BASE} to where it points ({self._shown(self._target(headers.get('Location')))})"
        return EndpointError(line + (f"; {advice}" if advice else ""))

    def _target(self, location: str | None) -> str:
        """Where a redirect points, as far as people may see it."""
        try:
            origin = _origin(urljoin(f"{self.endpoint.base}/", location or ""))
        except ValueError:
            return "it does not say"
        return "another path of the same server" if origin == self.endpoint.origin else origin

    def _clean(self, text: str) -> str:
        """Text of the endpoint without the key, and without halves of characters that UTF-8 cannot encode."""
        key = {secret: shown for secret, shown in self.endpoint.secrets.items() if secret == self.endpoint.key}
        return _masked(text, key).encode("utf-8", "replace").decode()

    def _shown(self, text: str) -> str:
        """Text of the endpoint for a message: one short line that holds no secret and does nothing to a terminal."""
        line = " ".join(self._clean(_masked(text, self.endpoint.secrets)).split())
        return "".join(letter if letter.isprintable() else "?" for letter in line)[:300]


def request_body(
    model: str | None, messages: list[dict], max_tokens: int, temperature: float | None, limit: str = "max_tokens"
) -> dict:
    """What is posted for one conversation; ``limit`` is what the endpoint calls the most tokens of an answer."""
    sampling = {} if temperature is None else {"temperature": temperature}
    return {"model": model, **sampling, limit: max_tokens, "messages": messages}


def image_part(image: RGBImage) -> dict:
    """An image as a part of a message: its decoded pixels as PNG in a data URL, nothing else of its file."""
    file = io.BytesIO()
    Image.fromarray(image.rgb).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def shown_request(body: dict) -> dict:
    """A request for people: the same, with every image replaced by its size in bytes."""

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


def _api(endpoint: Endpoint, timeout: float):
    """The package's client: one attempt, no redirects, no connections that stay open, bounded bodies."""
    try:
        import httpx2
        import openai
    except ImportError as error:
        raise EndpointError(f'endpoints need the package openai: pip install "openai>=3.57" ({error})') from None

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream):
            self.stream = stream

        async def __aiter__(self):
            size = 0
            async for chunk in self.stream:
                size += len(chunk)
                if size > MAX_BODY:
                    raise ValueError(f"it has more than {MAX_BODY} bytes")
                yield chunk

        async def aclose(self):
            await self.stream.aclose()

    async def only_ours(request) -> None:
        # the package adds facts about this machine, and headers and keys from OPENAI_* variables
        for name in set(request.headers) - _SENT:
            del request.headers[name]
        if endpoint.key:
            request.headers["Authorization"] = f"Bearer {endpoint.key}"
        request.headers["Accept-Encoding"] = "identity"  # a few compressed bytes can become gigabytes

    async def bounded(response) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ValueError("it is compressed, which was not asked for")
        response.stream = Bounded(response.stream)

    try:
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False,
            timeout=timeout,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            event_hooks={"request": [only_ours], "response": [bounded]},
        )
        return openai.AsyncOpenAI(
            base_url=endpoint.base, api_key="unused", admin_api_key="", organization="", project="", webhook_secret="",
            max_retries=0, timeout=timeout, http_client=http,
        )  # fmt: skip
    except Exception as error:  # a proxy that the environment names, certificates that cannot be read
        advice = f"check {BASE}, the proxies and the certificates"
        raise EndpointError(f"no request can be sent ({type(error).__name__}): {advice}") from None


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """The one event loop on which every request of the process runs, in a thread of its own.

    So ``complete`` works in any thread, also in one with a running loop.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="depictqa endpoint", daemon=True).start()
    return loop


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _said(body) -> str:
    """The message in the body of a refusal."""
    if isinstance(body, dict):
        found = body.get("error", body)
        body = found.get("message", found) if isinstance(found, dict) else found
    return "" if body is None else str(body)


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which gives seconds or a date; None if there is none that can be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER) if seconds == seconds else None
