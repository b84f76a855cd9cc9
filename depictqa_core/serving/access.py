"""Who may ask: a key, or only programs of this machine."""

import hmac
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from ..chat.endpoint import is_loopback
from ..errors import DepictQAError
from .limits import RequestError

KEY = "DEPICTQA_SERVER_KEY"
"""Environment variable with the key that clients must send; nothing else gives the server a key."""
SHORTEST_KEY = 16


def key_of(environment: Mapping[str, str] = os.environ) -> str | None:
    """Read the key from the environment; None if it has none.

    Raises:
        DepictQAError: it is too short, or no HTTP header can carry it.
    """
    key = environment.get(KEY, "").strip()
    if not key:
        return None
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise DepictQAError(f"{KEY}: give a key of at least {SHORTEST_KEY} printable ASCII characters without spaces")
    return key


class Access:
    """Admits requests.

    Args:
        key: that clients must send as "Authorization: Bearer KEY". With None, requests must be addressed to this
            machine and must not come from a page of another site: a web page may neither use the judge nor read it.
    """

    def __init__(self, key: str | None):
        self._key = key

    def check(self, request: Request) -> None:
        """Admit a request.

        Raises:
            RequestError: 401 or 403.
        """
        if self._key is None:
            if not _is_local(request):
                raise RequestError(f"without {KEY} the server answers programs of its own machine only", 403)
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._key.encode()):
            raise RequestError("the key is missing or wrong: send 'Authorization: Bearer KEY'", 401)


def _is_local(request: Request) -> bool:
    """Whether a request is addressed to this machine, and is not sent by a page of another site."""
    origin = request.headers.get("origin")
    try:
        hosts = [request.url.hostname, *([urlsplit(origin).hostname] if origin else [])]
    except ValueError:  # malformed
        return False
    return all(map(is_loopback, hosts))
