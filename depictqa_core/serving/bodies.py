"""Bodies of requests, received within limits of size and time: JSON, or a form with files."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from .limits import Limits, RequestError

DISCARDED = 4
"""A body that is too large is received without being stored, up to this multiple of the limit, because many clients
read no answer before they have sent everything."""
CHUNK = 2**18
ARGUMENTS = "arguments"
"""The field of a form that holds the arguments as JSON."""


class Form(NamedTuple):
    """A form: the fields ``images`` and ``reference``, each with file names and contents, and the arguments."""

    images: list[tuple[str, bytes]]
    references: list[tuple[str, bytes]]
    arguments: dict[str, Any]


class Bodies:
    """Receives bodies, and counts the bytes of all that are in memory.

    Args:
        limits: of one body, and of all together.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.held = 0

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytes]:
        """Receive the body of a request, which counts as held until the ``async with`` block ends.

        Raises:
            RequestError: 413 too large, 408 too slow, 429 too many bodies at a time.
            ClientDisconnect: the client has gone.
        """
        chunks: list[bytes] = []
        try:
            try:
                await asyncio.wait_for(self._receive(request, chunks), self.limits.body_seconds)
            except asyncio.TimeoutError:  # not the built-in one before Python 3.11
                raise RequestError(f"the body did not arrive within {self.limits.body_seconds:g} s", 408) from None
            yield b"".join(chunks)
        finally:
            self.held -= sum(map(len, chunks))

    async def _receive(self, request: Request, chunks: list[bytes]) -> None:
        size, most = 0, self.limits.body
        declared = request.headers.get("content-length", "")
        too_large = declared.isdecimal() and int(declared) > most
        async for chunk in request.stream():
            size += len(chunk)
            too_large = too_large or size > most
            if size > DISCARDED * most:
                break
            if too_large:
                continue
            if self.held + len(chunk) > self.limits.bodies:
                raise RequestError("too many requests are being received; try again in 2 s", 429, 2)
            self.held += len(chunk)
            chunks.append(chunk)
        if too_large:
            raise RequestError(f"the body has more than {most:,} bytes; send fewer or smaller images", 413)


def document_of(body: bytes) -> dict[str, Any]:
    """Read a body in JSON.

    Raises:
        RequestError: it is not a JSON object.
    """
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RequestError("the body is not JSON in UTF-8; send a JSON object") from None
    if not isinstance(found, dict):
        raise RequestError("the body is not a JSON object; send one with the fields of docs/server.md")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


async def form_of(request: Request, body: bytes, limits: Limits) -> Form:
    """Read a body in multipart/form-data: files ``images`` and ``reference``, and JSON in the field ``arguments``.

    Raises:
        RequestError: it is no such form, or has more images than allowed.
    """
    place = 0

    async def replay() -> Message:  # in pieces, so that other clients have their turn
        nonlocal place
        await asyncio.sleep(0)
        chunk, place = body[place : place + CHUNK], place + CHUNK
        return {"type": "http.request", "body": chunk, "more_body": place < len(body)}

    files: dict[str, list[tuple[str, bytes]]] = {"images": [], "reference": []}
    arguments: dict[str, Any] = {}
    try:
        async with Request(request.scope, replay).form(max_files=2 * limits.images, max_fields=1) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile) and name in files:
                    files[name].append((value.filename or "", await value.read()))
                elif isinstance(value, str) and name == ARGUMENTS:
                    arguments = document_of(value.encode("utf-8", "replace"))
                else:
                    raise RequestError(
                        f"unknown field '{name}': a form has files 'images' and 'reference', and the field 'arguments'"
                    )
    except HTTPException as error:  # of the parser
        raise RequestError(f"the form cannot be read: {error.detail}") from None
    return Form(files["images"], files["reference"], arguments)
