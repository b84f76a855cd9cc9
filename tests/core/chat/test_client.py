"""The chat client against a real HTTP server: retries, Retry-After, limits, time-outs, garbage, refusals, the key."""

import asyncio
import base64
import email.utils
import gzip
import io
import json
import logging
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from chat_server import chat_server, completion
from PIL import Image

from depictqa_core.chat.client import Client, Reply
from depictqa_core.chat.endpoint import Endpoint, EndpointError, NoAnswer, RequestRejected
from depictqa_core.chat.messages import image_part, shown_request
from depictqa_core.images.image import as_image

HELLO = [{"role": "user", "content": "hello"}]
GOOD = (200, {}, completion("fine"))


def client_of(server, key=None, **options) -> Client:
    return Client(Endpoint(server.base, "vlm-1", key), **{"first_pause": 0.01, "longest_pause": 0.05, **options})


def script(*steps):
    """Answers one after the other; the last one is repeated."""
    return lambda number, request: steps[min(number, len(steps) - 1)]


def test_environment():
    found = Endpoint.from_environment({"DEPICTQA_API_BASE": "https://host/v1/", "DEPICTQA_API_MODEL": "m"})
    assert (found.base, found.model, found.key) == ("https://host/v1", "m", None)
    with pytest.raises(EndpointError, match="set DEPICTQA_API_BASE and DEPICTQA_API_MODEL"):
        Endpoint.from_environment({})
    with pytest.raises(EndpointError, match="http://"):
        Endpoint.from_environment({"DEPICTQA_API_BASE": "file:///etc", "DEPICTQA_API_MODEL": "m"})
    assert "secret" not in repr(Endpoint("http://host", "m", "secret"))


def test_request_and_reply():
    with chat_server(script(GOOD)) as server:
        reply = client_of(server, key="secret").complete(HELLO, max_tokens=7, temperature=0.5)
    assert (reply.text, reply.finish, reply.prompt_tokens, reply.completion_tokens) == ("fine", "stop", 1000, 50)
    assert server.requests == [
        {"path": "/v1/chat/completions", "model": "vlm-1", "messages": HELLO, "temperature": 0.5, "max_tokens": 7}
    ]
    assert server.headers[0]["Authorization"] == "Bearer secret"


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble", [429, 500, 503, 529, None, b"<html>busy</html>", {"choices": []}, {"choices": None}]
)
def test_troubles_that_pass_are_tried_again(trouble):
    step = (trouble, {}, b"") if isinstance(trouble, int) else trouble and (200, {}, trouble)
    with chat_server(script(step, step, GOOD)) as server:
        assert client_of(server).complete(HELLO, 5).text == "fine"
    assert len(server.requests) == 3


def test_it_gives_up_after_all_attempts_and_names_the_last_failure():
    with chat_server(script((503, {}, {"error": {"message": "overloaded"}}))) as server:
        with pytest.raises(EndpointError, match=r"after 3 attempts; .*503.*overloaded"):
            client_of(server, attempts=3).complete(HELLO, 5)
    assert len(server.requests) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured_by_every_thread(form):
    asked = 1 if form == "seconds" else 2  # a date has whole seconds: between 1 and 2 of them remain

    def answer(number, request):
        after = str(asked) if form == "seconds" else email.utils.formatdate(time.time() + asked, usegmt=True)
        return (429, {"Retry-After": after}, b"") if number == 0 else GOOD

    with chat_server(answer) as server:
        client = client_of(server)
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(client.complete, HELLO, 5)
            while not server.requests:
                time.sleep(0.005)
            time.sleep(0.2)  # the first thread knows by now
            others = [pool.submit(client.complete, HELLO, 5) for _ in range(3)]
            assert {f.result().text for f in [first, *others]} == {"fine"}
    assert min(server.times[1:]) - server.times[0] > 0.9


def test_pauses_grow_and_vary(monkeypatch):
    pauses = []
    with chat_server(script((500, {}, b""))) as server:
        client = client_of(server, attempts=6, first_pause=1.0, longest_pause=6.0)
        monkeypatch.setattr(client._closed, "wait", pauses.append)
        with pytest.raises(EndpointError):
            client.complete(HELLO, 5)
    assert len(pauses) == 5
    for pause, longest in zip(pauses, (1, 2, 4, 6, 6)):
        assert longest / 2 <= pause <= longest
    assert len({pause % 1 for pause in pauses}) == 5


