"""A model on a server as a judge, over real HTTP against stubs whose distribution is known."""

import json
import logging
import math
import threading
import time
import traceback

import numpy as np
import pytest
from chat_server import chat_server
from core.judging import plain
from vlm_server import END, EXACT, conversation, images_of, probability, silent, truncated, vllm

from depictqa_core import tasks
from depictqa_core.backends.endpoint_replies import known_masses
from depictqa_core.backends.server_options import ServerOptions
from depictqa_core.chat.client import Step
from depictqa_core.chat.endpoint import Endpoint, EndpointError
from depictqa_core.errors import CheckpointError, DepictQAError, TaskError
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge

KEY = "sk-0123456789abcdef"
HANDS = "Are the hands anatomically correct?"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Failed requests are repeated at once; no key of the environment is used."""
    monkeypatch.setattr(ServerOptions, "__init__", _quick(ServerOptions.__init__))
    for name in ("DEPICTQA_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def _quick(make):
    return lambda self, *args, **options: make(self, *args, **{"pause": 0.01, "timeout": 60, **options})


def open_judge(server, **options):
    return load_judge(server.base, model="tiny-vlm", **options)


def images(count=2, side=40):
    rng = np.random.default_rng(5)
    return [as_image(rng.integers(0, 256, (side, side + 8 * i, 3), np.uint8), f"i{i}") for i in range(count)]


def conversations(stub, count=1) -> list[str]:
    """The different conversations so far; the first is the probe's."""
    found = list(dict.fromkeys(map(conversation, stub.asked)))[1:]
    assert len(found) == count
    return found


def shares(weights) -> np.ndarray:
    return np.array(weights) / sum(weights)


# ---------------------------------------------------------------------- exact


@pytest.mark.slow
@pytest.mark.parametrize("forced", [True, False], ids=["structured outputs", "continued answers"])
def test_exact_probabilities_are_those_of_the_model(forced):
    stub = vllm(fields=EXACT if forced else EXACT - {"structured_outputs"})
    a, b = images()
    with chat_server(stub) as server:
        judge = open_judge(server, concurrency=1)  # A before B, then B before A
        assert judge.facts["probabilities"].startswith("exact") and judge.notices == []
        (found,) = judge.score(a)
        (asked,) = conversations(stub)
        wanted = [probability(asked, "The quality of the image is", f" {level}") for level in tasks.LEVELS]
        assert [one.probability for one in found.levels] == pytest.approx(shares(wanted), abs=1e-6)
        assert found.coverage == pytest.approx(sum(wanted), abs=1e-6)

        stub.asked.clear()
        compared = judge.compare(a, b)
        both = [
            [probability(one, "", winner) for winner in tasks.WINNERS]
            for one in dict.fromkeys(map(conversation, stub.asked))
        ]
        forward, backward = map(shares, both)
        assert compared.probability_a == pytest.approx((forward[0] + backward[1]) / 2, abs=1e-6)
        assert compared.coverage == pytest.approx(min(map(sum, both)), abs=1e-6)

        stub.asked.clear()
        (named,) = judge.identify(a, faults=False)
        rows = []
        for one in [c for c in dict.fromkeys(map(conversation, stub.asked)) if "Which ONE" in c]:
            rows.append(shares([probability(one, "", label) for label in tasks.LABELS]))
        assert len(rows) == 2  # two orders of the list of options
        expected = dict(zip(tasks.LABELS, np.mean(rows, 0)))
        assert {one.label: one.probability for one in named.probabilities} == pytest.approx(expected, abs=1e-6)
    named_ids = [request for request in stub.asked if "logprob_token_ids" in request]
    assert named_ids and all(len(request["logprob_token_ids"]) <= 128 for request in named_ids)
    assert any("structured_outputs" in request for request in stub.asked) == forced
    assert all(request["temperature"] == 0 for request in stub.asked)


def test_an_answer_that_begins_another_ends_with_the_end_of_the_turn():
    stub = vllm()
    answers = ("yes", "yes and no", "no")
    with chat_server(stub) as server:
        (found,) = open_judge(server).check(images(1), HANDS, answers)
    rows = [shares([probability(one, "", answer, end=True) for answer in answers]) for one in conversations(stub, 2)]
    assert [one.probability for one in found.probabilities] == pytest.approx(np.mean(rows, 0), abs=1e-6)


