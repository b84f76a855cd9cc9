"""The connection below the chat client: the ``openai`` package, bounded, without redirects, on one event loop."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .endpoint import BASE, Endpoint, EndpointError, is_loopback

if TYPE_CHECKING:
    import openai

MAX_BODY = 16 * 2**20
"""Largest body of a response in bytes."""

_SENT = {
    *("accept", "connection", "content-length", "content-type", "host", "user-agent"),
    "x-stainless-raw-response",  # by which the package knows that it is asked for the body as it is
}


def open_api(endpoint: Endpoint, timeout: float) -> "openai.AsyncOpenAI":
    """The package's client: one attempt, no redirects, no connections that stay open, bounded bodies."""
    try:
        import httpx2
        import openai
    except ImportError as error:
        raise EndpointError(
            f'servers need the package openai: pip install "openai>=3.57" "httpx2>=2.12" ({error})'
        ) from None

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self.stream:
                size += len(chunk)
                if size > MAX_BODY:
                    raise ValueError(f"it has more than {MAX_BODY} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    async def only_ours(request: Any) -> None:
        # the package adds facts about this machine, and headers and keys from OPENAI_* variables
        for name in set(request.headers) - _SENT:
            del request.headers[name]
        if endpoint.key:
            request.headers["Authorization"] = f"Bearer {endpoint.key}"
        request.headers["Accept-Encoding"] = "identity"  # a few compressed bytes can become gigabytes

    async def bounded(response: Any) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ValueError("it is compressed, which was not asked for")
        response.stream = Bounded(response.stream)

    address = urlsplit(endpoint.base)
    try:
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False,
            trust_env=not (address.scheme == "http" and is_loopback(address.hostname)),  # a proxy cannot reach it
            timeout=timeout,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            event_hooks={"request": [only_ours], "response": [bounded]},
        )
        return openai.AsyncOpenAI(
            base_url=endpoint.base, api_key="unused", admin_api_key="", organization="", project="", webhook_secret="",
            max_retries=0, timeout=timeout, http_client=http,
        )  # fmt: skip
    except Exception as error:  # a proxy that the environment names, certificates that cannot be read
        advice = f"check the address (or {BASE}), the proxies and the certificates"
        raise EndpointError(f"no request can be sent ({type(error).__name__}): {advice}") from None


@functools.cache
def event_loop() -> asyncio.AbstractEventLoop:
    """The one event loop on which every request of the process runs, in a thread of its own.

    So ``complete`` works in any thread, also in one with a running loop.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="depictqa endpoint", daemon=True).start()
    return loop
