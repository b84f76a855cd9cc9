"""Opens a server as a judge: the first requests find out which way to probabilities works there."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..calibration import Calibration
from ..chat.client import Client
from ..chat.endpoint import Endpoint, EndpointError, RequestRejected
from ..errors import CheckpointError
from ..images.image import RGBImage
from ..runtime.byte_cache import ByteCache
from ..storage.documents import read_json
from .endpoint import EndpointBackend
from .endpoint_cache import ReplyCache
from .endpoint_replies import all_tokens, checked
from .endpoint_served import ServedBackend, served_judge
from .endpoint_server import NoTokenizer, Server, ServerTokenizer
from .endpoint_ways import Exact, Top, Votes, Way
from .profiles import OWN, Profile, choose_profile
from .server_options import DEFAULT_CONCURRENCY, ServerOptions
from .vllm_server import CONCURRENCY, VllmServer
from .vlm_loading import card_of, check_files, read_calibration, read_config
from .vlm_processor import CONFIG

NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
QUESTION = "Is this image grey? Answer yes or no."
FORCED = "qz"
"""What no model answers by itself; a server that takes ``structured_outputs`` makes it."""
PROBE = RGBImage(np.full((64, 64, 3), 128, np.uint8), "a grey image")


def open_server(address: str, options: ServerOptions, answers: ByteCache | None = None) -> EndpointBackend:
    """Open a model of a server as a judge.

    Args:
        address: such as "http://host:8000/v1".
        options: how it is used.
        answers: where answers are stored, as in ``NativeBackend``.

    Raises:
        EndpointError: the address is malformed, the server cannot be used, or gives no log-probabilities and no votes
            were asked for.
        CheckpointError: the settings cannot be read.
        StorageError: the folder of the cache cannot be made.
    """
    endpoint = Endpoint.at(address, options.model, options.owned)
    settings = None if options.settings is None else Path(options.settings)
    return _opened(endpoint, choose_profile(settings, None, endpoint.model), options, answers)


def open_on_vllm(
    folder: Path, arguments: str, options: ServerOptions, answers: ByteCache | None = None
) -> EndpointBackend:
    """Open a model folder as a judge by a vLLM server of its own, which ends with the judge.

    Args:
        arguments: further ones of ``vllm serve``, as on a command line.
        options: how it is used.
        answers: as in ``open_server``.

    Raises:
        PackageError, CheckpointError, EndpointError: as ``VllmServer`` and ``open_server``.
    """
    if options.model is not None:
        raise CheckpointError("model is for the address of a server; vLLM serves the folder under its own name")
    folder = folder.absolute()
    content = read_json(folder / CONFIG, error=CheckpointError)
    check_files(folder, content)
    config, settings = read_config(folder, content), Path(options.settings or folder)
    profile = choose_profile(settings if (settings / OWN).is_file() else folder, config.model_type)
    own = VllmServer(folder, arguments, card_of(folder, config, profile))
    try:
        return _opened(own.endpoint, profile, replace(options, settings=settings), answers, own)
    except BaseException:
        own.close()
        raise


def _opened(
    endpoint: Endpoint,
    profile: Profile,
    options: ServerOptions,
    answers: ByteCache | None,
    own: VllmServer | None = None,
) -> EndpointBackend:
    settings = None if options.settings is None else Path(options.settings)
    concurrency = options.concurrency or (DEFAULT_CONCURRENCY if own is None else CONCURRENCY)
    calibration = Calibration({} if settings is None else read_calibration(settings))
    ended = None if own is None else own.ended
    client = Client(endpoint, options.timeout, first_pause=options.pause, ended=ended)
    server = Server(client, profile)
    served = served_judge(server)
    if served is not None and (settings is not None or options.votes is not None):
        raise EndpointError(f"{server.name}: depictqa serve calibrates its own answers; leave out settings and votes")
    if served is not None:
        backend: EndpointBackend = ServedBackend(server, served, concurrency, answers)
    else:
        way = find_way(server, options.votes)
        backend = EndpointBackend(server, way, concurrency, calibration, answers, own)
    if options.cache is not None:
        server.cache = ReplyCache(
            options.cache, f"{endpoint.identity} {endpoint.model}" if own is None else own.identity
        )
    return backend


def find_way(server: Server, votes: int | None) -> Way:
    """Find the best way to probabilities that a server allows, and set its ``fields``.

    Raises:
        EndpointError: there is none, or the server cannot be used.
    """
    if (exact := _exact(server)) is not None:
        return exact
    for fields, count in ((NO_THINKING, 20), ({}, 20), ({}, 5)):
        server.fields = fields
        try:
            reply = server.send(QUESTION, (PROBE, None), 4, extra={"logprobs": True, "top_logprobs": count})
        except RequestRejected:
            continue
        if reply.steps is not None and (listed := max(len(step.others) for step in reply.steps)) > 1:
            checked(server.name, reply)
            return Top(server.name, min(listed, count))
        break
    if votes is None:
        raise EndpointError(
            f"{server.name}: the server gives no log-probabilities for {server.client.endpoint.model}, so answers have"
            " no probabilities; use a server that does (vLLM, SGLang, llama.cpp), or ask for votes: votes=5, --votes 5"
        )
    for fields in (NO_THINKING, {}):
        server.fields = fields
        try:
            server.send(QUESTION, (PROBE, None), 4)
            break
        except RequestRejected:
            if not fields:
                raise
    return Votes(server.name, votes)


def _exact(server: Server) -> Exact | None:
    """The exact way, None if the server does not offer it."""
    server.fields = NO_THINKING
    try:
        body = {"model": server.client.endpoint.model, "prompt": FORCED}
        server.client.separate(attempts=2).post("/tokenize", body)
    except EndpointError:  # no vLLM; whatever else is wrong, the next request tells
        return None
    try:
        tokenizer = ServerTokenizer(server)
    except (NoTokenizer, RequestRejected):
        return None
    wanted = sorted({*tokenizer.ids("yes"), *tokenizer.ids("no")})
    asked = {"logprobs": True, "logprob_token_ids": wanted, "return_tokens_as_token_ids": True}
    for choice in ({"structured_outputs": {"choice": [FORCED]}}, {}):
        try:
            reply = server.send(QUESTION, (PROBE, None), 4, extra={**asked, **choice})
        except RequestRejected:
            continue
        if not reply.steps:
            return None
        first = checked(server.name, reply)[0]
        names = {token for token, _ in all_tokens(first)}
        if not all(f"token_id:{one}" in names for one in wanted):
            return None
        # log-probabilities from behind the grammar would be those of a certain answer
        raw = bool(choice) and float(first.logprob) < -1e-6
        return Exact(server.name, tokenizer, forced=raw and reply.text.strip() == FORCED)
    return None