def test_rate_limit_holds_over_all_threads():
    with chat_server(script(GOOD)) as server:
        client = client_of(server, per_minute=600)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.complete(HELLO, 5), range(8)))
    gaps = [b - a for a, b in zip(sorted(server.times), sorted(server.times)[1:])]
    assert sum(gaps) > 0.6


def trickle(content: bytes) -> list[tuple[float, bytes]]:
    """A byte every 0.15 s: no read waits long, but the whole takes for ever."""
    return [(0.15, bytes([letter])) for letter in content[:60]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "slow",
    [
        (200, {}, trickle(b"x" * 40)),
        (200, {}, [(1.5, b"late")]),
        (503, {}, trickle(b"x" * 40)),
        (401, {}, trickle(b"x" * 40)),
        (307, {"Location": "http://127.0.0.1:9/"}, trickle(b"x" * 40)),
        (None, {}, trickle(b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 60)),
        (None, {}, [(0, b"HTTP/1.1 200 OK\r\n"), *[(0.15, b"X-Header: x\r\n")] * 20]),
        (None, {}, [(1.5, b"")]),
    ],
    ids=["body", "silence", "error body", "refusal body", "redirect body", "a header", "headers", "no headers"],
)
def test_the_time_limit_covers_everything(slow):
    with chat_server(script(slow, GOOD)) as server:
        start = time.monotonic()
        assert client_of(server, timeout=0.5).complete(HELLO, 5).text == "fine"
        assert 0.4 < time.monotonic() - start < 2.8
    assert len(server.requests) == 2


def raw(headers: str, body: bytes = b"{}") -> tuple:
    return None, {}, [(0, headers.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)]


DEEP = b"[" * 200_000
BROKEN = {
    "deep": (200, {}, DEEP),
    "deep object": (200, {}, b'{"a":' * 100_000),
    "deep refusal": (503, {}, DEEP),
    "no UTF-8": (200, {}, b'{"choices": [{"message": {"content": "\xff"}}]}'),
    "a number": (200, {}, b"7"),
    "a huge number": (200, {}, b"1" * 10_000),
    "choices are text": (200, {}, {"choices": "text"}),
    "choices are an object": (200, {}, {"choices": {"0": 1}}),
    "message is text": (200, {}, {"choices": [{"message": "text"}]}),
    "parts are numbers": (200, {}, {"choices": [{"message": {"content": [1, 2]}}]}),
    "parts without text": (200, {}, {"choices": [{"message": {"content": [{"text": None}]}}]}),
    "far too long": (200, {}, completion("x" * 2**18)),
    "a bomb": (200, {}, [(0, b" " * 2**20)] * 17),
    "compressed": (200, {"Content-Encoding": "gzip"}, gzip.compress(b"x")),
    "compressed in no known way": (200, {"Content-Encoding": "nothing"}, b"x"),
    "no content": (204, {}, b""),
    "events": (200, {"Content-Type": "text/event-stream"}, b"data: {}\n\n"),
    "odd type": (200, {"Content-Type": ";;;=\x80"}, b"<html>"),
    "no status": raw("HTTP/1.1"),
    "odd status": raw("HTTP/1.1 abc OK"),
    "status 999": raw("HTTP/1.1 999 OK\nContent-Length: 2"),
    "status 522": raw("HTTP/1.1 522 x\nContent-Length: 2"),
    "odd header": raw("HTTP/1.1 200 OK\nno colon"),
    "odd length": raw("HTTP/1.1 200 OK\nContent-Length: -5"),
    "cut": raw("HTTP/1.1 200 OK\nContent-Length: 500"),
    "odd chunk": raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"zz\r\n"),
    "not HTTP": raw("SSH-2.0-OpenSSH"),
    "odd retry": (429, {"Retry-After": "nan"}, b""),
    "odd date": (429, {"Retry-After": "Mon, 99 Foo 0000 99:99:99 GMT"}, b""),
    "far past": (429, {"Retry-After": "Mon, 01 Jan 0001 00:00:00 +2359"}, b""),
}


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_answer_is_tried_again_and_never_raises_anything_else(broken):
    with chat_server(script(BROKEN[broken], GOOD)) as server:
        assert client_of(server).complete(HELLO, 5).text == "fine"
    with chat_server(script(BROKEN[broken])) as server:
        with pytest.raises(NoAnswer, match="no answer after 2 attempts; the last one: .") as caught:
            client_of(server, attempts=2).complete(HELLO, 5)
    assert len(str(caught.value)) < 700 and "\n" not in str(caught.value)


