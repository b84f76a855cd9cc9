"""Detailed answers: what is asked, which answers are dropped, and collecting them from a real HTTP server."""

import json
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from chat_server import chat_server, completion
from PIL import Image
from trees import ROOT

from depictqa_core.chat.client import Client
from depictqa_core.chat.endpoint import Endpoint, EndpointError
from depictqa_core.errors import StorageError
from training import distortions
from training.__main__ import main
from training.dataset.building.plan import Plan, Wanted
from training.dataset.building.samples import KINDS, sample_store
from training.dataset.detailed import answer_checks as checks
from training.dataset.detailed.answer_checks import one_line, problem, stated_winner
from training.dataset.detailed.collection import answers_file, collect, estimate, kept_answers, pending
from training.dataset.detailed.requests import Expected, expected, messages, request_text
from training.dataset.records import descriptions
from training.dataset.records.fr_to_nr import without_reference
from training.dataset.records.labels import ANCHORS, quality


def distortion(name, severity):
    return {"category": distortions.CATEGORY[name], "name": name, "severity": severity}


def variant(image, *steps):
    seen = {
        name: values[min(5, max((severity for _, severity in steps), default=0))] for name, values in ANCHORS.items()
    }
    return {
        "image": image, "distortions": [distortion(*step) for step in steps], "metrics": seen,
        "where": None, "quality": 0.5,
    }  # fmt: skip


def sample(scene, *variants):
    return {
        "scene": scene,
        "source": "s",
        "reference": "ref.png",
        "height": 224,
        "width": 299,
        "variants": list(variants),
    }


# ---- requests


