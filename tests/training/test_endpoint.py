"""The chat client against a real HTTP server: retries, Retry-After, limits, time-outs, garbage, refusals, the key."""

import base64
import email.utils
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from chat_server import chat_server, completion
from PIL import Image

from depictqa_core.images import as_picture
from training.endpoint import Client, Endpoint, EndpointError, RequestRejected, image_part, shown_request

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


def test_slow_answers_are_given_up():
    trickle = [(0.15, bytes([letter])) for letter in b"x" * 40]
    with chat_server(script((200, {}, trickle), (200, {}, [(1.0, b"late")]), GOOD)) as server:
        start = time.monotonic()
        assert client_of(server, timeout=0.5).complete(HELLO, 5).text == "fine"
        assert time.monotonic() - start < 3
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "status, kind, advice",
    [(401, EndpointError, "check DEPICTQA_API_KEY"), (404, EndpointError, "check DEPICTQA_API_BASE"),
     (400, RequestRejected, "too large"), (413, RequestRejected, "too large"), (307, EndpointError, "elsewhere")],
)  # fmt: skip
def test_refusals_are_not_repeated(status, kind, advice):
    body = (status, {"Location": "http://elsewhere/"}, {"error": {"message": "picture too large"}})
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
    part = image_part(as_picture(tmp_path / "a.png"))
    head, data = part["image_url"]["url"].split(",")
    sent = base64.b64decode(data)
    assert head == "data:image/png;base64" and secret not in sent
    assert np.array_equal(Image.open(io.BytesIO(sent)), pixels)
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, part]}]
    shown = shown_request({"model": "m", "messages": messages})
    assert shown["model"] == "m" and data not in str(shown)
    assert shown["messages"][0]["content"][0] == {"type": "text", "text": "look"}
    assert messages[0]["content"][1] is part