def test_messages_do_nothing_to_a_terminal():
    with chat_server(script((400, {}, {"error": "\x1b[2Jbad\r\n\x07\u202eimage"}))) as server:
        with pytest.raises(RequestRejected, match=r"answered 400 Bad Request: \?\[2Jbad \?\?image$"):
            client_of(server).complete(HELLO, 5)
    with chat_server(script((200, {}, b"<html>\x1b[2J"))) as server:
        with pytest.raises(NoAnswer, match=r"the last one: the answer is not a chat completion: '<html>\?\[2J'$"):
            client_of(server, attempts=1).complete(HELLO, 5)


@pytest.mark.parametrize(
    "limits",
    [
        *({"timeout": value} for value in (0, float("nan"), 1e12, "5", None, True)),
        *({"per_minute": value} for value in (-1, 0, "9")),
        *({"attempts": value} for value in (0, 1.5, "2", None)),
    ],
)
def test_odd_limits_are_refused(limits):
    with pytest.raises(EndpointError, match="must be a (whole )?number (above 0|from 1)"):
        Client(Endpoint("http://host/v1", "m"), **limits)


def test_what_is_answered_can_be_stored():
    odd = completion("a\ud800b\u2028c", finish=None)
    odd["usage"] = {"prompt_tokens": "many", "completion_tokens": float("nan")}
    with chat_server(script((200, {}, odd))) as server:
        reply = client_of(server).complete(HELLO, 5)
        assert reply == Reply("a?b\u2028c", "stop", None, None)
        json.dumps(reply.text, ensure_ascii=False).encode()
        with pytest.raises(RequestRejected, match="UTF-8"):
            client_of(server).complete([{"role": "user", "content": "\ud800"}], 5)


# ---------------------------------------------------------------------- secrets

SECRET = "sk-0123456789abcdef"


@pytest.mark.parametrize("space", ["\r", "\n", "\r\n", " ", "\t"])
def test_white_space_around_a_value_is_no_part_of_it(space):
    values = {"DEPICTQA_API_BASE": "http://host/v1/", "DEPICTQA_API_MODEL": "m", "DEPICTQA_API_KEY": SECRET}
    found = Endpoint.from_environment({name: f"{space}{value}{space}" for name, value in values.items()})
    assert (found.base, found.model, found.key) == ("http://host/v1", "m", SECRET)
    assert Endpoint("http://host", "m", space).key is None
    with pytest.raises(EndpointError, match="set DEPICTQA_API_MODEL"):
        Endpoint.from_environment({**values, "DEPICTQA_API_MODEL": space})


def told(call) -> str:
    """Everything that a person could see of a failure: the message, the whole traceback and what it chains."""
    with pytest.raises(EndpointError) as caught:
        call()
    lines = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    return str(caught.value) + "".join(lines).replace(__file__, "")


@pytest.mark.parametrize(
    "key", [f"{SECRET}{odd}x" for odd in ("\r", "\nX: y", "\xe9", "\u20ac", " ", "\0", "\udc80")] + [7, SECRET.encode()]
)
def test_odd_keys_are_refused_without_being_shown(key):
    with pytest.raises(EndpointError, match="key") as caught:
        Endpoint("http://host/v1", "m", key)
    assert SECRET not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize(
    "base",
    ["http://user:{}@host/v1", "https://{}@host", "http://user:{}/x@host/v1", "http://host/v1?key={}", "http://host#{}",
     "user:{}@host/v1", "http:user:{}@host", "//user:{}@host", "http://[::1/{}", "http://host:{}/v1", "http://ho st/{}",
     "http://hôst/{}", "http://host/\r\n{}", "http:///{}", "ftp://{}", "http://host\\@{}", "{}", "http://host:99999/{}"],
)  # fmt: skip
def test_odd_base_urls_are_refused_without_being_shown(base):
    with pytest.raises(EndpointError, match="DEPICTQA_API_") as caught:
        Client(Endpoint(base.format(SECRET), "m"))
    assert SECRET not in str(caught.value) and "user" not in str(caught.value).replace("user or password", "")