def test_the_request_states_truth_parts_limit_and_pictures(tmp_path):
    for name in ("ref.png", "a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    one = sample(0, variant("a.png", ("blur_lens", 3)))
    want = expected(KINDS["assessment_single"], one)
    text = request_text(want)
    assert "obvious blur" in text and "at most 100 words" in text and "Never mention the reference" in text
    assert all(part in text for part in ("First, ", "Second, ", "Third, "))
    system, user = messages(one, want, tmp_path)
    titles = [part["text"] for part in user["content"][1:] if part["type"] == "text"]
    assert system["role"] == "system" and titles == ["Reference image:", "Image:"]
    assert sum(part["type"] == "image_url" for part in user["content"]) == 2

    two = sample(0, variant("a.png", ("noise_poisson", 1), ("pixelate", 3)), variant("b.png"))
    want = expected(KINDS["comparison_double"], two)
    text = request_text(want)
    assert "slight noise and then serious pixelation" in text and "Image B has no distortion" in text
    assert "at most 170 words" in text and want.winner == "B" and "finds Image B better" in text
    titles = [p["text"] for p in messages(two, want, tmp_path)[1]["content"][1:] if p["type"] == "text"]
    assert titles == ["Reference image:", "Image A:", "Image B:"]

    assert expected(KINDS["assessment_double"], sample(0, variant("ref.png"))).words == 100  # pristine
    assert (
        expected(KINDS["comparison_single"], two).reference and not expected(KINDS["comparison_double"], two).reference
    )
    undecided = sample(0, variant("a.png", ("blur_lens", 2)), variant("b.png", ("blur_zoom", 2)))
    assert "better. Follow" not in request_text(expected(KINDS["comparison_single"], undecided))


# ---- checks

BLUR = Expected(({"blur": "serious"},), 100, False)
PAIR = Expected(({"blur": "serious"}, {"noise": "slight"}), 150, True, "B")
CLEAN = Expected(({},), 100, False)
LONG = " The scene shows a wooden house beside a calm lake with trees and mountains in the far background of it."
GOOD_PAIR = (
    "Both images show a wooden house beside a lake. Image A suffers from serious blur, which hides the boards, while "
    "Image B has slight noise that barely disturbs the sky. Overall, Image B is better than Image A."
)

FOREIGN_PAIR = GOOD_PAIR.replace("from serious blur", "from noise and serious blur")  # the noise is in Image B
UNDECIDED_PAIR = GOOD_PAIR.replace("Image B is better than Image A", "both are fine to look at")
WRONG_PAIR = GOOD_PAIR.replace("Image B is better than Image A", "Image A is better than Image B")


@pytest.mark.parametrize(
    "want, text, finish, reason",
    [
        (BLUR, "Serious blur hides the boards." + LONG, "stop", None),
        (BLUR, "The image is badly blurred and free of noise or compression." + LONG, "stop", None),
        (CLEAN, "There is no noise, blur or compression in it." + LONG, "stop", None),
        (PAIR, GOOD_PAIR, "stop", None),
        (PAIR, GOOD_PAIR.replace("Both images", "Compared to the reference, both images"), "stop", None),
        (BLUR, "I'm sorry, but I can't help with that." + LONG, "stop", checks.REFUSED),
        (BLUR, "I cannot see the image that you mention." + LONG, "stop", checks.REFUSED),
        (BLUR, "Serious blur." + LONG, "content_filter", checks.REFUSED),
        (BLUR, "Serious blur hides the boards." + LONG, "length", checks.CUT_OFF),
        (BLUR, "", "stop", checks.EMPTY),
        (BLUR, "Serious blur hides the boards of a house.", "stop", checks.TOO_SHORT),
        (BLUR, "Serious blur hides the boards." + 5 * LONG, "stop", checks.TOO_LONG),
        (BLUR, "Compared to the reference image there is serious blur." + LONG, "stop", checks.REFERENCE),
        (BLUR, "Serious blur hides the boards, and noise covers the sky." + LONG, "stop", checks.FOREIGN_NAMED),
        (CLEAN, "Slight pixelation is visible." + LONG, "stop", checks.FOREIGN_NAMED),
        (BLUR, "The image is of a low quality indeed." + LONG, "stop", checks.LEFT_OUT),
        (BLUR, "There is no blur here at all." + LONG, "stop", checks.LEFT_OUT),
        (BLUR, "Slight blur hides the boards." + LONG, "stop", checks.WRONG_DEGREE),
        (PAIR, FOREIGN_PAIR, "stop", checks.FOREIGN_NAMED),
        (PAIR, UNDECIDED_PAIR, "stop", checks.NO_WINNER),
        (PAIR, WRONG_PAIR, "stop", checks.WRONG_WINNER),
    ],
)  # fmt: skip
def test_answers_are_dropped_for_these_reasons(want, text, finish, reason):
    assert problem(text, finish, want) == reason


WORST = Expected(({"blur": "catastrophic"},), 100, False)
DARK = Expected(({"insufficient brightness": "moderate"},), 100, False)
HIDES = "Catastrophic blur hides the boards"


@pytest.mark.parametrize(
    "want, text, reason",
    [
        # a pristine image, and one that is dark, are called what they are not
        (CLEAN, "It is quite blurred and noisy, of poor quality.", checks.FOREIGN_NAMED),
        (CLEAN, "Nothing is wrong with it, yet it is of poor quality.", checks.QUALITY),
        (CLEAN, "It has no people in it and is quite grainy.", checks.FOREIGN_NAMED),
        (CLEAN, "The image isn't only out of focus.", checks.FOREIGN_NAMED),
        (DARK, "Moderate insufficient brightness, also heavily overexposed and too bright.", checks.FOREIGN_NAMED),
        (DARK, "Moderate insufficient brightness, also noisy and grainy.", checks.FOREIGN_NAMED),
        (DARK, "Moderate insufficient brightness; it is blurry.", checks.FOREIGN_NAMED),
        (DARK, "Moderate insufficient brightness, and full of JPEG block artifacts.", checks.FOREIGN_NAMED),
        (DARK, "Moderate insufficient brightness lacks detail because of noise.", checks.FOREIGN_NAMED),
        # the degree in other words
        (WORST, "It is only slightly blurry.", checks.WRONG_DEGREE),
        (WORST, "There is a mild blur.", checks.WRONG_DEGREE),
        (WORST, "It is barely affected by blur, hardly visible.", checks.WRONG_DEGREE),
        (WORST, "The blur is only minor.", checks.WRONG_DEGREE),
        (WORST, "There is some blur, hardly visible.", checks.WRONG_DEGREE),
        (WORST, f"{HIDES}. The image is of excellent quality.", checks.QUALITY),
        (DARK, "The extremely low brightness hides it.", checks.WRONG_DEGREE),
        # refusals in any words
        (BLUR, "I can\u2019t help with that.", checks.REFUSED),
        (BLUR, "Serious blur. I must decline to describe it.", checks.REFUSED),
        (BLUR, "Unfortunately, I cannot identify people.", checks.REFUSED),
        (BLUR, "I'm not able to say whether there is serious blur.", checks.REFUSED),
        # and what is good in spite of such words
        (BLUR, "Serious blur hides the boards. Noise-free otherwise.", None),
        (BLUR, "Serious blur hides the boards. I cannot see any noise.", None),
        (BLUR, "It lacks detail because of serious blur.", None),
        (BLUR, "It is very blurry, which slightly disturbs the view, and the light is soft.", None),
        (BLUR, "The blur is serious, not mild, and isn't noisy.", None),
        (BLUR, "A minor house stands in serious blur, with a little boat and a faint trail.", None),
        (CLEAN, "It shows a dark alley, a bright red bus, a noisy crowd and soft light.", None),
        (CLEAN, "The grainy wood stands before a blurred background in low light.", None),
        (CLEAN, "It is of excellent quality, without any visible noise, blurry spots or JPEG blocks.", None),
        (CLEAN, "Strong contrast between dark trees and bright snow draws the eye.", None),
        (WORST, f"{HIDES} and a slightly open door.", None),
        (WORST, f"{HIDES}; it is slightly more than one can bear.", None),
    ],
)  # fmt: skip
def test_contradictions_in_other_words_are_dropped_and_ordinary_words_are_not(want, text, reason):
    assert problem(text + LONG, "stop", want) == reason


@pytest.mark.parametrize(
    "text, winner",
    [
        ("Image A is better than Image B.", "A"),
        ("Overall, Image B has a noticeably higher visual quality than Image A.", "B"),
        ("Image A is worse than Image B, which looks superior.", "B"),
        ("Image A is better. All in all, Image B is inferior to Image A.", "A"),
        ("Image A is not better than Image B.", "B"),
        ("Image A is better in color, and Image B is better in detail.", None),
        ("Both images are fine.", None),
    ],
)
def test_stated_winner(text, winner):
    assert stated_winner(text) == winner


@pytest.mark.slow
def test_composed_descriptions_pass_every_check():
    """What the factory composes itself is true by construction: a check that drops it is wrong."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        for name in ("assessment_single", "assessment_double", "comparison_single", "comparison_double"):
            kind, variants = KINDS[name], []
            for side in "AB"[: 1 + kind.pair]:
                steps = distortions.sample_two(rng) if kind.double else [distortions.sample_one(rng)]
                made = variant(f"{side}.png", *(steps if rng.random() > 0.1 else ()))
                variants.append({**made, "quality": quality(made["distortions"], made["metrics"])})
            want = expected(kind, sample(0, *variants))
            if kind.pair:
                if want.winner is None:
                    continue
                text = descriptions.comparison(*variants, want.winner == "A", rng, want.reference)
            else:
                text = descriptions.assessment(variants[0], rng, want.reference)
            assert problem(text, "stop", want) is None, (problem(text, "stop", want), text)


def test_one_line():
    assert one_line("**Content:** a house.\n\n- Blur is `there`.\n# Verdict\nIt is __poor__.") == (
        "Content: a house. Blur is `there`. Verdict It is poor."
    )


# ---- without reference


@pytest.mark.parametrize(
    "text, expected_text",
    [
        ("Compared to the reference, the image suffers from noise.", "The image suffers from noise."),
        ("It is fine. Compared with the high-quality reference image, it is blurry.", "It is fine. It is blurry."),
        ("The image, compared to the reference image, is very dark.", "The image is very dark."),
        ("Details are lost when compared to the reference image.", "Details are lost."),
        ("It is darker than the reference.", "It is darker."),
        ("The colors are duller than those in the reference image.", "The colors are duller."),
        ("It keeps most details from the reference image, so it wins.", "It keeps most details, so it wins."),
        ("Unlike the reference, the image has grain.", "The image has grain."),
        ("The reference image shows a dog. It runs.", "The image shows a dog. It runs."),
        ("Image A is close to the reference image.", "Image A is close to a high-quality image."),
        ("It looks like the reference image.", "It looks like a high-quality image."),
        ("Nothing to change here.", "Nothing to change here."),
        ("As a referenced standard, it fails.", None),
    ],
)
def test_rewriting(text, expected_text):
    assert without_reference(text) == expected_text


def test_rewriting_composed_descriptions_leaves_whole_sentences():
    rng = np.random.default_rng(1)
    mentioned = 0
    for _ in range(200):
        one = variant("a.png", *([distortions.sample_one(rng)] if rng.random() > 0.2 else []))
        text = descriptions.assessment(one, rng, reference=True)
        mentioned += "reference" in text
        plain = without_reference(text)
        assert descriptions.named(plain) == descriptions.named(text) and "  " not in plain and " ," not in plain
        for sentence in plain.removesuffix(".").split(". "):
            assert sentence[0].isupper() and not sentence.startswith((",", "Compared"))
        assert plain == text or "reference" in text
    assert mentioned > 50


# ---- collecting


def truthful(request: dict) -> str:
    """What a good model answers: the facts of the request in sentences."""
    text = request["messages"][1]["content"][0]["text"]
    facts = [line[2:] for line in text.splitlines() if line.startswith("- ") and "model finds" not in line]
    said = " ".join(fact.replace(", and no other distortion", "") for fact in facts)
    winner = "A" if "finds Image A" in text else "B"
    verdict = (
        f"Image {winner} is better than Image {'AB'.replace(winner, '')}." if len(facts) == 2 else "It can be judged."
    )
    return f"{said} This shows on the old house, the lake and the sky behind it. {verdict} Nothing more is to be said."


PLAN = Plan("p", 1, sets={"assessment_single": Wanted(12), "comparison_double": Wanted(6)})


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(3)
    for name in ("ref.png", "a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "samples").mkdir()
    for name, wanted in PLAN.sets.items():
        kind, lines = KINDS[name], []
        while len(lines) < wanted.samples:
            variants = [
                variant("a.png", *(distortions.sample_two(rng) if kind.double else [distortions.sample_one(rng)]))
            ]
            if kind.pair:
                variants.append(variant("b.png"))
            lines.append(json.dumps(sample(len(lines), *variants)))
        (tmp_path / "samples" / f"{name}-00000.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def client_of(server, **options):
    return Client(Endpoint(server.base, "vlm"), **{"first_pause": 0.01, "longest_pause": 0.02, "timeout": 5, **options})


def todo(root, **options):
    return [one for name in PLAN.sets for one in pending(PLAN, root, name, **options)]


@pytest.mark.slow
def test_collecting_and_going_on(root):
    troubles = {1: (429, {"Retry-After": "0"}, b""), 3: (500, {}, b""), 5: (200, {}, b"<html>"), 7: None}

    def answer(number, request):
        time.sleep(0.02)
        if number in troubles:
            return troubles[number]
        if number == 9:
            return 200, {}, completion("I'm sorry, I can't assist with that request about the image.")
        return 200, {}, completion(truthful(request))

    seen = []
    with chat_server(answer) as server:
        counts = collect(todo(root), root, client_of(server), concurrency=4, progress=seen.append)
    assert counts == {"kept": 17, checks.REFUSED: 1} and Counter(seen) == counts
    assert len(server.requests) == 18 + len(troubles) and 2 <= server.most_at_once <= 4
    assert todo(root) == [] and len(todo(root, again=True)) == 1
    kept = {name: kept_answers(root, name) for name in PLAN.sets}
    assert len(kept["assessment_single"]) + len(kept["comparison_double"]) == 17
    for line in sample_store(root, "assessment_single").read():
        text = kept["assessment_single"].get(line["scene"])
        assert text is None or distortions.ANSWER[line["variants"][0]["distortions"][0]["category"]] in text
    assert kept_answers(root, "assessment_double") is None

    with chat_server(lambda number, request: (200, {}, completion(truthful(request)))) as server:
        assert collect(todo(root, again=True), root, client_of(server)) == {"kept": 1}
    assert sum(len(kept_answers(root, name)) for name in PLAN.sets) == 18


def test_answers_about_other_pictures_are_not_used(root):
    with chat_server(lambda number, request: (200, {}, completion(truthful(request)))) as server:
        collect(todo(root), root, client_of(server))
    file = root / "samples" / "assessment_single-00000.jsonl"
    lines = file.read_text().splitlines()
    changed = json.loads(lines[4])
    step = changed["variants"][0]["distortions"][0]
    step["severity"] = step["severity"] % 5 + 1
    lines[4] = json.dumps(changed)
    file.write_text("".join(f"{line}\n" for line in lines))
    assert sorted(kept_answers(root, "assessment_single")) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert [one.index for one in todo(root)] == [4]


def test_one_refused_request_does_not_stop_the_others(root):
    def answer(number, request):
        return (
            (400, {}, {"error": {"message": "bad image"}}) if number == 2 else (200, {}, completion(truthful(request)))
        )

    with chat_server(answer) as server:
        assert collect(todo(root), root, client_of(server)) == {"kept": 17, "rejected by the endpoint": 1}


def test_a_wrong_key_or_a_dead_endpoint_stops_the_run(root):
    with chat_server(lambda *_: (401, {}, {"error": {"message": "no such key"}})) as server:
        with pytest.raises(EndpointError, match="401.*DEPICTQA_API_KEY"):
            collect(todo(root), root, client_of(server), concurrency=1)
        assert len(server.requests) == 1
    with chat_server(lambda *_: (503, {}, b"")) as server:
        with pytest.raises(EndpointError, match="no answer after 2 attempts"):
            collect(todo(root), root, client_of(server, attempts=2), concurrency=2)
        assert 20 <= len(server.requests) <= 24
    assert len(todo(root)) == 18  # nothing was written, all are asked again


CODE = """
import sys
from training.dataset.detailed.collection import collect, pending
from training.dataset.building.plan import Plan, Wanted
from depictqa_core.chat.client import Client
from depictqa_core.chat.endpoint import Endpoint
plan = Plan("p", 1, sets={"assessment_single": Wanted(12), "comparison_double": Wanted(6)})
todo = [one for name in plan.sets for one in pending(plan, sys.argv[1], name)]
collect(todo, sys.argv[1], Client(Endpoint(sys.argv[2], "vlm")), concurrency=3)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_a_cut_line_is_asked_again(root):
    enough = threading.Event()

    def answer(number, request):
        if number == 9:
            enough.set()
        time.sleep(0.05 if number < 9 else 5 if not finished else 0)
        return 200, {}, completion(truthful(request))

    finished = []
    with chat_server(answer) as server:
        process = subprocess.Popen([sys.executable, "-c", CODE, str(root), server.base], cwd=ROOT)
        assert enough.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished.append(True)
        file = answers_file(root, "assessment_single")
        lines = file.read_bytes().splitlines(keepends=True)
        assert 6 <= len(lines) <= 9 and all(json.loads(line)["dropped"] is None for line in lines)
        file.write_bytes(b"".join(lines) + b'{"sample": 11, "dig')  # as if the kill had hit a write
        left = todo(root)
        assert len(left) == 18 - len(lines)
        assert collect(left, root, client_of(server)) == {"kept": len(left)}
    asked = [json.loads(line)["sample"] for line in file.read_text().splitlines()]
    assert sorted(asked) == list(range(12))


def test_estimate(root):
    cost = estimate("comparison_double", list(pending(PLAN, root, "comparison_double")))
    assert cost.requests == 6
    assert 6 * 3 * 255 < cost.input_tokens < 6 * (3 * 255 + 600) and cost.output_tokens == 6 * 230
    assert cost.money(10, 30) == pytest.approx((cost.input_tokens * 10 + cost.output_tokens * 30) / 1e6)


def test_command(root, tmp_path, monkeypatch, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text("{name: p, seed: 1, sets: {assessment_single: 12, comparison_double: 6}}")
    for name in ("DEPICTQA_API_BASE", "DEPICTQA_API_MODEL", "DEPICTQA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    arguments = ["describe", str(root), "--plan", str(plan)]
    assert main([*arguments, "--dry-run", "--limit", "2"]) == 0  # needs no endpoint
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["set"] == "assessment_single" and "bytes>" in str(first["messages"]) and len(str(first)) < 4000
    assert (first["temperature"], first["max_tokens"], first["model"]) == (0.5, 200, None)
    assert main([*arguments, "--input-price", "2.5", "--output-price", "10"]) == 0
    said = capsys.readouterr().out
    assert "assessment_single" in said and "money" in said and "add --yes" in said and not (root / "answers").exists()
    assert main([*arguments, "--yes"]) == 1
    assert "set DEPICTQA_API_BASE and DEPICTQA_API_MODEL" in capsys.readouterr().err
    with chat_server(lambda number, request: (200, {}, completion(truthful(request)))) as server:
        monkeypatch.setenv("DEPICTQA_API_BASE", server.base)
        monkeypatch.setenv("DEPICTQA_API_MODEL", "vlm")
        assert main([*arguments, "--yes", "--parts", "assessment"]) == 0
        assert "12 kept" in capsys.readouterr().out and len(kept_answers(root, "assessment_single")) == 12
        assert [server.requests[0][key] for key in ("model", "temperature", "max_tokens")] == ["vlm", 0.5, 200]
        assert main([*arguments, "--parts", "assessment"]) == 0
    said = capsys.readouterr().out
    assert "every sample has its answer" in said and "build" in said and "total" not in said


def test_an_endpoint_whose_answers_are_all_dropped_is_left_soon(root, tmp_path, monkeypatch, capsys):
    """It is paid for every answer; the status says that there is nothing to build."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("{name: p, seed: 1, sets: {assessment_single: 12, comparison_double: 6}}")
    arguments = ["describe", str(root), "--plan", str(plan), "--yes", "--concurrency", "1"]
    with chat_server(lambda *_: (200, {}, completion("It is nice."))) as server:
        monkeypatch.setenv("DEPICTQA_API_BASE", server.base)
        monkeypatch.setenv("DEPICTQA_API_MODEL", "vlm")
        assert main([*arguments, "--most-drops", "5"]) == 1
        assert len(server.requests) <= 6
        said = capsys.readouterr()
        assert "5 answers in a row were dropped" in said.err and "0 kept; 5 too short" in said.err
        assert "kept=0%" in said.err
        assert main(arguments) == 1
    said = capsys.readouterr()
    assert "none of 12 answers was kept" in said.err or "none of 13 answers was kept" in said.err


def test_sentences_of_the_request_are_no_answer():
    copied = "Name each distortion exactly as above, with its degree word directly before it, and name no other one."
    asked = request_text(BLUR)
    assert problem(f"Serious blur hides the boards. {copied}" + LONG, "stop", BLUR) is None  # not word by word
    (line,) = [line for line in asked.splitlines() if line.startswith("Name each distortion")]
    sentence = line.split(". ")[0]
    assert problem(f"Serious blur hides the boards. {sentence.upper()}." + LONG, "stop", BLUR) == checks.REPEATED
    facts = next(line[2:] for line in asked.splitlines() if line.startswith("- "))
    assert problem(facts + LONG, "stop", BLUR) is None  # true, and short


def test_a_data_root_that_is_not_built_is_said_to_be_so(root, tmp_path, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text("{name: p, seed: 1, sets: {assessment_single: 12, assessment_double: 2, identification_single: 1}}")
    for folder, sets in ((root, "assessment_double"), (tmp_path / "nowhere", "assessment_single, assessment_double")):
        assert main(["describe", str(folder), "--plan", str(plan)]) == 1
        assert f"{folder} has no samples of {sets}: build them first" in capsys.readouterr().err
    assert main(["describe", str(root), "--plan", str(plan), "--parts", "identification"]) == 1
    assert "no detailed answers to ask for" in capsys.readouterr().err


def test_a_full_disk_is_said_to_be_so(root):
    """Files over a limit cannot be written, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        with chat_server(lambda number, request: (200, {}, completion(truthful(request)))) as server:
            with pytest.raises(StorageError, match="answers.*free some space"):
                collect(todo(root), root, client_of(server), concurrency=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
