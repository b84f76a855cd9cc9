"""Where chat requests go: address, model and key of an OpenAI-compatible server, and how they stay out of messages."""

import functools
import hashlib
import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..errors import DepictQAError

BASE, MODEL, KEY = "DEPICTQA_API_BASE", "DEPICTQA_API_MODEL", "DEPICTQA_API_KEY"
"""Environment variables that name the endpoint; the key may be missing, as local servers need none."""

KEYS = (KEY, "OPENAI_API_KEY")
"""Environment variables from which a judge takes its key."""
SHORTEST_SECRET = 6
"""Keys of fewer characters, such as "none", are no secrets: what the endpoint says may contain them by chance."""


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or address is that of this machine alone."""
    if host is None:
        return False
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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

    def __post_init__(self) -> None:
        for name, value in (("base", self.base), ("model", self.model), ("key", self.key or "")):
            if not isinstance(value, str):
                raise EndpointError(f"the endpoint's {name} must be text, not {type(value).__name__}")
        object.__setattr__(self, "base", _checked_base(self.base.strip()))
        object.__setattr__(self, "model", self.model.strip())
        object.__setattr__(self, "key", (self.key or "").strip() or None)
        if not self.model or not self.model.isprintable():
            raise EndpointError(
                f"the model name of the endpoint is empty or has control characters: check it, or {MODEL}"
            )
        if self.key and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise EndpointError(
                f"the key of the endpoint has characters that no HTTP header can carry (only printable ASCII without "
                f"spaces): copy it into {KEY} again"
            )

    @property
    def origin(self) -> str:
        """Scheme, host and port of the base: what people may see of it."""
        return origin_of(self.base)

    @property
    def identity(self) -> str:
        """Base by which files tell endpoints apart: with the SHA-256 of its path where that may be a secret."""
        path = urlsplit(self.base).path
        return self.origin + (f"/{hashlib.sha256(path.encode()).hexdigest()}" if secret_parts(path) else path)

    @property
    def secrets(self) -> dict[str, str]:
        """What no message may hold, and what stands there instead: long parts of the path, and the key."""
        secrets = dict.fromkeys(secret_parts(urlsplit(self.base).path), "<path>")
        return secrets | ({self.key: "<key>"} if self.key and len(self.key) >= SHORTEST_SECRET else {})

    @classmethod
    def at(
        cls, base: str, model: str | None, owned: bool = True, environment: Mapping[str, str] = os.environ
    ) -> "Endpoint":
        """Take address and model as given, and the key from the environment (``KEYS``, the first that is set).

        Args:
            owned: whether the owner of the key chose the address; else only the server that ``DEPICTQA_API_BASE`` names
                gets the key.

        Raises:
            EndpointError: the model is missing, or a value cannot be used.
        """
        if model is None or not model.strip():
            raise EndpointError(f"{_shown_base(base)}: give the name of the model that the server should answer with")
        keys = (environment[name] for name in KEYS if environment.get(name, "").strip())
        known = environment.get(BASE, "").strip()
        named = bool(known) and origin_of(known) == _shown_base(base)
        return cls(base, model, next(keys, None) if owned or named else None)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Endpoint":
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


def is_address(checkpoint: object) -> bool:
    """Return whether what a user names as a judge is the address of a server."""
    return isinstance(checkpoint, str) and checkpoint.strip().lower().startswith(("http://", "https://"))


def _shown_base(base: str) -> str:
    """Scheme, host and port of an address that may be malformed."""
    return origin_of(_checked_base(base.strip()))


def _checked_base(base: str) -> str:
    """The base URL without a slash at its end. Messages leave the URL out: it may hold a password."""
    malformed = EndpointError(
        f"the base URL of the endpoint is malformed: check it, or {BASE}; it is like http://host/v1"
    )
    try:
        url = urlsplit(base)
        host, _ = url.hostname, url.port  # both raise ValueError where they are malformed
        secret = url.username is not None or url.password is not None
    except ValueError:
        raise malformed from None
    if secret:
        raise EndpointError(f"the base URL of the endpoint has a user or password in it: put the key into {KEY}")
    if url.scheme not in ("http", "https"):
        raise EndpointError(f"the base URL of the endpoint must begin with http:// or https://: check it, or {BASE}")
    if url.query or url.fragment or "?" in base or "#" in base:
        raise EndpointError(f"the base URL of the endpoint must end before any ? or #: check it, or {BASE}")
    if not host or not base.isascii() or not base.isprintable() or " " in base or "\\" in base:
        raise malformed
    return base.rstrip("/")


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def secret_parts(path: str) -> list[str]:
    """The parts of a URL's path that are long enough for secrets."""
    return [part for part in path.split("/") if len(part) >= SHORTEST_SECRET]


def masked(text: str, secrets: dict[str, str]) -> str:
    """The text with every secret replaced, the longest one first, as it may contain another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, secrets[secret])
    return text


class _MaskedLog(logging.Filter):
    """Takes the secrets of all clients out of what the packages below ``openai`` log: URLs and headers."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, str] = {}
        for name in ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        shown = masked(text, self.secrets)
        if shown != text:
            record.msg, record.args = shown, ()
        return True


masked_log = functools.cache(_MaskedLog)
