"""Models behind a chat endpoint, over real HTTP: graders of detailed answers, and peers that answer the questions."""

import base64
import io

import numpy as np
import pytest
from chat_server import chat_server, completion
from PIL import Image

from depictqa_core import tasks
from depictqa_core.chat.client import Client
from depictqa_core.chat.endpoint import Endpoint, EndpointError
from depictqa_core.chat.parallel import PATIENCE
from training.evaluation import judged
from training.evaluation.answer_files import AnswerFile, endpoint_answers
from training.evaluation.judged import judged_answers, parse, summary
from training.evaluation.peer_vlm import messages, vlm_answers
from training.evaluation.scoring import score
from training.evaluation.sets import TestSet

FAST = {"first_pause": 0.01, "longest_pause": 0.05, "attempts": 4}
PLAIN = {"image_ref": None, "image_A": "0.png", "image_B": None}


def client_of(server, model="grader", **options):
    return Client(Endpoint(server.base, model), **{**FAST, **options})


def said(text):
    return 200, {}, completion(text)


@pytest.mark.parametrize(
    ("reply", "version", "expected"),
    [
        ("7\nIt names the blur.", "v2", 7.0),
        ("  10  \n", "v2", 10.0),
        ("Score: 7", "v2", None),
        ("7/10", "v2", None),
        ("11", "v2", None),
        ("-1", "v2", None),
        ("nan", "v2", None),
        ("", "v2", None),
        ("6 7", "v2", None),
        ("8 6\nBecause", "v1", 0.75),
        ("8, 9", "v1", 1.0),
        ("0 5", "v1", None),
        ("8", "v1", None),
    ],
)
def test_only_the_form_that_was_asked_for_is_a_score(reply, version, expected):
    assert parse(reply, version) == expected


def test_the_published_score_is_that_of_the_first_200_without_failures():
    rows = [{"score": 10.0}] * 100 + [{"score": None}] * 50 + [{"score": 4.0}] * 50 + [{"score": 0.0}] * 100
    assert summary(rows) == {"score": 8.0, "count": 150, "failed": 50, "score_of_all": 4.8}


def detailed_set(root, count=6):
    truth = {"query": "Describe it.", "distortion_name": "blur_lens", "severity": 3}
    rows = [{"id": f"w{n}", **PLAIN, **truth, "answer": f"The truth of {n}."} for n in range(count)]
    rows.append({"id": "brief", **PLAIN, "query": "Which ONE issue is worst?" + tasks.SHORT_TAIL, "answer": "Blur"})
    return TestSet("made", root, rows, ["quality_single_A_noref"] * len(rows))


def answers_of(test_set):
    found = [{"id": i, "text": f"words on {i}", "confidence": 0.5} for i in test_set.ids]
    found[1]["text"] = None
    return found


def grade(test_set, answers, path, server, version="v2", **options):
    client = client_of(server, **options)
    ids, source = judged_answers(client, test_set, answers, version)
    return AnswerFile(path, {"version": version}).fill(ids, source, "test")


def test_a_grader_sees_question_truth_and_answer(tmp_path):
    test_set = detailed_set(None)
    with chat_server(lambda number, request: said("8\ngood")) as server:
        rows = grade(test_set, answers_of(test_set), tmp_path / "scores.jsonl", server)
        ids = [row["id"] for row in rows]
        assert ids == ["w0", "w2", "w3", "w4", "w5"] and all(row["score"] == 8 for row in rows)
        system, user = server.requests[0]["messages"]
        assert server.requests[0]["temperature"] == 0 and server.requests[0]["model"] == "grader"
        assert "0" in system["content"] and "10" in system["content"] and "first line" in system["content"]
        for text in ("Describe it.", "The truth of", "words on w"):
            assert text in user["content"]
        rows = grade(test_set, answers_of(test_set), tmp_path / "v1.jsonl", server, "v1")
        assert all(row["score"] is None for row in rows)  # one number where two were asked for
        known = server.requests[-1]["messages"][1]["content"]
        assert "blur_lens" in known and known.index("Assistant 1: The truth") < known.index("Assistant 2: words")


def test_busy_answers_are_asked_again_and_rejected_ones_are_errors(tmp_path):
    test_set = detailed_set(None)

    def answer(number, request):
        text = request["messages"][1]["content"]
        if "words on w2" in text:
            return 400, {}, {"error": {"message": "too long"}}
        return (503, {}, b"busy") if number % 2 else said("5")

    with chat_server(answer) as server:
        rows = grade(test_set, answers_of(test_set), tmp_path / "scores.jsonl", server)
        by_id = {row["id"]: row for row in rows}
        assert "too long" in by_id["w2"]["error"] and summary(rows)["failed"] == 1
        assert [by_id[i]["score"] for i in ("w0", "w3", "w4", "w5")] == [5.0] * 4
        before = len(server.requests)
        grade(test_set, answers_of(test_set), tmp_path / "scores.jsonl", server)
        assert len(server.requests) == before + 1  # only the rejected one


@pytest.mark.slow
def test_an_endpoint_that_breaks_down_keeps_what_was_scored(tmp_path):
    test_set, path = detailed_set(None, 40), tmp_path / "scores.jsonl"

    def breaks(number, request):
        return said("6") if number < 10 else (401, {}, {"error": {"message": "no credit"}})

    with chat_server(breaks) as server, pytest.raises(EndpointError, match="no credit"):
        grade(test_set, answers_of(test_set), path, server)
    kept = len(path.read_text().splitlines())
    assert kept == 10  # also what was under way when the first refusal came
    with chat_server(lambda number, request: said("6")) as server:
        rows = grade(test_set, answers_of(test_set), path, server)
        assert len(rows) == 39 and len(server.requests) == 39 - kept


