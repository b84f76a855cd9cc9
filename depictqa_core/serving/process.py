"""Runs the application in this process until a signal ends it."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from ..chat.endpoint import is_loopback
from ..errors import DepictQAError
from .access import KEY

CONNECTIONS = 1024
"""Maximum number of open connections; further ones get 503."""


@dataclass(frozen=True)
class Address:
    """Where the server listens, and for how many seconds it finishes requests after a signal."""

    host: str = "127.0.0.1"
    port: int = 8000
    grace: int = 30

    def url(self, port: int | None = None) -> str:
        """Return the base URL for clients."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port or self.port}/v1"


def bound(address: Address, key: str | None) -> socket.socket:
    """Open the socket of the server; the caller closes it.

    Raises:
        DepictQAError: the address is not one of this machine alone and there is no key, or it cannot be bound.
    """
    if key is None and not is_loopback(address.host):
        raise DepictQAError(
            f"--host {address.host}: other machines can reach this address, so clients need a key: set {KEY} to one of"
            " your choice, or leave --host out"
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DepictQAError(
            f"{address.host}:{address.port} cannot be opened ({reason}); choose another --port or --host"
        ) from error


def serve(app: ASGIApp, address: Address, listening: socket.socket, announce: Callable[[str], None]) -> None:
    """Serve an application until SIGTERM or SIGINT.

    Then new connections are refused, and requests under way are finished for at most ``address.grace`` seconds.

    Args:
        listening: of ``bound``; it is closed.
        announce: is given the base URL.

    Raises:
        KeyboardInterrupt: after everything has ended, if the signal does that without a server.
    """
    announce(address.url(listening.getsockname()[1]))
    server(app, address.grace).run(sockets=[listening])


def server(app: ASGIApp, grace: int) -> uvicorn.Server:
    """Return uvicorn as the application needs it."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=grace,
    )
    return uvicorn.Server(config)
