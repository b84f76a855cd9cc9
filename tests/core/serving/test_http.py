"""``depictqa serve`` over real HTTP: verbs, limits, keys and everything that clients do wrong."""

import concurrent.futures
import json
import socket
import struct
import threading
import time
import zlib
from types import SimpleNamespace

import pytest
from core.fake_judge import FakeJudge
from served import JSON, png, serving, url_of

from depictqa_core.errors import TaskError
from depictqa_core.serving.limits import Limits

KEY = "a-key-of-this-test-0123456789"


class Blocked(FakeJudge):
    """Counts its batches; waits for ``go`` in each, and ends as soon as nobody waits for the answer."""

    backend = SimpleNamespace(name="fake", low_coverage_remedy="", ended=lambda: None)

    def __init__(self):
        self.batches, self.stopped = [], []
        self.go, self.begun = threading.Event(), threading.Event()
        self.go.set()

    def score(self, images, reference=None, *, criterion=None, progress=None):
        self.batches.append(len(images))
        self.begun.set()
        if criterion is not None:
            raise TaskError("criterion is not supported")
        while not self.go.wait(0.005):
            try:
                progress(0, 1)
            except Exception as error:
                self.stopped.append(type(error).__name__)
                raise
        return super().score(images, progress=progress)

    def block(self):
        self.batches.clear()
        self.begun.clear()
        self.go.clear()


@pytest.fixture(scope="module")
def judge():
    return Blocked()


@pytest.fixture(scope="module")
def server(judge):
    with serving(judge, Limits(body=2**20, images=8, waiting_images=8, body_seconds=20)) as running:
        yield running


def metric(server, name):
    lines = dict(line.rsplit(" ", 1) for line in server.send("GET", "/metrics")[2].splitlines())
    return float(lines.get(name, 0))


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def head_of(length):
    """What stands before the body of a request."""
    lines = ("POST /v1/score HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def form(files, arguments=None):
    """A body in multipart/form-data, and its headers."""
    parts = [
        b'Content-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s' % (field.encode(), name.encode(), data)
        for field, name, data in files
    ]
    if arguments is not None:
        parts.append(b'Content-Disposition: form-data; name="arguments"\r\n\r\n' + json.dumps(arguments).encode())
    body = b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + b"--limit--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=limit"}


# ---------------------------------------------------------------------- answers


def test_verbs_take_data_urls_and_files(server):
    status, found = server.post("/v1/score", {"images": [url_of(png(255)), url_of(png(0))], "names": ["white"]})
    assert status == 200 and (found["task"], found["checkpoint"], found["failures"]) == ("score", "fake", [])
    assert [(row["picture"], row["score"]) for row in found["results"]] == [("white", 100.0), ("image 2", 0.0)]
    body, headers = form([("images", "grey.png", png(51)), ("reference", "r.png", png(51))], {})
    status, _, text = server.send("POST", "/v1/score", body, headers)
    assert status == 200 and [row["picture"] for row in json.loads(text)["results"]] == ["grey.png"]


def test_damaged_images_are_failures_and_the_others_are_judged(server):
    cut = png(10, 64)[:-40]
    status, found = server.post("/v1/score", {"images": [url_of(cut), url_of(png(255))]})
    assert status == 200 and [row["score"] for row in found["results"]] == [100.0]
    assert [row["picture"] for row in found["failures"]] == ["image 1"]
    status, found = server.post("/v1/score", {"images": [url_of(cut)]})
    assert status == 400 and "image 1: " in found["error"]["message"]


@pytest.mark.parametrize(
    ("path", "document", "status", "words"),
    [
        ("/v1/praise", {}, 404, "choose one of identify"),
        ("/v1/score", {"images": []}, 400, "give data URLs"),
        ("/v1/score", {"images": ["/etc/hostname"]}, 400, "nothing is fetched"),
        ("/v1/score", {"images": ["http://127.0.0.1/a.png"]}, 400, "nothing is fetched"),
        ("/v1/score", {"images": ["data:image/png;base64,%%%"]}, 400, "not valid base64"),
        ("/v1/score", {"images": [url_of(png())] * 9}, 413, "more than 8"),
        ("/v1/score", {"images": [url_of(png())], "colour": 1}, 400, "unknown argument 'colour'"),
        ("/v1/score", {"images": [url_of(png())], "reference": [url_of(png())] * 2}, 400, "one for all"),
        ("/v1/score", {"images": [url_of(png())], "criterion": "x"}, 400, "criterion is not supported"),
        ("/v1/score", {"images": [url_of(png())], "criterion": "x" * 5000}, 400, "make it shorter"),
        ("/v1/compare", {"images": [url_of(png())]}, 400, "compare takes 2, not 1"),
        ("/v1/check", {"images": [url_of(png())]}, 400, "question"),
        ("/v1/score", [], 400, "not a JSON object"),
        ("/v1/chat/completions", {"model": "other"}, 404, "one model: fake"),
        ("/v1/chat/completions", {"model": "fake", "tools": []}, 400, "'tools' is not supported"),
        ("/v1/chat/completions", {"model": "fake", "temperature": 1.0}, 400, "deterministic"),
        ("/v1/chat/completions", {"model": "fake", "messages": [{"role": "system"}]}, 400, "one message of the user"),
    ],
)
def test_wrong_requests_get_one_line(server, path, document, status, words):
    answered, found = server.post(path, document)
    assert answered == status and words in found["error"]["message"], found


def test_other_kinds_of_bodies_are_refused(server):
    assert server.send("POST", "/v1/score", "{}", {"Content-Type": "text/plain"})[0] == 415
    for body in (b"[" * 100_000, b"\xff", b'{"images": NaN}'):
        assert server.send("POST", "/v1/score", body, JSON)[0] == 400
    assert server.send("POST", "/v1/score", *form([("pictures", "a.png", png())]))[0] == 400
    assert server.send("POST", "/v1/score", b"--other", {"Content-Type": "multipart/form-data; boundary=x"})[0] == 400


