"""A judge behind ``depictqa serve`` gives the answers that it gives in this process."""

import json

import pytest
from core.judging import PAIRS, alike, fresh, pictures, plain
from served import serving

from depictqa_core import tasks
from depictqa_core.backends.endpoint_served import ServedBackend
from depictqa_core.calibration import Calibration
from depictqa_core.chat.endpoint import EndpointError
from depictqa_core.chat.messages import image_part
from depictqa_core.errors import TaskError
from depictqa_core.judge import load_judge

CALIBRATION = {"rating": 1.7, "identification_nr": 0.6, "none_identification_nr": 0.8, "score": 2.0}
CALIBRATION |= {"order_nr": {"weight": 1.0, "slope": 0.9, "lapse": 0.01}}


@pytest.fixture(scope="module")
def local(folders):
    judge = load_judge(folders["cnn"], "cpu")
    judge.backend.calibration = Calibration(CALIBRATION)
    return judge


@pytest.fixture(scope="module")
def server(local):
    with serving(fresh(local)) as running:
        yield running


@pytest.fixture(scope="module")
def remote(server):
    return load_judge(server.base, model="tiny-cnn")


def test_it_is_known_by_its_description(remote, local):
    assert isinstance(remote.backend, ServedBackend)
    assert remote.facts["probabilities"].startswith("exact") and remote.info["license"] == "Apache-2.0"
    ours, theirs = remote.backend.capabilities, local.backend.capabilities
    assert (ours.tasks, ours.free_questions, ours.names_first) == (
        theirs.tasks,
        theirs.free_questions,
        theirs.names_first,
    )
    assert remote.backend.calibration == local.backend.calibration
    assert remote.backend.size_policy == local.backend.size_policy
    assert "with its address" in remote.backend.low_coverage_remedy
    assert "on its folder" in local.backend.low_coverage_remedy


VERBS = {
    "identify": lambda judge, images: judge.identify(images, count=None, faults=False),
    "score": lambda judge, images: judge.score(images),
    "score with references": lambda judge, images: judge.score(images, pictures(len(images), 8)),
    "compare": lambda judge, images: judge.compare_many([(images[i], images[j]) for i, j in PAIRS]),
    "check": lambda judge, images: judge.check(images, "Is it sharp?", ("yes", "no", "hardly")),
    "rank": lambda judge, images: judge.rank(images, reasons=False),
}


@pytest.mark.parametrize("verb", VERBS)
def test_its_answers_are_those_of_the_judge(verb, remote, local):
    images = pictures(3) if verb == "identify" else pictures(4)
    assert alike(plain(VERBS[verb](remote, images)), plain(VERBS[verb](local, images)), 1e-5)


@pytest.mark.slow
def test_its_descriptions_are_those_of_the_judge(remote, local):
    images = pictures(2)
    here, there = (judge.describe(images, max_new_tokens=12) for judge in (local, remote))
    assert [one.text for one in there] == [one.text for one in here]
    assert [one.coverage for one in there] == pytest.approx([one.coverage for one in here], abs=1e-5)
    assert all(one.confidence is not None for one in there)


def test_it_is_calibrated_by_its_server_alone(remote, server, tmp_path):
    with pytest.raises(TaskError, match="calibrated by its server"):
        remote.backend.calibration = Calibration({})
    for options in ({"votes": 3}, {"settings": tmp_path}):
        with pytest.raises(EndpointError, match="leave out settings and votes"):
            load_judge(server.base, model="tiny-cnn", **options)
    with pytest.raises(EndpointError, match="its judge is tiny-cnn"):
        load_judge(server.base, model="another")


def test_json_verbs_give_the_results_of_the_judge(server, local):
    images = pictures(3)
    urls = [image_part(image)["image_url"]["url"] for image in images]
    names = [image.name for image in images]
    status, found = server.post("/v1/score", {"images": urls, "names": names})
    assert status == 200 and alike(found["results"], plain(local.score(images)))
    status, found = server.post("/v1/compare", {"images": urls[:2], "names": names})
    assert status == 200 and alike(found["results"], plain(local.compare_many([images[:2]])))
    status, found = server.post("/v1/rank", {"images": urls, "names": names, "reasons": False})
    wanted = plain(local.rank(images, reasons=False))
    assert status == 200 and alike(found["results"], wanted["pictures"]) and found["method"] == wanted["method"]
    status, found = server.post("/v1/score", {"images": urls, "prompt": "a car"})
    assert status == 400 and "not supported by tiny-cnn" in found["error"]["message"]


def chat(server, text, **fields):
    images = [image_part(image) for image in pictures(fields.pop("count", 1))]
    content = [{"type": "text", "text": text}, *images]
    return server.post(
        "/v1/chat/completions", {"model": "tiny-cnn", "messages": [{"role": "user", "content": content}], **fields}
    )


def test_other_clients_get_log_probabilities_of_the_answers(server, local):
    status, found = chat(server, tasks.SCORE.ask(), logprobs=True, top_logprobs=20)
    (step,) = found["choices"][0]["logprobs"]["content"]
    assert status == 200 and {one["token"] for one in step["top_logprobs"]} == {*tasks.answers(tasks.SCORE, "")}
    assert found["choices"][0]["message"]["content"] == step["token"] == step["top_logprobs"][0]["token"]
    status, found = chat(server, tasks.RATING.ask(), count=2)
    assert status == 200 and found["choices"][0]["message"]["content"] in tasks.WINNERS
    assert found["choices"][0]["logprobs"] is None
    status, found = chat(server, tasks.ASSESSMENT.question, max_tokens=5, logprobs=True)
    choice = found["choices"][0]
    assert status == 200 and choice["finish_reason"] == "length" and len(choice["logprobs"]["content"]) == 5
    assert "".join(one["token"] for one in choice["logprobs"]["content"]) == choice["message"]["content"]


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        (tasks.SCORE.ask(), {"task": "rating"}, "about two images"),
        (tasks.SCORE.ask(), {"task": "praise"}, "choose one of"),
        (tasks.SCORE.ask(), {"task": ["score"]}, "choose one of"),
        ("\ud800", {}, "of the types text and image_url"),
        (tasks.SCORE.ask(), {"structured_outputs": {"choice": ["one"]}}, "2 to 256 answers"),
        (tasks.SCORE.ask(), {"criterion": "eyes"}, "not supported by tiny-cnn"),
        (tasks.SCORE.ask(), {"count": 3}, "one or two images"),
        (tasks.SCORE.ask(), {"top_logprobs": 1000, "logprobs": True}, "from 0 to 256"),
    ],
)
def test_questions_that_cannot_be_answered(server, text, fields, words):
    status, found = chat(server, text, **fields)
    assert status == 400 and words in found["error"]["message"], json.dumps(found)


def test_its_key_comes_from_the_environment(local, monkeypatch):
    key = "a-key-of-this-test-0123456789"
    for name in ("DEPICTQA_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serving(fresh(local), key=key) as server:
        with pytest.raises(EndpointError, match="no key was sent"):
            load_judge(server.base, model="tiny-cnn")
        monkeypatch.setenv("DEPICTQA_API_KEY", f"{key}-wrong")
        with pytest.raises(EndpointError, match="check the key") as refused:
            load_judge(server.base, model="tiny-cnn")
        assert key not in str(refused.value)
        monkeypatch.setenv("DEPICTQA_API_KEY", key)
        assert load_judge(server.base, model="tiny-cnn").facts["key"] == "sent"
