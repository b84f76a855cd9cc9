"""The web application of a study: one page, and what it asks for. Nothing of it reveals what the images are.

Images go by the number of the comparison and the side, and are sent as pixels alone, so that neither names nor metadata
of files reach the participants. A token, which ``/enter`` gives, stands for a person.
"""

import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import DepictQAError, StorageError, TaskError
from ..runtime.byte_cache import ByteCache
from ..serving.access import Access
from ..serving.bodies import Bodies, document_of
from ..serving.limits import Limits, RequestError
from .design import Trial
from .images import as_png, damaged, open_image
from .session import Session
from .votes import LEFT, RIGHT

Handler = Callable[[Request], Awaitable[Response]]
REFERENCE = "reference"
SIDES = (LEFT, RIGHT, REFERENCE)
LIMITS = Limits(body=4096, bodies=2**20, body_seconds=20.0)
CACHED = 192 * 2**20
"""Bytes of encoded images in memory."""
POLICY = (
    "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
log = logging.getLogger(__name__)


class StudyService:
    """A study over HTTP.

    Args:
        session: the study.
        key: that people must enter; None answers browsers of this machine only (see ``Access``).
    """

    def __init__(self, session: Session, key: str | None):
        self.session, self._key = session, key
        self._local = Access(None)
        self._secret = secrets.token_bytes(32)
        self._bodies = Bodies(LIMITS)
        self._encoded = ByteCache(CACHED)
        self._threads = CapacityLimiter(max(4, os.cpu_count() or 1))
        self._encoders = CapacityLimiter(os.cpu_count() or 1)

    def page(self, name: str, kind: str) -> Handler:
        """Return what answers with a file of this package."""
        content = files(__package__).joinpath(name).read_bytes()

        async def answer(request: Request) -> Response:
            return Response(content, media_type=kind)

        return answer

    async def enter(self, request: Request) -> Response:
        """Let a person take part: a token, and the first comparison."""
        document = await self._document(request)
        if self._key is not None:
            given = document.get("key")
            if not isinstance(given, str) or not hmac.compare_digest(given.strip().encode(), self._key.encode()):
                raise RequestError("the key of the study is missing or wrong", 403)
        person = await run_sync(self.session.enter, _text(document, "name"), limiter=self._threads)
        return JSONResponse({"token": self._token(person), **self.session.state(person)})

    async def state(self, request: Request) -> Response:
        """Tell where a person is: the next comparison, or an earlier one to change."""
        document = await self._document(request)
        trial = _number(document, "trial", optional=True)
        return JSONResponse(self.session.state(self._person(document.get("token")), trial))

    async def vote(self, request: Request) -> Response:
        """Store an answer; the response comes when it is on the disk, with the next comparison."""
        document = await self._document(request)
        person, trial = self._person(document.get("token")), _number(document, "trial")
        seconds = document.get("seconds")
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
            seconds = None
        arguments = (person, trial, _text(document, "choice"), _number(document, "revision"), seconds)
        await run_sync(self.session.vote, *arguments, limiter=self._threads)
        return JSONResponse(self.session.state(person))

    async def image(self, request: Request) -> Response:
        """Send one image of a comparison as PNG."""
        parts = request.path_params
        person, side = self._person(parts["token"]), parts["side"]
        trials = self.session.trials(person)
        if side not in SIDES or parts["trial"] >= len(trials):
            raise RequestError("there is no such image", 404)
        reference = self.session.reference(person, parts["trial"]) if side == REFERENCE else None
        if side == REFERENCE and reference is None:
            raise RequestError("this comparison has no reference", 404)
        data = await run_sync(self._png, trials[parts["trial"]], side, reference, limiter=self._encoders)
        return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=86400, immutable"})

    def _png(self, trial: Trial, side: str, reference: int | None) -> bytes:
        """Encode one image of a comparison."""
        index = trial.left if side == LEFT else trial.right
        spoiled = side == trial.damaged
        key = (REFERENCE, reference) if reference is not None else (index, spoiled)
        found: bytes | None = self._encoded.get(key)
        if found is None:
            plan = self.session.plan
            image = plan.images[index] if reference is None else plan.references[reference]
            rgb = open_image(image, self.session.path).rgb
            found = as_png(damaged(rgb) if spoiled else rgb)
            self._encoded.put(key, found, len(found))
        return found

    def _token(self, person: int) -> str:
        return f"{person}-{hmac.new(self._secret, str(person).encode(), hashlib.sha256).hexdigest()[:40]}"

    def _person(self, token: object) -> int:
        """The person of a token.

        Raises:
            RequestError: it is not one of this server; after a restart people enter again.
        """
        number, _, _ = str(token).partition("-")
        if not (number.isascii() and number.isdecimal() and len(number) < 7) or not hmac.compare_digest(
            str(token).encode("utf-8", "replace"), self._token(int(number)).encode()
        ):
            raise RequestError("enter your name again", 401)
        return int(number)

    async def _document(self, request: Request) -> dict[str, Any]:
        """The body of a request in JSON: a page of another site cannot send this type without asking first."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestError("send JSON with 'Content-Type: application/json'", 415)
        async with self._bodies.received(request) as body:
            return document_of(body)

    def guarded(self, handler: Handler) -> Handler:
        """Wrap a handler: who may ask, errors as JSON, headers."""

        async def endpoint(request: Request) -> Response:
            try:
                if self._key is None:
                    self._local.check(request)
                response = await handler(request)
            except ClientDisconnect:
                response = Response(status_code=499)
            except DepictQAError as error:
                response = _refusal(error)
            except Exception:
                log.exception("a request of a study failed")
                response = _refusal(RequestError("the study failed at this request; its log has the reason", 500))
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return endpoint


def build_study(session: Session, key: str | None = None) -> Starlette:
    """Build the application of a study; arguments as those of ``StudyService``."""
    service = StudyService(session, key)
    routes = [(path, service.page(*page), "GET") for path, page in PAGE.items()]
    routes += [("/enter", service.enter, "POST"), ("/state", service.state, "POST"), ("/vote", service.vote, "POST")]
    routes.append(("/image/{token}/{trial:int}/{side}", service.image, "GET"))
    return Starlette(routes=[Route(path, service.guarded(handler), methods=[way]) for path, handler, way in routes])


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{name} is missing")
    return value


def _number(document: dict[str, Any], name: str, optional: bool = False) -> Any:
    value = document.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise RequestError(f"{name} is not a whole number")
    return value


def _refusal(error: DepictQAError) -> Response:
    """The answer to a request that failed. What is wrong with a file is told to the log, not to participants."""
    if isinstance(error, RequestError):
        return JSONResponse({"error": str(error)}, error.status, {"Connection": "close"})
    if isinstance(error, TaskError):
        return JSONResponse({"error": str(error)}, 400)
    log.error("%s", error)
    reason = "the answer could not be stored" if isinstance(error, StorageError) else "an image cannot be shown"
    return JSONResponse({"error": f"{reason}; tell the person who runs the study"}, 500)
