"""Runs of benchmarks: what judges are asked, what is stored, how runs resume, and the report."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from chat_server import chat_server, completion
from PIL import Image
from vlm_server import vllm

from depictqa_core import tasks
from depictqa_core.chat.client import Client
from depictqa_core.chat.endpoint import Endpoint
from depictqa_core.errors import TaskError
from depictqa_core.metrics.registry import Metric
from training.__main__ import main as command
from training.benchmark import run as runs
from training.benchmark.classical import measure_metrics
from training.benchmark.command import _contender, _named
from training.benchmark.grading import CRITERIA, parse
from training.benchmark.measures import measure_choices, measure_pairs, measure_scores
from training.benchmark.report import read_published, read_summaries, report
from training.benchmark.run import Contender, RunOptions, run
from training.benchmark.sets import Options, known, open_set

BRIGHT = Metric("BRIGHT", False, 1, lambda image, reference: float(image.mean()))
NEAR = Metric("NEAR", True, -1, lambda image, reference: float(abs(image.astype(float) - reference).mean()))
QUICK = RunOptions(resamples=20)


class FakeJudge:
    """Prefers bright images; counts what it is asked. ``stop_at`` raises KeyboardInterrupt at that image."""

    def __init__(self, tasks=("score", "rating"), stop_at=None):
        self.asked, self.stop_at = [], stop_at
        self.info = {"name": "fake", "version": "1"}
        capabilities = SimpleNamespace(tasks=tasks, free_questions=False)
        self.backend = SimpleNamespace(
            capabilities=capabilities,
            identity=lambda: {"judge": self.info},
            name="fake",
            device="cpu",
            require=self.require,
        )

    def require(self, task):
        if task.name not in self.backend.capabilities.tasks:
            raise TaskError(f"fake does not support {task.name}")

    def score(self, images, references=None):
        found = []
        for place, image in enumerate(images):
            if len(self.asked) == self.stop_at:
                raise KeyboardInterrupt
            self.asked.append((image.name, references and references[place].name))
            value = float(image.rgb.mean()) / 2.55
            found.append(SimpleNamespace(score=value, spread=1.0, confidence=0.5, coverage=1.0, method="levels"))
        return found

    def compare_many(self, pairs, references=None):
        found = []
        for a, b in pairs:
            first = float(a.rgb.mean() > b.rgb.mean())
            found.append(
                SimpleNamespace(probability_a=first, disagreement=0.1, verdict="A", confidence=1.0, coverage=1.0)
            )
        return found


@pytest.fixture
def kadid(tmp_path):
    """12 references with 3 images each: the brighter, the better; the last image cannot be decoded."""
    folder, rows = tmp_path / "set", ["dist_img,ref_img,dmos"]
    (folder / "images").mkdir(parents=True)
    for ref in range(12):
        Image.new("RGB", (16, 12), (200 + ref,) * 3).save(folder / "images" / f"I{ref:02d}.png")
        for level in range(3):
            name = f"I{ref:02d}_01_{level:02d}.png"
            Image.new("RGB", (16, 12), (150 - 40 * level + ref,) * 3).save(folder / "images" / name)
            rows.append(f"{name},I{ref:02d}.png,{5 - level + 0.01 * ref}")
    (folder / "images" / name).write_bytes(b"no image")
    (folder / "dmos.csv").write_text("\n".join(rows) + "\n")
    return folder


def contender(judge, label="fake"):
    return Contender(label, lambda: judge)


@pytest.mark.slow
def test_scores_pairs_and_metrics_in_one_run(kadid, tmp_path):
    judge, output = FakeJudge(), tmp_path / "out"
    works = open_set("kadid10k", kadid, Options(pairs=9))
    found = run(works, [contender(judge)], [BRIGHT, NEAR], output, QUICK)
    by = {(one["kind"], one["judge"]): one for one in found}
    assert set(by) == {(kind, name) for kind in ("scores", "pairs") for name in ("fake", "BRIGHT", "NEAR")}
    scores = by["scores", "fake"]
    assert (scores["count"], scores["failed"]) == (35, 1) and "images/I11_01_02.png" in scores["failures"][0]["id"]
    assert scores["values"]["srcc"] == pytest.approx(1.0, abs=0.01) and scores["values"]["pair_accuracy"] == 1.0
    assert set(scores["intervals"]) >= {"srcc", "plcc", "krcc", "rmse", "pair_accuracy", "srcc_by_reference"}
    assert by["pairs", "fake"]["values"]["accuracy"] == 1.0
    assert judge.asked[0] == ("images/I00_01_00.png", "images/I00.png")
    rows = [json.loads(line) for line in (output / works[0].folder / "fake.jsonl").read_text().splitlines()]
    assert len(rows) == 36 and rows[0]["mos"] == 5.0 and rows[0]["images"] == ["images/I00_01_00.png", "images/I00.png"]
    assert "error" in rows[-1]
    assert json.loads((output / works[0].folder / "fake.json").read_text()) == scores


@pytest.mark.slow
def test_a_run_resumes_after_it_was_killed(kadid, tmp_path, monkeypatch):
    works = open_set("kadid10k", kadid, Options())
    monkeypatch.setattr("training.benchmark.asking.MOST_ITEMS", 5)
    killed = FakeJudge(stop_at=17)
    with pytest.raises(KeyboardInterrupt):
        run(works, [contender(killed)], [], tmp_path / "out", QUICK)
    file = tmp_path / "out" / works[0].folder / "fake.jsonl"
    assert len(file.read_text().splitlines()) == 15  # three groups of five were stored
    with file.open("a") as stored:
        stored.write('{"id": "images/I')  # a line that a killed process did not finish
    resumed = FakeJudge()
    (summary,) = run(works, [contender(resumed)], [], tmp_path / "out", QUICK)
    assert len(resumed.asked) == 35 - 15 and summary["count"] == 35
    whole = FakeJudge()
    (fresh,) = run(works, [contender(whole)], [], tmp_path / "fresh", QUICK)
    assert len(whole.asked) == 35 and {**summary, "date": None} == {**fresh, "date": None}


def test_changed_weights_are_asked_again(kadid, tmp_path):
    works, folder = open_set("kadid10k", kadid, Options()), tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"1")
    for size in (b"1", b"1", b"22"):
        if size != (folder / "model.safetensors").read_bytes():
            (folder / "model.safetensors").write_bytes(size)
        judge = FakeJudge()
        run(works, [Contender("fake", lambda judge=judge: judge, folder)], [], tmp_path / "out", QUICK)
        asked = len(judge.asked) if size == b"22" else None
    assert asked == 35


@pytest.mark.slow
def test_judges_that_cannot_answer_are_left_out(kadid, tmp_path, capsys):
    works = open_set("kadid10k", kadid, Options(reference=False))
    found = run(works, [contender(FakeJudge(tasks=("identification",)))], [BRIGHT, NEAR], tmp_path, QUICK)
    assert [one["judge"] for one in found] == ["BRIGHT"]
    assert "fake left out of KADID-10k (all, no reference): fake supports neither scores" in capsys.readouterr().err
    with pytest.raises(TaskError, match="two judges would be stored as fake"):
        run(works, [contender(FakeJudge()), contender(FakeJudge())], [], tmp_path, QUICK)


@pytest.mark.parametrize("label", ["metrics", "fake.graded"])
def test_judges_cannot_have_the_name_of_another_file(label, tmp_path):
    with pytest.raises(TaskError, match=f"cannot be stored as {label}"):
        run([], [contender(FakeJudge(), label)], [], tmp_path, QUICK)


def test_a_metric_without_a_value_fails_and_is_not_counted(kadid, tmp_path):
    (work,) = open_set("kadid10k", kadid, Options(limit=4))
    values = {
        (item.image, item.reference): {"NEAR": None if place == 0 else -item.mos}
        for place, item in enumerate(work.items)
    }
    (found,) = measure_metrics(work, [NEAR], values, tmp_path, QUICK)
    assert (found["count"], found["failed"], found["values"]["srcc"]) == (3, 1, 1.0)


def test_pair_accuracy_stays_within_references():
    """Between the two references the scores are wrong, within them right: only the latter counts."""
    opinions, scores = [1, 2, 3, 11, 12, 13], [5, 6, 7, 1, 2, 3]
    grouped = measure_scores(scores, opinions, ["r", "r", "r", "s", "s", "s"], 0)["values"]
    assert grouped["pair_accuracy"] == grouped["srcc_by_reference"] == 1.0 and grouped["srcc"] < 0
    assert measure_scores(scores, opinions, [None] * 6, 0)["values"]["pair_accuracy"] == pytest.approx(6 / 15)


def test_pairs_by_majority_and_by_share():
    found = measure_pairs([0.9, 0.2, 0.5, 0.7], [0.8, 0.6, 1.0, 0.5], "abcd", 0)["values"]
    assert found["accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)  # no majority in the last
    assert found["two_afc"] == pytest.approx((0.8 + 0.4 + 0.5 + 0.5) / 4)
    assert found["people"] == pytest.approx((0.8 + 0.6 + 1.0 + 0.5) / 4)
    assert "two_afc" not in measure_pairs([1.0, 0.0], [1.0, 1.0], "ab", 0)["values"]


def test_choices_count_unanswered_questions_as_wrong():
    def row(text, answer, category, options=4, confidence=0.5):
        return {
            "text": text,
            "answer": answer,
            "category": category,
            "options": options,
            "group": text,
            "confidence": confidence,
        }

    rows = [
        row("a", "a", "blur"),
        row("b", "a", "noise", 2),
        row(None, "a", "blur", confidence=None),
        row("a", None, None),
    ]
    found = measure_choices(rows, 0)
    assert found["values"]["accuracy"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["values"]["chance"] == pytest.approx((0.25 + 0.5 + 0.25) / 3, abs=1e-6)
    assert found["by"]["blur"] == {"accuracy": 0.5, "interval": None, "count": 2}


# ---- judges on a server


@pytest.fixture
def questions(tmp_path):
    folder, rng, rows = tmp_path / "questions", np.random.default_rng(0), []
    (folder / "images").mkdir(parents=True)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(folder / "images" / f"{number}.png")
        row = {"image": f"{number}.png", "question": "Which distortion is it?", "category": "noise"}
        rows.append({**row, "options": ["Blur", "Noise", "Pixelation"], "answer": "B"})
    pair = {"image_A": "0.png", "image_B": "1.png", "question": "Which is noisier?", "answer": "Image A"}
    rows.append({**pair, "options": ["Image A", "Image B"], "category": "pair"})
    (folder / "questions.json").write_text(json.dumps(rows))
    return folder


@pytest.mark.slow
def test_a_server_answers_closed_questions(questions, tmp_path, capsys):
    output = tmp_path / "out"
    with chat_server(vllm()) as server:
        words = ["benchmark", "distortbench", "--root", str(questions), "--output", str(output), "--resamples", "0"]
        judges = ["--judge", f"vlm=m@{server.base}", "bundled"]
        assert command([*words, *judges]) == 0
        asked = len(server.requests)
        assert command([*words, *judges]) == 0
        assert "Which" in json.dumps(server.requests[:asked]) and "Which" not in json.dumps(server.requests[asked:])
    shown = capsys.readouterr()
    assert "bundled left out of DistortBench (all): own questions are not supported by depictqa-mini" in shown.err
    (summary,) = read_summaries(output)
    assert summary["judge"] == "vlm" and summary["count"] == 5 and summary["failed"] == 0
    assert summary["values"]["chance"] == pytest.approx((4 / 3 + 1 / 2) / 5, abs=1e-6)
    assert set(summary["by"]) == {"noise", "pair"}
    rows = [json.loads(line) for line in (output / "distortbench_all" / "vlm.jsonl").read_text().splitlines()]
    assert rows[4]["images"] == ["images/0.png", "images/1.png"]
    for row in rows:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5) and row["text"] in row["probabilities"]


@pytest.mark.slow
def test_descriptions_are_graded_by_a_language_model(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (32, 24), (90 * number,) * 3).save(folder / "images" / f"{number}.png")
    (folder / "descriptions.json").write_text(json.dumps({"0.png": "It is dark.", "1.png": "It is noisy."}))
    works = open_set("qbench-a2", folder, Options())
    replies = {"contain": "2", "contradict": "1.", "about image quality": "none"}

    def answer(number, request):
        asked = request["messages"][-1]["content"]
        (criterion,) = (word for word in replies if word in asked)
        return 200, {}, completion("0" if criterion == "contain" and "noisy" in asked else replies[criterion])

    class Describes(FakeJudge):
        def describe(self, images, question=None):
            self.asked += images
            return [SimpleNamespace(text=f"Image {image.name}", confidence=0.5) for image in images]

    judge = Describes(tasks=("assessment",))
    with chat_server(answer) as server:
        grader = Client(Endpoint(server.base, "judge"))
        (found,) = run(works, [contender(judge)], [BRIGHT], tmp_path / "out", RunOptions(0, grader=grader))
        assert (found["scored"], found["not_scored"]) == (0, 2)  # the third reply is not a score
        replies["about image quality"] = "2"
        (tmp_path / "out" / works[0].folder / "fake.graded.jsonl").unlink()
        (found,) = run(works, [contender(judge)], [], tmp_path / "out", RunOptions(0, grader=grader))
    assert len(judge.asked) == 2  # the descriptions were stored
    assert found["values"] == {"completeness": 1.0, "precision": 1.0, "relevance": 2.0, "sum": 4.0}
    assert found["grader"] == "judge" and len(server.requests) == 2 * 2 * len(CRITERIA)


def test_only_a_score_is_a_score():
    assert [parse(reply) for reply in ("2", " 1. ", "**0**", "3", "2 of 2", "")] == [2, 1, 0, None, None, None]


# ---- the published records


@pytest.mark.slow
def test_published_records_with_the_bundled_judge_and_metrics(tmp_path, capsys):
    folder, rng = tmp_path / "data", np.random.default_rng(1)
    (folder / "K").mkdir(parents=True)
    clean = np.kron(rng.integers(60, 200, (12, 14, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    for name, noise in (("r", 0), ("a", 5), ("b", 60)):
        noisy = np.clip(clean + rng.normal(0, noise, clean.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "K" / f"{name}.png")
    images = {"image_ref": "K/r.png", "image_A": "K/a.png", "image_B": "K/b.png"}
    rating = [{"id": f"{n}", **images, "query": tasks.RATING.ask(), "answer": "Image A"} for n in range(2)]
    single = {**images, "image_B": None, "image_ref": None, "image_A": "K/b.png"}
    identify = [{"id": "1", **single, "query": tasks.ONE_ISSUE + tasks.SHORT_TAIL, "answer": "Noise"}]
    for name, records in (("rate", rating), ("identify", identify)):
        (folder / name / "metas").mkdir(parents=True)
        (folder / name / "metas" / "test.json").write_text(json.dumps(records))
    output = tmp_path / "out"
    words = ["benchmark", "dq495k", "--root", str(folder), "--output", str(output), "--metric", "PSNR", "NIQE"]
    assert command([*words, "--device", "cpu"]) == 0
    found = {(one["part"].split(",")[0], one["judge"]): one for one in read_summaries(output)}
    assert set(found) == {
        ("distortion identification", "bundled"),
        *(("instant rating", judge) for judge in ("bundled", "PSNR", "NIQE")),
    }
    rated = found["instant rating", "bundled"]
    assert rated["values"]["accuracy"] == rated["details"]["metrics"]["rating"]["accuracy"]
    assert {"accuracy_of_both", "same_winner"} <= rated["values"].keys()
    assert found["instant rating", "PSNR"]["values"]["accuracy"] == 1.0


# ---- the report


@pytest.mark.slow
def test_one_table_over_judges_and_sets(kadid, tmp_path, capsys):
    output = tmp_path / "out"
    for shown in (True, False):
        works = open_set("kadid10k", kadid, Options(reference=shown, pairs=5))
        run(works, [contender(FakeJudge(), "one"), contender(FakeJudge(), "two")], [BRIGHT, NEAR], output, QUICK)
    text = report(output)
    overview = text.split("## Overview")[1].split("##")[0].strip().splitlines()
    assert overview[0].count("KADID-10k") == 4 and "SRCC / PLCC" in overview[0]
    assert [line.split("|")[1].strip() for line in overview[2:]] == ["one", "two", "BRIGHT", "NEAR"]
    near = overview[5].split("|")
    assert [bool(cell.strip()) for cell in near[2:6]].count(False) == 2  # nothing without references
    assert "| KADID-10k | all, with reference | one | 35 | 1 |" in text
    measured, others = text.split("## Published by others, not measured here")
    assert "internlm_xcomposer_vl" in others and "internlm_xcomposer_vl" not in measured
    assert others.count("not measured here") == others.count("](https://")
    assert "Published by others" not in report(output, published=False)
    assert command(["benchmark", "report", str(output)]) == 0 and capsys.readouterr().out == text
    assert command(["benchmark", "report", str(tmp_path / "set")]) == 1


def test_published_figures_have_a_source_and_a_date():
    for source in read_published():
        assert source["address"].startswith("https://") and source["read"].count("-") == 2
        assert source["title"] and source["protocol"] and source["part"]
        for name, judges in source["figures"].items():
            assert name in known()
            for values in judges.values():
                assert all(-1 <= value <= (6 if name == "qbench-a2" else 1) for value in values.values())


def test_judges_of_the_command_line(tmp_path):
    arguments = SimpleNamespace(model="m", device="cpu")
    assert _named("ours=/data/x") == ("ours", "/data/x") and _named("bundled") == (None, "bundled")
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert _named(str(odd)) == (None, str(odd))
    assert _contender(str(odd), arguments).files == odd and _contender(f"{odd}/", arguments).label == "a=b"
    secret = _contender("m@https://host/v1/KEYKEYKEY", arguments)
    assert secret.label == "m@https://host" and secret.files is None
    assert _contender("https://host/v1/KEYKEYKEY", arguments).label == "m@https://host"
    assert _contender("mine=x/y@https://host/v1", arguments).label == "mine"


def test_what_a_run_prints_names_no_path_of_an_address(kadid, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.benchmark.command._served", lambda *_: FakeJudge)
    words = ["benchmark", "kadid10k", "--root", str(kadid), "--output", str(tmp_path / "out"), "--no-metrics"]
    assert command([*words, "--judge", "m@https://host/v1/KEYKEYKEY", "--resamples", "0"]) == 0
    written = "".join(file.read_text() for file in (tmp_path / "out").rglob("*.*"))
    assert "KEYKEYKEY" not in capsys.readouterr().out + written and "m@https://host" in written
    assert runs.file_name("m@https://host") == "m_https_host"