@pytest.mark.parametrize(
    "base", [None, 7, "", "http://", "http://.", "http://-.-/", "https://[fe80::1%25en0]/", "http://a..b"]
)
def test_no_base_url_raises_anything_else(base):
    with pytest.raises(EndpointError):
        Client(Endpoint(base, "m"), attempts=1, timeout=1).complete(HELLO, 5)


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 307, 400, 401, 429, 500, 999])
def test_no_secret_in_what_is_said_kept_or_logged(status, caplog, capfd):
    caplog.set_level(logging.INFO)
    echo = {"Location": f"http://elsewhere/{SECRET}", "Retry-After": "0", "X-Key": SECRET}
    with chat_server(script((status, echo, {"error": {"message": "x" * 290 + f"wrong key {SECRET}!"}}))) as server:
        client = client_of(server, key=SECRET, attempts=2)
        said = told(lambda: client.complete(HELLO, 5))
        assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    with chat_server(script((200, {}, completion(f"Your key is {SECRET}.", SECRET)))) as server:
        reply = client_of(server, key=SECRET).complete(HELLO, 5)
    assert reply.text == "Your key is <key>."
    for text in (said, caplog.text, repr(client), repr(client.endpoint), repr(reply), *capfd.readouterr()):
        assert SECRET not in text and SECRET[:8] not in text


@pytest.mark.parametrize("status", [200, 307, 400, 404, 500, None, b"no JSON"])
def test_the_path_of_the_url_is_in_no_message_and_no_log(status, caplog, capfd):
    """A host may take its key there."""
    caplog.set_level(logging.DEBUG)
    fields = {"Location": f"/{SECRET}/v2/chat", "Retry-After": "0"}
    echo = {"error": {"message": f"/{SECRET}/v1/chat/completions does not work"}}
    step = (200, {}, status) if isinstance(status, bytes) else status and (status, fields, echo)
    with chat_server(script(step)) as server:
        base = server.base.removesuffix("/v1")
        client = Client(Endpoint(f"{base}/{SECRET}/v1", "m"), attempts=1)
        said = told(lambda: client.complete(HELLO, 5))
        assert server.requests[0]["path"] == f"/{SECRET}/v1/chat/completions" and base in said
    assert (f"HTTP Request: POST {base}" in caplog.text) == (status is not None)
    shown = [said, caplog.text, repr(client), repr(client.endpoint), client.endpoint.identity, *capfd.readouterr()]
    for text in shown:
        assert SECRET not in text and SECRET[:8] not in text


def test_files_tell_endpoints_by_their_path():
    """The identity of a base without secrets is the base, by which answers that were paid for are found again."""
    assert Endpoint("https://host:81/v1/", "m").identity == "https://host:81/v1"
    names = {Endpoint(f"https://host/{path}/v1", "m").identity for path in ("first-key", "other-key", "first-key")}
    assert len(names) == 2 and not any("key" in name for name in names)


@pytest.mark.parametrize("usage", [7, "many", [1, 2], {"prompt_tokens": "x"}, {"prompt_tokens": {}}, None])
def test_an_odd_count_of_tokens_loses_no_answer(usage):
    with chat_server(script((200, {}, {**completion("fine"), "usage": usage}))) as server:
        reply = client_of(server, attempts=1).complete(HELLO, 5)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("fine", None, None)


def test_a_redirect_gets_neither_the_request_nor_the_key():
    with chat_server(script(GOOD)) as other:
        for status in (301, 302, 303, 307, 308):
            with chat_server(script((status, {"Location": f"{other.base}/chat/completions"}, b""))) as server:
                with pytest.raises(EndpointError, match="give the address where it points .*set DEPICTQA_API_BASE"):
                    client_of(server, key=SECRET).complete(HELLO, 5)
                assert len(server.requests) == 1
        assert other.requests == []