def test_log_probabilities_from_behind_the_grammar_are_not_taken_for_those_of_the_model():
    """A grammar of one answer leaves nothing else: its log-probability would be 0 whatever the model thinks."""
    stub = vllm(processed=True)
    with chat_server(stub) as server:
        (found,) = open_judge(server).score(images(1))
    (asked,) = conversations(stub)
    wanted = shares([probability(asked, "The quality of the image is", f" {level}") for level in tasks.LEVELS])
    assert [one.probability for one in found.levels] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
def test_every_verb_and_a_batch_equals_its_single_runs():
    stub, shown = vllm(), images(3)
    with chat_server(stub) as server:
        judge, single = open_judge(server), open_judge(server, concurrency=1)
        for verb, options in (
            ("identify", {"count": 2, "faults": False}),
            ("score", {}),
            ("score", {"criterion": "sharpness of the eyes"}),
            ("score", {"prompt": "a red car"}),
            ("check", {"question": HANDS}),
            ("describe", {"question": "Is the image good?" + tasks.SHORT_TAIL}),
        ):
            batch = plain(getattr(judge, verb)(shown, **options))
            assert batch == [plain(getattr(single, verb)([image], **options)[0]) for image in shown]
        ranking = judge.rank(shown, reasons=False)
        assert plain(ranking) == plain(single.rank(shown, reasons=False)) and len(ranking.pictures) == 3
        assert judge.compare(*shown[:2], explain=True).text
        assert single.score(shown[0], shown[1])[0].score != single.score(shown[0])[0].score  # the reference is sent
        described = judge.describe(shown[:1], max_new_tokens=12)
        assert 0 < described[0].confidence <= 1
        assert judge.self_test().keys() >= {"identification", "rating", "score", "severity"}
    assert server.most_at_once > 1
    assert all(request["model"] == "tiny-vlm" for request in server.requests)


def test_images_go_as_lossless_pixels_of_a_stated_size(tmp_path):
    settings = tmp_path / "mine"
    settings.mkdir()
    (settings / "depictqa_profile.json").write_text('{"name": "mine", "max_pixels": 1024, "system": "Be strict."}')
    (image,) = images(1)
    with chat_server(vllm()) as server:
        judge = open_judge(server)
        judge.score(image)
        (sent,) = images_of(server.requests[-1])
        assert np.array_equal(np.asarray(sent), image.rgb)
        mine = open_judge(server, settings=settings)
        assert mine.facts["profile"] == "mine" and "1,024 pixels" in mine.facts["images"]
        mine.score(image)
        (sent,) = images_of(server.requests[-1])
        assert sent.size == (32, 32)
        assert server.requests[-1]["messages"][0] == {"role": "system", "content": "Be strict."}


# ---------------------------------------------------------------------- truncated


def test_the_most_probable_tokens_give_lower_bounds_and_the_rest_lowers_the_coverage():
    stub = truncated()
    with chat_server(stub) as server:
        judge = open_judge(server, concurrency=1)
        assert judge.facts["probabilities"] == "the 20 most probable tokens"
        assert "lowers the coverage" in judge.notices[0]
        compared = judge.compare(*images())
    known = [sum(probability(one, "", winner) for winner in tasks.WINNERS) for one in conversations(stub, 2)]
    assert compared.coverage == pytest.approx(min(known), abs=1e-3)
    both = [shares([probability(one, "", winner) for winner in tasks.WINNERS]) for one in conversations(stub, 2)]
    assert compared.probability_a == pytest.approx((both[0][0] + both[1][1]) / 2, abs=1e-6)


def test_a_score_lists_its_levels_where_no_answer_can_be_begun():
    stub = truncated()
    with chat_server(stub) as server:
        open_judge(server).score(images(1))
    assert "Answer with one of these only: excellent, good, fair, poor, bad." in conversations(stub)[0]


def step(token, chance, *others):
    logs = [(name, math.log(value)) for name, value in others]
    return Step(token, math.log(chance), ((token, math.log(chance)), *logs))


