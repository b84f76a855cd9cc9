"""The ASGI application: routes, and the way of a request through limits, decoding and the worker."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .. import __version__
from ..errors import DepictQAError
from ..images.image import RGBImage
from ..judge import Judge
from . import chat, verbs
from .access import Access
from .admission import Admission
from .bodies import Bodies, document_of, form_of
from .limits import Limits, RequestError, status_of
from .monitoring import Monitor
from .sources import Prepared, check_sources, prepare
from .worker import Job, Worker

Handler = Callable[[Request], Awaitable[Response]]
GONE = 499
"""Status under which requests are counted whose client did not wait for the answer."""
log = logging.getLogger(__name__)


class Service:
    """One judge, and everything that its clients share.

    Args:
        judge: answers; from now on its worker alone uses it.
        limits: of requests.
        key: that clients must send; None for none (see ``Access``).
    """

    def __init__(self, judge: Judge, limits: Limits, key: str | None):
        self.judge, self.limits, self.access = judge, limits, Access(key)
        self.bodies = Bodies(limits)
        self.monitor = Monitor(lambda: self.admission.images, lambda: self.worker.waiting)
        self.worker = Worker(limits.batch, limits.wait, self.monitor.batch)
        self.admission = Admission(limits, lambda: self.worker.seconds_per_item)
        self._threads = CapacityLimiter(os.cpu_count() or 1)

    async def verb(self, request: Request) -> Response:
        """Answer a verb in JSON."""
        name = request.path_params["verb"]
        if name not in verbs.VERBS:
            raise RequestError(f"there is no verb '{name[:40]}': choose one of {', '.join(verbs.VERBS)}", 404)
        with ExitStack() as admitted:
            arguments, prepared = await self._prepared(name, request, admitted)
            found: Sequence[Any] = []
            if prepared.images:
                found = await self._answers(request, verbs.job_of(self.judge, name, arguments, prepared))
        text = await self._aside(verbs.document_of_answers, self.judge, name, prepared, found)
        return Response(text, media_type="application/json")

    async def _prepared(self, name: str, request: Request, admitted: ExitStack) -> tuple[dict[str, Any], Prepared]:
        """The arguments and decoded images of a request for a verb; the body counts as held until they are decoded."""
        async with self.bodies.received(request) as body:
            asked = await self._asked(name, request, body)
            pixels = await self._aside(check_sources, [*asked.sources, *asked.references], self.limits)
            admitted.enter_context(self.admission.admitted(len(asked.sources), pixels))
            prepared = await self._aside(prepare, asked.sources, asked.references, verbs.VERBS[name].together)
        return asked.arguments, prepared

    async def _asked(self, name: str, request: Request, body: bytes) -> verbs.Asked:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            form = await form_of(request, body, self.limits)
            return verbs.asked_in_form(name, *form, self.limits)
        _require_json(kind)
        return await self._aside(lambda: verbs.asked_in_json(name, document_of(body), self.limits))

    async def complete(self, request: Request) -> Response:
        """Answer a chat completion."""
        _require_json(request.headers.get("content-type", "").partition(";")[0].strip().lower())
        with ExitStack() as admitted:
            asked, images, reference = await self._conversation(request, admitted)
            (found,) = await self._answers(request, chat.job_of(self.judge, asked, images, reference))
        if isinstance(found, Exception):
            raise found
        return JSONResponse(await self._aside(chat.completion, self.judge, asked, found))

    async def _conversation(
        self, request: Request, admitted: ExitStack
    ) -> tuple[chat.Chat, list[RGBImage], RGBImage | None]:
        """A chat request with its decoded images and their reference; for the body see ``_prepared``."""
        name = self.judge.backend.name
        async with self.bodies.received(request) as body:
            asked, images, reference = await self._aside(lambda: chat.chat_of(document_of(body), name))
            sources = [*images, *([reference] if reference else [])]
            pixels = await self._aside(check_sources, sources, self.limits)
            admitted.enter_context(self.admission.admitted(len(images), pixels))
            decoded = (await self._aside(prepare, sources, [], True)).images
        return asked, decoded[: len(images)], decoded[-1] if reference else None

    async def models(self, request: Request) -> Response:
        """List the one model."""
        return JSONResponse(chat.model_card(self.judge, self.limits))

    async def health(self, request: Request) -> Response:
        """Tell whether requests are answered."""
        failed = await self._aside(self.judge.backend.ended)
        status = "failed" if failed else "ok" if self.worker.ready else "stopping"
        return JSONResponse({"status": status, "version": __version__}, 200 if status == "ok" else 503)

    async def metrics(self, request: Request) -> Response:
        """Report for Prometheus."""
        return Response(self.monitor.text(), media_type="text/plain; version=0.0.4")

    async def _aside(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run what takes time in a thread, so that other clients are answered."""
        return await run_sync(function, *arguments, limiter=self._threads)

    async def _answers(self, request: Request, job: Job) -> Sequence[Any]:
        """Wait for a job; give it up if the client goes.

        Raises:
            ClientDisconnect: it has gone.
        """
        answers = asyncio.wrap_future(self.worker.submit(job))
        gone = asyncio.ensure_future(_gone(request))
        try:
            both: set[asyncio.Future[Any]] = {answers, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                raise ClientDisconnect
            return answers.result()
        finally:
            answers.cancel()  # without effect on what is done
            gone.cancel()

    def guarded(self, route: str, handler: Handler, open_to_all: bool = False) -> Handler:
        """Wrap a handler: who may ask, errors as JSON, and what is counted."""

        async def endpoint(request: Request) -> Response:
            began = time.perf_counter()
            try:
                if not open_to_all:
                    self.access.check(request)
                response = await handler(request)
            except ClientDisconnect:
                response = Response(status_code=GONE)
            except DepictQAError as error:
                if status_of(error) == 500:
                    log.error("%s: %s", route, error)
                response = _refusal(error)
            except Exception:
                log.exception("%s failed", route)
                response = _refusal(RequestError("the server failed at this request; its log has the reason", 500))
            self.monitor.request(route, response.status_code, time.perf_counter() - began)
            return response

        return endpoint


def build_app(judge: Judge, limits: Limits | None = None, key: str | None = None) -> Starlette:
    """Build the application that serves a judge.

    Args:
        judge: answers.
        limits: of requests; None for the usual ones.
        key: that clients must send as "Authorization: Bearer KEY"; None answers programs of this machine only.
    """
    service = Service(judge, limits or Limits(), key)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_sync(service.worker.close)

    routes = [
        ("/health", service.health, "GET"),
        ("/metrics", service.metrics, "GET"),
        ("/v1/models", service.models, "GET"),
        ("/v1/chat/completions", service.complete, "POST"),
        ("/v1/{verb}", service.verb, "POST"),
    ]
    guarded = [
        Route(path, service.guarded(path, handler, path == "/health"), methods=[method])
        for path, handler, method in routes
    ]
    return Starlette(routes=guarded, lifespan=lifespan)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _require_json(kind: str) -> None:
    if kind != "application/json":
        raise RequestError("send JSON with 'Content-Type: application/json', or for a verb a form with files", 415)


def _refusal(error: DepictQAError) -> Response:
    """The answer to a request that failed, as OpenAI-compatible servers word it."""
    status = status_of(error)
    headers = {"Connection": "close"}  # of a body that was not received, nothing more is taken
    if isinstance(error, RequestError) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return JSONResponse({"error": {"message": str(error), "type": kind, "code": status}}, status, headers)