def test_settings_of_the_package_are_not_sent_elsewhere(monkeypatch):
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {SECRET}\nX-Other: {SECRET}")
    with chat_server(script(GOOD)) as server:
        assert client_of(server).complete(HELLO, 5).text == "fine"
        assert client_of(server, key="our-own-key").complete(HELLO, 5).text == "fine"
    assert SECRET not in str(server.headers) and "Authorization" not in server.headers[0]
    assert server.headers[1]["Authorization"] == "Bearer our-own-key"
    assert not any(name.lower().startswith("x-stainless-os") for name in server.headers[0])


def test_a_client_works_where_an_event_loop_runs():
    async def ask(client):
        return client.complete(HELLO, 5).text

    with chat_server(script(GOOD)) as server:
        assert asyncio.run(ask(client_of(server))) == "fine"


def test_clients_share_one_thread():
    with chat_server(script(GOOD)) as server:
        client_of(server).complete(HELLO, 5)
        before = threading.active_count()
        for _ in range(5):
            client_of(server).complete(HELLO, 5)
        assert threading.active_count() <= before + 1  # that of the server's last connection


@pytest.mark.parametrize(
    "status, kind, advice",
    [(401, EndpointError, "key.*DEPICTQA_API_KEY"), (404, EndpointError, "check the address .*DEPICTQA_API_BASE"),
     (400, RequestRejected, "too large"), (413, RequestRejected, "too large"), (307, EndpointError, "elsewhere")],
)  # fmt: skip
def test_refusals_are_not_repeated(status, kind, advice):
    body = (status, {"Location": "http://elsewhere/"}, {"error": {"message": "image too large"}})
    with chat_server(script(body)) as server:
        with pytest.raises(EndpointError, match=advice) as caught:
            client_of(server, key="secret").complete(HELLO, 5)
    assert len(server.requests) == 1 and type(caught.value) is kind
    assert "secret" not in str(caught.value)


def test_models_that_know_the_limit_by_its_newer_name():
    def answer(number, request):
        if "max_tokens" in request:
            return 400, {}, {"error": {"message": "'max_tokens' is not supported: use 'max_completion_tokens'"}}
        return GOOD

    with chat_server(answer) as server:
        client = client_of(server)
        assert [client.complete(HELLO, 5, temperature=None).text for _ in range(2)] == ["fine", "fine"]
    assert [request.get("max_completion_tokens") for request in server.requests] == [None, 5, 5]
    assert "temperature" not in server.requests[0]


def test_refused_and_parted_contents():
    refused = completion("")
    refused["choices"][0]["message"].update(content=None, refusal="I will not.")
    parted = completion("")
    parted["choices"][0]["message"]["content"] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    with chat_server(script((200, {}, refused), (200, {}, parted))) as server:
        client = client_of(server)
        first, second = client.complete(HELLO, 5), client.complete(HELLO, 5)
    assert (first.text, first.finish, second.text) == ("I will not.", "refusal", "ab")


def test_nobody_listens():
    with pytest.raises(EndpointError, match="2 attempts; the last one: ConnectError"):
        Client(Endpoint("http://127.0.0.1:9/v1", "m"), attempts=2, first_pause=0.01).complete(HELLO, 5)


def test_closing_ends_every_wait():
    with chat_server(script((429, {"Retry-After": "600"}, b""))) as server:
        client = client_of(server)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.complete, HELLO, 5)
            threading.Timer(0.3, client.close).start()
            with pytest.raises(EndpointError, match="stopped"):
                waiting.result(timeout=5)


def test_images_go_as_decoded_pixels_and_are_shown_by_their_size(tmp_path):
    secret = b"GPS 52.5200 N 13.4050 E"
    pixels = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010E] = secret.decode()
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with open(tmp_path / "a.png", "ab") as file:
        file.write(secret)
    part = image_part(as_image(tmp_path / "a.png"))
    head, data = part["image_url"]["url"].split(",")
    sent = base64.b64decode(data)
    assert head == "data:image/png;base64" and secret not in sent
    assert np.array_equal(Image.open(io.BytesIO(sent)), pixels)
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, part]}]
    shown = shown_request({"model": "m", "messages": messages})
    assert shown["model"] == "m" and data not in str(shown)
    assert shown["messages"][0]["content"][0] == {"type": "text", "text": "look"}
    assert messages[0]["content"][1] is part