@pytest.mark.slow
def test_a_request_that_is_never_answered_is_an_error_until_the_endpoint_is_down(tmp_path):
    test_set, path = detailed_set(None, 40), tmp_path / "scores.jsonl"

    def picky(number, request):
        return (503, {}, b"busy") if "words on w7" in request["messages"][1]["content"] else said("6")

    with chat_server(picky) as server:
        rows = grade(test_set, answers_of(test_set), path, server, attempts=2)
        assert [row["id"] for row in rows if "error" in row] == ["w7"] and summary(rows)["count"] == 38
    test_set = detailed_set(None, 200)
    with chat_server(lambda number, request: (503, {}, [(0.02, b"busy")])) as server:
        with pytest.raises(EndpointError, match="no answer"):
            grade(test_set, answers_of(test_set), tmp_path / "other.jsonl", server, attempts=1)
        assert PATIENCE <= len(server.requests) < 199


@pytest.fixture
def questions(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(3):
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
    one, two = "What is the ONE issue?" + tasks.SHORT_TAIL, "What are the TWO issues?" + tasks.SHORT_TAIL
    pair = {"image_ref": "0.png", "image_A": "1.png", "image_B": "2.png"}
    rows = [
        {"id": "one", **PLAIN, "query": one, "answer": "Color quantization"},
        {"id": "two", **PLAIN, "query": two, "answer": "Noise and blur"},
        {"id": "pair", **pair, "query": "Which is better?" + tasks.SHORT_TAIL, "answer": "Image B"},
        {"id": "talk", **PLAIN, "query": "Describe it.", "answer": "It is fine."},
        {"id": "gone", **PLAIN, "image_A": "gone.png", "query": one, "answer": "Blur"},
    ]
    types = ["quality_single_A_noref"] * 2 + ["quality_compare"] + ["quality_single_A_noref"] * 2
    return TestSet("made", tmp_path, rows, types)


def test_a_peer_gets_the_pictures_in_order_and_the_allowed_answers(questions):
    def content(index):
        system, user = messages(questions, questions.records[index], questions.task_types[index])
        return system["content"], user["content"]

    system, parts = content(2)
    assert "Reference Image" in system
    assert [p["text"] for p in parts if p["type"] == "text"][:3] == ["Reference Image:", "Image A:", "Image B:"]
    for name, part in zip("012", (p for p in parts if p["type"] == "image_url")):
        data = base64.b64decode(part["image_url"]["url"].split(",")[1])
        assert np.array_equal(Image.open(io.BytesIO(data)), Image.open(questions.root / f"{name}.png"))
    assert parts[-1]["text"].endswith("Answer with exactly one of: Image A, Image B.")
    assert "Color quantization" in content(0)[1][-1]["text"] and "' and '" not in content(0)[1][-1]["text"]
    assert "two of these joined by ' and '" in content(1)[1][-1]["text"]
    assert content(3)[1][-1]["text"] == "Describe it." and "Reference" not in content(3)[0]


@pytest.mark.parametrize("query", ["Is it blurry?" + tasks.SHORT_TAIL, "How clear is it? A. Very B. Not"])
def test_a_peer_is_asked_other_short_questions_as_they_are(questions, query):
    record = {**questions.records[0], "query": query}
    assert messages(questions, record, "quality_single_A_noref")[1]["content"][-1]["text"] == query


def test_a_peer_is_scored_as_strictly_as_the_judge(questions, tmp_path):
    replies = {
        "ONE": "Color quantization\n",
        "TWO": "Blur and noise",
        "better": "The better one is Image B",
        "Describe": "Fine words.",
    }

    def answer(number, request):
        question = request["messages"][1]["content"][-1]["text"]
        return said(next(reply for key, reply in replies.items() if key in question))

    with chat_server(answer) as server:
        file = AnswerFile(tmp_path / "answers.jsonl", {})
        answers = file.fill(questions.ids, vlm_answers(client_of(server, "vlm"), questions), "test")
    result = score(questions, answers)
    accuracy = {kind: found["accuracy"] for kind, found in result["metrics"].items()}
    assert accuracy == {"identification": 0.5, "two distortions": 1.0, "rating": 0.0}  # "gone" counts as wrong
    assert result["metrics"]["rating"]["unparsed"] == 1 and result["metrics"]["identification"]["unparsed"] == 0
    assert result["failed"] == 1 and "gone.png" in result["failures"][0]["error"]
    assert "ece" not in result["metrics"]["identification"]  # no confidence, no calibration
    assert judged.detailed(questions) == [3]


def test_what_is_written_is_found_again(tmp_path):
    """Lines are not cut at characters that only look like line ends."""
    texts = ["a\u2028b", "c\u0085d", "e\x0cf", "g\nh"]
    file = tmp_path / "answers.jsonl"
    with chat_server(lambda *_: (200, {}, completion("x"))) as server:
        source = endpoint_answers(
            Client(Endpoint(server.base, "m")), texts, lambda index: {"text": texts[index], "confidence": None}
        )
        AnswerFile(file, {}).fill(texts, source, "test")

    def never(indexes, keep):
        raise AssertionError("asked again")

    file.write_bytes(file.read_bytes() + b'{"id": [1]}\n' + b"[" * 100_000 + b'\n\xff\n{"id": "cut')
    assert [row["text"] for row in AnswerFile(file, {}).fill(texts, never, "test")] == texts
    assert len(file.read_bytes().splitlines()) == 4