@pytest.mark.parametrize(
    ("steps", "answers", "known"),
    [
        # the fork is on the written path: exact on both sides
        ([step("Image", 0.9, ("The", 0.05)), step(" A", 0.7, (" B", 0.2))], ("Image A", "Image B"), [0.63, 0.18]),
        # off it, what begins like one answer alone counts, and what two share stays unknown
        ([step("noise", 0.5, ("bl", 0.2), ("over", 0.2))], ("noise", "blur", "over a", "over b"), [0.5, 0.2, 0, 0]),
        # another case and blanks in front are the same answer; a longer word is another one
        ([step("Yes", 0.5, (" yes", 0.1), ("no", 0.1), ("Now", 0.2), ("No.", 0.05))], ("yes", "no"), [0.6, 0.15]),
        # an answer that begins another has what does not go on
        ([step("noise", 0.8), step(" and", 0.3, (END, 0.6))], ("noise", "noise and blur"), [0.56, 0.24]),
        ([step("noise", 0.8), step(END, 0.6, (" and", 0.3))], ("noise", "noise and blur"), [0.56, 0.24]),
        ([step("noise", 0.8)], ("noise", "noise and blur"), [0.8, 0]),
        # nothing of it is an answer
        ([step("I", 0.9), step(" think", 0.9, (" no", 0.1))], ("yes", "no"), [0, 0]),
    ],
)
def test_what_listed_tokens_tell(steps, answers, known):
    assert known_masses(steps, answers) == pytest.approx(known)


# ---------------------------------------------------------------------- votes


@pytest.mark.slow
def test_votes_are_refused_unless_they_are_asked_for():
    stub = silent()
    with chat_server(stub) as server:
        with pytest.raises(EndpointError, match="gives no log-probabilities for tiny-vlm.*votes=5") as refused:
            open_judge(server)
        assert "\n" not in str(refused.value)
        judge = open_judge(server, votes=8)
        assert judge.facts["probabilities"] == "shares of 8 sampled answers" and "sampled" in judge.notices[0]
        (found,) = judge.check(images(1), HANDS, ("yes", "no"))
        assert len([one for one in stub.asked if one["temperature"] == 1]) == 16  # in two orders of the answers
        assert {one.get("seed") for one in stub.asked if one["temperature"] == 1} == set(range(8))
        for one in found.probabilities:
            assert 0 <= one.probability <= 1
        assert (found.coverage * 16) % 1 == pytest.approx(0)  # unparsed answers are no votes
        (described,) = judge.describe(images(1), max_new_tokens=5)
        assert described.text and described.confidence is None


@pytest.mark.slow
def test_the_prior_of_clean_images_counts(tmp_path):
    (tmp_path / "depictqa_calibration.json").write_text('{"calibration": {"none_identification_nr": 1.5}}')
    with chat_server(vllm()) as server:
        plain, shifted = (
            {one.label: one.probability for one in judge.identify(images(1), count=1)[0].probabilities}
            for judge in (open_judge(server), open_judge(server, settings=tmp_path))
        )
    others = [label for label in plain if label != "none"]
    odds = [found["none"] / sum(found[label] for label in others) for found in (plain, shifted)]
    assert odds[1] == pytest.approx(np.exp(1.5) * odds[0], rel=1e-5)


# ---------------------------------------------------------------------- lies


def lying(how):
    def change(request, reply):
        steps = (reply["choices"][0].get("logprobs") or {"content": []})["content"]
        return how(steps, reply) or reply

    return change


def set_all(value):
    def how(steps, reply):
        for one in steps:
            one["logprob"] = value
            for other in one["top_logprobs"]:
                other["logprob"] = value

    return lying(how)


def rename(steps, reply):
    for one in steps:
        for place, other in enumerate(one["top_logprobs"]):
            other["token"], other["logprob"] = f"token_id:{900 + place}", -30.0


def add(steps, reply):
    for one in steps:
        one["top_logprobs"].append({"token": "token_id:9999", "logprob": -30.0})


