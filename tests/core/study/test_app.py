"""A study over real HTTP: who may ask, what is sent, and several people at once."""

import concurrent.futures
import io
import json

import numpy as np
import pytest
from core.study.studies import answer, folder_of, plan_of, started
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from served import JSON, Served

from depictqa_core.study.app import build_study
from depictqa_core.study.images import damaged, open_image
from depictqa_core.study.votes import read_record

KEY = "a-key-of-this-test-0123456789"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("study")
    pics = folder_of(home / "pics", ["secret-name-1.png", "secret-name-2.png", "secret-name-3.png"])
    with Image.open(pics / "secret-name-1.png") as image:
        about = PngInfo()
        about.add_text("prompt", "secret-prompt")
        image.save(pics / "secret-name-1.png", pnginfo=about)
    return home


def serve(home, name, key=None, reference=None):
    votes = home / name
    session = started(votes, plan_of([home / "pics"], votes, reference))
    server = Served(build_study(session, key), key)
    server.votes, server.session = votes, session
    return server


@pytest.fixture(scope="module")
def server(home):
    server = serve(home, "votes.jsonl", reference=home / "pics" / "secret-name-1.png")
    yield server
    server.join()


@pytest.fixture(scope="module")
def keyed(home):
    server = serve(home, "keyed.jsonl", KEY)
    yield server
    server.join()


def png_of(server, path):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


def test_pages_allow_nothing_from_elsewhere(server):
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        status, headers, text = server.send("GET", path)
        assert status == 200 and headers["Content-Type"].startswith(kind)
        assert (
            "default-src 'none'" in headers["Content-Security-Policy"]
            and headers["X-Content-Type-Options"] == "nosniff"
        )
        assert "http:" not in text.replace("http://www.w3.org", "") and "https:" not in text and "secret" not in text
    assert server.send("GET", "/study.jsonl")[0] == 404 and server.send("GET", "/../votes.jsonl")[0] == 404


@pytest.mark.slow
def test_images_are_pixels_alone(server):
    status, entered = server.post("/enter", {"name": "Anna"})
    assert status == 200 and entered["reference"] is True and "secret" not in json.dumps(entered)
    person, plan = server.session.enter("Anna"), server.session.plan
    seen = set()
    for number, trial in enumerate(server.session.trials(person)):
        for side, index in (("left", trial.left), ("right", trial.right), ("reference", None)):
            status, headers, data = png_of(server, f"/image/{entered['token']}/{number}/{side}")
            assert status == 200 and headers["content-type"] == "image/png" and b"secret" not in data
            image = plan.references[0] if index is None else plan.images[index]
            expected = open_image(image, server.votes).rgb
            expected = damaged(expected) if trial.damaged == side else expected
            with Image.open(io.BytesIO(data)) as found:
                assert (np.asarray(found) == expected).all() and not found.text
            seen.add((trial.kind, side))
    assert len(seen) == 9


def test_a_person_votes_and_resumes(server):
    token = server.post("/enter", {"name": "Ben"})[1]["token"]
    person = server.session.enter("Ben")
    trials = server.session.trials(person)
    body = {"token": token, "trial": 0, "choice": answer(trials[0]), "revision": 0, "seconds": 1.234}
    for _ in range(3):  # the acknowledgement was lost
        status, state = server.post("/vote", body)
        assert (status, state["trial"], state["done"]) == (200, 1, 1)
    assert server.post("/state", {"token": token, "trial": 0})[1]["choice"] == body["choice"]
    assert server.post("/enter", {"name": "Ben"})[1]["trial"] == 1
    (vote,) = [vote for vote in read_record(server.votes).votes if vote.person == person]
    assert vote.seconds == 1.23


@pytest.mark.slow
def test_many_people_vote_at_once(server):
    def one(number):
        token = server.post("/enter", {"name": f"person {number}"})[1]["token"]
        person = server.session.enter(f"person {number}")
        for trial, shown in enumerate(server.session.trials(person)):
            body = {"token": token, "trial": trial, "choice": answer(shown), "revision": 0, "seconds": 1}
            for _ in range(2):
                assert server.post("/vote", body)[0] == 200
        return person

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        people = list(pool.map(one, range(12)))
    record = read_record(server.votes)
    assert record.torn == 0 and len(set(people)) == 12
    for person in people:
        assert sorted(v.trial for v in record.votes if v.person == person) == list(range(9))
    assert len(server.votes.read_text().splitlines()) == 1 + len(record.people) + len(record.votes)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/enter", {}, 400),
        ("/enter", {"name": 5}, 400),
        ("/enter", {"name": ""}, 400),
        ("/enter", [], 400),
        ("/vote", {"token": "0-1234", "trial": 0, "choice": "left", "revision": 0}, 401),
        ("/vote", {"trial": 0, "choice": "left", "revision": 0}, 401),
        ("/vote", {"token": "²-x", "trial": 0, "choice": "left", "revision": 0}, 401),
        ("/vote", {"token": None, "trial": "0", "choice": "left", "revision": 0}, 401),
        ("/state", {"token": "9999999999-x"}, 401),
        ("/state", {"token": {"a": 1}}, 401),
    ],
)
def test_wrong_requests(server, path, body, status):
    found, answered = server.post(path, body)
    assert found == status and answered["error"]


def test_wrong_votes_and_images(server):
    token = server.post("/enter", {"name": "Wrong"})[1]["token"]
    for change in (
        {"trial": 5},
        {"trial": True},
        {"choice": "up"},
        {"choice": None},
        {"revision": -1},
        {"revision": "0"},
    ):
        body = {"token": token, "trial": 0, "choice": "left", "revision": 0, "seconds": "x", **change}
        assert server.post("/vote", body)[0] == 400
    assert server.post("/vote", {"token": token, "trial": 0, "choice": "left", "revision": 0, "seconds": -5})[0] == 200
    for path in (f"{token}/99/left", f"{token}/0/up", f"{token}/0/reference/x", f"{token}/-1/left", "0-x/0/left"):
        assert server.send("GET", f"/image/{path}")[0] in (401, 404)
    assert server.send("POST", "/vote", "x" * 5000, JSON)[0] == 413
    assert server.send("POST", "/enter", "name=x", {"Content-Type": "application/x-www-form-urlencoded"})[0] == 415


def test_pages_of_other_sites_are_refused(server, keyed):
    assert server.send("GET", "/", headers={"Host": "evil.example"})[0] == 403
    assert server.post("/enter", {"name": "x"}, Origin="http://evil.example")[0] == 403
    assert keyed.send("GET", "/", headers={"Host": "192.0.2.1"})[0] == 200


def test_a_key_is_needed_to_enter(keyed):
    for key in ({}, {"key": "wrong"}, {"key": 5}, {"key": "é"}):
        status, found = keyed.post("/enter", {"name": "Anna", **key})
        assert status == 403 and "key" in found["error"] and KEY not in found["error"]
    status, entered = keyed.post("/enter", {"name": "Anna", "key": f" {KEY}"})
    assert status == 200 and keyed.post("/state", {"token": entered["token"]})[1]["trial"] == 0


def test_what_is_wrong_with_a_file_is_not_told_to_participants(home):
    import shutil

    shutil.copytree(home / "pics", home / "gone" / "pics")
    server = serve(home / "gone", "votes.jsonl")
    try:
        shutil.rmtree(home / "gone" / "pics")
        token = server.post("/enter", {"name": "Anna"})[1]["token"]
        status, _, text = server.send("GET", f"/image/{token}/0/left")
        assert status == 500 and "secret" not in text and "tell the person who runs the study" in text
    finally:
        server.join()
