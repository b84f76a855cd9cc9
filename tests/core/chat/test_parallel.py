"""Requests side by side: no answer that was paid for is lost, however the work ends."""

import threading
import time

import pytest
from chat_server import chat_server, completion

from depictqa_core.chat.client import Client
from depictqa_core.chat.endpoint import Endpoint, EndpointError, NoAnswer, RequestRejected
from depictqa_core.chat.parallel import PATIENCE, ask_all
from depictqa_core.errors import ImageError, StorageError


def client_of(server, **options):
    return Client(Endpoint(server.base, "m"), **{"first_pause": 0.01, "longest_pause": 0.02, "attempts": 1, **options})


def asking(client):
    return lambda item: client.complete([{"role": "user", "content": str(item)}], 5).text


def number_of(request) -> int:
    return int(request["messages"][0]["content"])


def echo(number, request):
    time.sleep(0.02)
    return 200, {}, completion(str(number_of(request)))


def test_every_item_has_its_outcome_and_failures_of_one_request_end_nothing():
    def answer(number, request):
        known = {3: (400, {}, {"error": "no"}), 5: (503, {}, b""), 7: (200, {}, b"[" * 100_000), 8: None}
        item = number_of(request)
        return known[item] if item in known else echo(number, request)

    def ask(item):
        if item == 9:
            raise ImageError("9.png: is truncated")
        return asking(client)(item)

    kept = {}
    with chat_server(answer) as server:
        client = client_of(server)
        ask_all(client, range(30), ask, lambda item, outcome: kept.update({item: outcome}), workers=3)
        assert 2 <= server.most_at_once <= 3
        assert asking(client)(1) == "1"  # the client can still be used
    failed = {3: RequestRejected, 5: NoAnswer, 7: NoAnswer, 8: NoAnswer, 9: ImageError}
    assert len(kept) == 30
    for item, outcome in kept.items():
        assert type(outcome) is failed.get(item, str), outcome
        assert item in failed or outcome == str(item)


def test_items_are_taken_as_they_are_needed():
    taken = []
    with chat_server(lambda *_: (401, {}, b"")) as server:
        client = client_of(server)
        items = (taken.append(n) or n for n in range(10_000))
        with pytest.raises(EndpointError, match="401"):
            ask_all(client, items, asking(client), lambda *_: None, workers=4)
    assert len(taken) < 20


def test_a_dead_endpoint_ends_the_work_after_some_patience():
    kept = []
    with chat_server(lambda *_: (503, {}, b"")) as server:
        client = client_of(server)
        with pytest.raises(NoAnswer):
            ask_all(client, range(100), asking(client), lambda *one: kept.append(one), workers=2)
    assert PATIENCE - 1 <= len(kept) <= PATIENCE + 1


@pytest.mark.parametrize("end", ["Ctrl-C", "full disk", "refusal"])
def test_answers_under_way_are_kept_when_the_work_ends(end):
    """Of four parallel requests one ends the work while three are being answered."""
    kept, ended = [], threading.Event()

    def answer(number, request):
        item = number_of(request)
        if item == 4 and end == "refusal":
            ended.set()
            return 401, {}, b""
        if 4 < item < 8:
            ended.wait(10)
            time.sleep(0.2)
        return 200, {}, completion(str(item))

    def keep(item, outcome):
        if item == 4 and end != "refusal":
            ended.set()
            raise {"Ctrl-C": KeyboardInterrupt, "full disk": StorageError}[end]()
        kept.append((item, outcome))

    with chat_server(answer) as server:
        client = client_of(server)
        with pytest.raises((KeyboardInterrupt, StorageError, EndpointError)):
            ask_all(client, range(1000), asking(client), keep, workers=4)
        asked = {number_of(request) for request in server.requests} - {4}
    assert {item for item, _ in kept} == asked and all(str(item) == outcome for item, outcome in kept)
    assert len(kept) == len(asked) < 20