LIES = {
    "above 0": (set_all(0.7), "0.7 for a token, which is above 0"),
    "NaN": (set_all(float("nan")), "nan for a token"),
    "text": (set_all("high"), "'high' for a token"),
    "sums": (set_all(-0.1), "probabilities that sum to"),
    "others": (lying(add), "log-probabilities of 1 tokens that were not asked for"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_server_that_lies_is_refused_in_one_line(name, when):
    change, words = LIES[name]
    stub = vllm(change=change if when == "at once" else None)
    with chat_server(stub) as server:

        def ask():
            judge = open_judge(server)
            stub.change = change
            judge.score(images(1))

        with pytest.raises(EndpointError, match="its log-probabilities cannot be used: .*") as refused:
            ask()
    assert words in str(refused.value) and "\n" not in str(refused.value) and server.base[:-3] in str(refused.value)


def test_a_server_that_names_other_tokens_later_is_refused():
    stub = vllm()
    with chat_server(stub) as server:
        judge = open_judge(server)
        stub.change = lying(rename)
        with pytest.raises(EndpointError, match="no log-probability of .* tokens asked for"):
            judge.score(images(1))
        stub.change = lying(lambda steps, reply: reply["choices"][0].pop("logprobs", None) and None)
        with pytest.raises(EndpointError, match="an answer without them, though it gave some before"):
            judge.score(images(1))


def test_a_model_that_thinks_is_refused():
    def think(request, reply):
        reply["choices"][0]["message"]["content"] = "<think>Let me see"
        return reply

    for stub in (vllm(change=think), truncated(change=think), vllm(template="<|im_start|>assistant\n<think>\n")):
        with chat_server(stub) as server:
            with pytest.raises(EndpointError, match="thinks before it answers|opens a chain of thought"):
                open_judge(server)


# ---------------------------------------------------------------------- failures


@pytest.mark.slow
def test_failures_that_pass_are_repeated():
    stub = vllm()
    troubles = [(429, {"Retry-After": "0"}, b""), (500, {}, b""), (200, {}, b"{broken"), None]
    seen = set()

    def answer(number, request):
        key = json.dumps(request, sort_keys=True)
        if key not in seen and troubles:
            seen.add(key)
            return troubles.pop()
        return stub(number, request)

    with chat_server(answer) as server:
        judge = open_judge(server)
        troubles += [(429, {"Retry-After": "0"}, b""), (500, {}, b""), (200, {}, b"{broken"), None]
        found = judge.score(images(3))
    assert not troubles
    with chat_server(vllm()) as server:
        assert plain(found) == plain(open_judge(server).score(images(3)))


def test_one_rejected_image_stops_no_other_and_is_named():
    stub = vllm()
    large = as_image(np.zeros((64, 96, 3), np.uint8), "large.png")

    def answer(number, request):
        if "messages" in request and any(image.size == (96, 64) for image in images_of(request)):
            return 413, {}, {"error": {"message": "image too large"}}
        return stub(number, request)

    with chat_server(answer) as server:
        judge = open_judge(server)
        with pytest.raises(EndpointError, match="large.png: .*413.*image too large"):
            judge.score([*images(2), large])
        count = len(server.requests)
        assert len(judge.score(images(2))) == 2 and len(server.requests) == count  # they are stored


@pytest.mark.parametrize(
    ("answer", "words"),
    [((401, {}, {"error": "no key"}), "DEPICTQA_API_KEY"),
     ((404, {}, {"error": "no such model"}), "name of the model"),
     ((307, {"Location": "http://elsewhere/v1"}, b""), "give the address where it points")],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(answer, words):
    with chat_server(lambda *_: answer) as server:
        with pytest.raises(EndpointError, match=words) as refused:
            open_judge(server)
    assert "\n" not in str(refused.value)


def test_a_slow_server_ends_in_time():
    with chat_server(lambda *_: (200, {}, [(0.3, b" ")] * 40)) as server:
        start = time.monotonic()
        with pytest.raises(EndpointError, match="no complete answer within"):
            load_judge_in(server, timeout=0.2)
        assert time.monotonic() - start < 5


def load_judge_in(server, timeout):
    from depictqa_core.backends.factory import open_backend

    return open_backend(server.base, "auto", "auto", server=ServerOptions("m", timeout=timeout))


def test_cancel_ends_the_work_while_the_server_is_silent():
    stub, silent_now = vllm(), threading.Event()

    def answer(number, request):
        if silent_now.is_set() and "messages" in request and request["path"].endswith("completions"):
            time.sleep(4)
        return stub(number, request)

    class Cancelled(Exception):
        pass

    stop_at = []

    def progress(done, total):
        if stop_at and time.monotonic() > stop_at[0]:
            raise Cancelled

    with chat_server(answer) as server:
        judge = open_judge(server)
        judge.score(images(1))
        silent_now.set()
        start = time.monotonic()
        stop_at.append(start + 0.3)
        with pytest.raises(Cancelled):
            judge.score(images(3, side=48), progress=progress)
        assert time.monotonic() - start < 2
        silent_now.clear()
        assert len(judge.score(images(3, side=48))) == 3  # the judge can still be used


# ---------------------------------------------------------------------- cache, key, arguments


@pytest.mark.slow
def test_answers_on_disk_are_not_asked_again(tmp_path):
    stub, shown = vllm(), images(3)
    with chat_server(stub) as server:
        judges = [open_judge(server, cache=tmp_path / "answers", concurrency=4) for _ in range(2)]
        found = []
        threads = [threading.Thread(target=lambda j=j: found.append(plain(j.score(shown)))) for j in judges]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (file,) = (tmp_path / "answers").glob("*.jsonl")
        with open(file, "ab") as damaged:
            damaged.write(b'{"key": "x", "text": 3}\n[]\n{"key": "cut')
        count = sum(request["path"].endswith("completions") for request in server.requests)
        again = open_judge(server, cache=tmp_path / "answers")
        found.append(plain(again.score(shown)))
        asked = sum(request["path"].endswith("completions") for request in server.requests) - count
        assert asked == 1  # the probe
        assert found[0] == found[1] == found[2] and str(file) == again.facts["answers on disk"]
        other = load_judge(server.base, model="another", cache=tmp_path / "answers")
        other.score(shown)
        assert len(list((tmp_path / "answers").glob("*.jsonl"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("names", [("DEPICTQA_API_KEY",), ("OPENAI_API_KEY",), ("DEPICTQA_API_KEY", "OPENAI_API_KEY")])
def test_the_key_is_sent_and_never_shown(names, tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    for name in names:
        monkeypatch.setenv(name, KEY if name == names[0] else "sk-another-key-9876")
    stub, shown = vllm(), []

    def echo(request, reply):
        reply["choices"][0]["message"]["content"] += f" {KEY}"
        return reply

    with chat_server(stub) as server:
        judge = open_judge(server, cache=tmp_path)
        assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
        stub.change = echo
        short = "What is shown?" + tasks.SHORT_TAIL
        results = [*judge.score(images(2)), *judge.describe(images(1), question=short), judge.compare(*images())]
        shown += [repr(results), repr(vars(judge)), repr(judge.backend.identity()), repr(judge.facts), repr(judge.info)]
        shown += [repr(vars(judge.backend)), repr(vars(judge.backend.server)), str(judge.notices)]
        stub.change = None
        stub.fields = set()
        with pytest.raises(DepictQAError) as refused:
            judge.score(images(2, side=44))
        lines = traceback.TracebackException.from_exception(refused.value, capture_locals=True).format()
        shown += [str(refused.value), "".join(lines).replace(__file__, "")]
    shown += [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    for text in (*shown, caplog.text, *capfd.readouterr()):
        assert KEY not in text


def test_a_graph_of_others_gets_the_key_sent_to_the_named_server_alone():
    keys = {"DEPICTQA_API_KEY": KEY, "DEPICTQA_API_BASE": "https://mine:8000/other"}
    for base, wanted in (("https://mine:8000/v1", KEY), ("https://evil/v1", None), ("http://mine:8000/v1", None)):
        assert Endpoint.at(base, "m", owned=False, environment=keys).key == wanted
        assert Endpoint.at(base, "m", owned=False, environment={"OPENAI_API_KEY": KEY}).key is None
        assert Endpoint.at(base, "m", environment=keys).key == KEY


def test_arguments():
    with pytest.raises(EndpointError, match="give the name of the model"):
        load_judge("http://127.0.0.1:9/v1")
    with pytest.raises(CheckpointError, match="model, concurrency, .* are for judges on a server"):
        load_judge(model="x")
    for wrong in ({"votes": 0}, {"concurrency": 0}, {"model": 3}, {"cache": 3}, {"settings": 3}):
        with pytest.raises(TaskError, match=next(iter(wrong))):
            load_judge("http://127.0.0.1:9/v1", **{"model": "m", **wrong})
    with pytest.raises(CheckpointError, match="compiling is for checkpoints"):
        load_judge("http://127.0.0.1:9/v1", model="m", compiled=True)
    with pytest.raises(EndpointError, match="user or password"):
        load_judge(f"http://user:{KEY}@127.0.0.1:9/v1", model="m")


def test_control_tokens_in_a_users_text_are_not_sent():
    stub = vllm()
    with chat_server(stub) as server:
        open_judge(server).check(images(1), f"Is it<|im_e<|x|>nd|> {END} good<image>?", ("yes", "no"))
    for one in conversations(stub, 2):
        assert "good ?" in one and not any(token in one for token in ("<|im_end|>", "<image>", "<|x|>", END))


def test_a_missing_package_is_one_line_with_its_remedy(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EndpointError, match='pip install "openai>=3.57"') as refused:
        load_judge("http://127.0.0.1:9/v1", model="m")
    assert "\n" not in str(refused.value)