# ---------------------------------------------------------------------- batches, back-pressure, metrics


def test_clients_are_judged_together_and_refused_when_too_many_wait(server, judge):
    judge.block()
    document = {"images": [url_of(png())]}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(server.post, "/v1/score", document)
        assert judge.begun.wait(20)
        others = [pool.submit(server.post, "/v1/score", document) for _ in range(7)]
        wait_for(lambda: metric(server, "depictqa_waiting_images") == 7)
        status, headers, text = server.send("POST", "/v1/score", json.dumps(document), JSON)
        assert status == 429 and int(headers["Retry-After"]) >= 1 and "try again" in text
        judge.go.set()
        assert all(one.result(20)[0] == 200 for one in [first, *others])
    assert judge.batches == [1, 7]
    wait_for(lambda: metric(server, "depictqa_admitted_images") == 0)
    assert metric(server, 'depictqa_requests_total{route="/v1/{verb}",status="429"}') == 1


def test_the_work_of_a_client_that_has_gone_is_given_up(server, judge):
    judge.block()
    judge.stopped.clear()
    body = json.dumps({"images": [url_of(png())]}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head_of(len(body)) + body)
        assert judge.begun.wait(20)
    wait_for(lambda: judge.stopped == ["Abandoned"])
    wait_for(lambda: metric(server, "depictqa_admitted_images") == 0)
    judge.go.set()
    assert server.post("/v1/score", {"images": [url_of(png())]})[0] == 200


def test_slow_clients_do_not_block_a_fast_one(server):
    body = json.dumps({"images": [url_of(png())]}).encode()
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(32)]
    try:
        for client in slow:
            client.sendall(head_of(len(body)) + body[:40])
        for _ in range(3):
            status, found = server.post("/v1/score", {"images": [url_of(png(255))]})
            assert status == 200 and found["results"][0]["score"] == 100.0
        for client in slow[:8]:
            client.sendall(body[40:])
        for client in slow[:8]:
            assert client.recv(15) in (b"HTTP/1.1 200 OK", b"HTTP/1.1 429 To")
    finally:
        for client in slow:
            client.close()
    wait_for(lambda: metric(server, 'depictqa_requests_total{route="/v1/{verb}",status="499"}') >= 24)


# ---------------------------------------------------------------------- sizes


def test_a_body_above_the_limit_is_read_but_not_stored(server):
    status, _, text = server.send("POST", "/v1/score", b"x" * (3 * 2**20), JSON)
    assert status == 413 and "more than 1,048,576 bytes" in text


def test_an_endless_body_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head_of(100_000_000))
        sent, piece = 0, b"x" * 2**18
        try:
            while sent < 100_000_000:
                sent += client.send(piece)
        except OSError:
            pass
    assert sent < 50_000_000
    assert server.send("GET", "/health")[0] == 200


def test_a_body_that_comes_too_slowly_is_refused(judge):
    with serving(judge, Limits(body_seconds=0.05)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(head_of(10) + b"{")
            assert client.recv(12) == b"HTTP/1.1 408"


def header_only(width, height):
    """A PNG file of a few bytes that says how large it is."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"\0" * 1000)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("side", "status"), [(7000, 413), (60_000, 400)])
def test_decompression_bombs_are_found_before_they_are_decoded(server, side, status):
    answered, found = server.post("/v1/score", {"images": [url_of(header_only(side, side))]})
    assert answered == status and "pixels" in found["error"]["message"]


# ---------------------------------------------------------------------- access


def test_a_judge_whose_own_server_ended_is_not_healthy(judge, monkeypatch):
    with serving(judge) as server:
        monkeypatch.setattr(judge.backend, "ended", lambda: "vllm serve ended: /home/me/depictqa.log")
        status, _, text = server.send("GET", "/health")
        assert status == 503 and '"failed"' in text and "log" not in text  # anybody may ask


def test_a_key_is_needed_everywhere_but_for_health(judge):
    with serving(judge, key=KEY) as server:
        assert server.send("GET", "/health")[0] == 200
        for given in (None, "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", KEY):
            headers = {"Authorization": given} if given else {}
            for path in ("/v1/models", "/metrics"):
                status, answered, text = server.send("GET", path, headers=headers)
                assert status == 401 and answered["WWW-Authenticate"] == "Bearer" and KEY not in text
        assert server.post("/v1/score", {"images": [url_of(png())]})[0] == 401
        document = {"images": [url_of(png())]}
        assert server.post("/v1/score", document, Authorization=f"Bearer {KEY}")[0] == 200
        assert server.post("/v1/score", document, Authorization=f"Bearer {KEY}", Host="judge.example")[0] == 200


def test_without_a_key_pages_of_other_sites_are_refused(server):
    document = {"images": [url_of(png())]}
    assert server.post("/v1/score", document, Host="attacker.example")[0] == 403
    assert server.post("/v1/score", document, Origin="https://attacker.example")[0] == 403
    assert server.post("/v1/score", document, Origin="http://127.0.0.1:8188")[0] == 200


# ---------------------------------------------------------------------- the end


def test_a_stopping_server_finishes_what_it_has_and_refuses_more():
    judge = Blocked()
    judge.block()
    with serving(judge) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        answered = pool.submit(server.post, "/v1/score", {"images": [url_of(png(255))]})
        assert judge.begun.wait(20)
        server.stop()
        wait_for(lambda: _refused(server.port))
        judge.go.set()
        status, found = answered.result(20)
        assert status == 200 and found["results"][0]["score"] == 100.0


def _refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False
