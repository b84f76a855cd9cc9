"""``depictqa study`` as a process: kill -9 under votes, one process for one file; and its report."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import SimpleNamespace

import pytest
from core.study.studies import answer, careless, folder_of, plan_of, started, take_part
from served import JSON
from trees import ROOT

from depictqa_core.cli import study as command
from depictqa_core.cli.commands import main
from depictqa_core.study.votes import LEFT, RIGHT, read_record

NAMES = ["a.png", "b.png", "c.png", "d.png"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "pics", NAMES)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a folder of images"),
        (["pics", "--report", "study.jsonl"], "leave the folders out"),
        (["pics", "--judge", "bundled"], "--judge belongs to --report"),
        (["nowhere"], "is not a folder"),
        (["pics", "--pairs", "3"], "4 pairs are needed"),
        (["pics", "--host", "0.0.0.0"], "set DEPICTQA_SERVER_KEY"),
        (["pics", "--reference", "pics"], "several folders"),
        (["--report", "pics/a.png"], "not UTF-8 text"),
        (["--report", "nowhere.jsonl"], "cannot be read"),
    ],
)
def test_wrong_commands_get_one_line(here, capsys, words, message):
    assert main(["study", "--quiet", "--port", "0", *words]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not Path("study.jsonl").exists()


def test_a_report_of_nothing(here, capsys):
    started(here / "study.jsonl", plan_of(["pics"], here / "study.jsonl"))
    assert main(["study", "--report", "study.jsonl"]) == 1
    assert "no votes count: 0 people took part" in capsys.readouterr().err


@pytest.fixture
def voted(here):
    votes = here / "study.jsonl"
    session = started(votes, plan_of(["pics"], votes))
    places = [NAMES.index(image.name) for image in session.plan.images]
    for name in ("A", "B"):
        take_part(session, name, lambda trial: answer(trial, places.__getitem__))
    take_part(session, "C", careless(1))
    return votes


@pytest.mark.slow
def test_the_report_with_judges_metrics_and_preferences(voted, capsys, monkeypatch):
    class Judge:
        info, notices = {"name": "noise"}, ()

        def compare_many(self, pairs, references, progress):
            return [SimpleNamespace(probability_a=0.8 if a.rgb.std() < b.rgb.std() else 0.2) for a, b in pairs]

    loaded, opening = [], command.opening

    def opened(options):
        assert callable(opening(options))  # the options of the command are enough for a real judge
        return lambda: loaded.append(options.checkpoint) or Judge()

    monkeypatch.setattr(command, "opening", opened)
    words = ["--judge", "one", "--judge", "two", "--metrics", "niqe", "--preferences", "mine"]
    files = ["--json", "r.json", "--csv", "v.csv", "--markdown", "m.md"]
    # the images are too small for NIQE
    assert main(["study", "--report", "study.jsonl", *words, *files]) == 3
    said = capsys.readouterr()
    assert "NIQE needs an image of at least" in said.err and "6 new" in said.err and loaded == ["one", "two"]
    assert "1 of 6 pairs" not in said.out and "2 counted of 3" in said.out
    found = json.loads(Path("r.json").read_text())
    assert [one["judge"] for one in found["judges"]] == ["noise", "two"]
    assert found["judges"][0]["accuracy"] == [1, 1, 1] and found["people"]["failed_checks"] == 1
    assert len(Path("v.csv").read_text().splitlines()) == 1 + 3 * 12 and "| noise |" in Path("m.md").read_text()
    assert len(json.loads(Path("mine/records/preferences.json").read_text())) == 6


# ---------------------------------------------------------------------- processes


class Process:
    """``depictqa study`` of the folder pics."""

    def __init__(self, *words, port=0):
        run = [sys.executable, "-m", "depictqa_core", "study", "pics", "--port", str(port), *words]
        self.run = subprocess.Popen(run, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def wait(self):
        self.said = ""
        for line in self.run.stderr:
            self.said += line
            if found := re.search(r"study at http://127\.0\.0\.1:(\d+)/ \(for browsers of this machine only\)", line):
                self.port = int(found[1])
                return
        raise AssertionError(f"ended with {self.run.wait()}: {self.said}")


def post(port, path, document):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, json.dumps(document), JSON)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.slow
def test_kill_9_loses_no_acknowledged_vote_and_doubles_none(here):
    """People vote as fast as they can, and repeat what was not acknowledged, while the process is killed again and
    again."""
    process = Process()
    process.wait()
    second = Process(port=0)
    assert second.run.wait(60) == 1 and "another process writes there now" in second.run.stderr.read()
    port, acknowledged, killed = process.port, {}, threading.Event()

    def vote(name):
        token, trial = None, 0
        while trial is not None:
            choice = LEFT if trial % 2 else RIGHT
            body = {"trial": trial, "choice": choice, "revision": 0, "seconds": 1}
            try:
                if token is None:
                    token = post(port, "/enter", {"name": name})[1]["token"]
                status, state = post(port, "/vote", {**body, "token": token})
            except (OSError, ValueError, HTTPException):  # killed: repeat it
                killed.wait(0.05)
                continue
            if status == 401:  # another process, with other tokens
                token = None
                continue
            assert status == 200
            acknowledged[name, trial] = choice
            trial = trial + 1 if trial < 11 else None

    people = [threading.Thread(target=vote, args=(f"person {number}",)) for number in range(6)]
    for person in people:
        person.start()
    for _ in range(2):
        killed.wait(0.1)
        process.run.send_signal(signal.SIGKILL)
        process.run.wait()
        process = Process(port=port)
        process.wait()
    for person in people:
        person.join(60)
    process.run.send_signal(signal.SIGTERM)
    assert process.run.wait(60) == 0 and "study --report study.jsonl" in process.run.stderr.read()
    record = read_record("study.jsonl")
    stored = [(record.people[vote.person], vote.trial, vote.choice) for vote in record.votes]
    assert {(name, trial): choice for name, trial, choice in stored} == acknowledged and len(stored) == 72
    lines = [json.loads(line) for line in Path("study.jsonl").read_text().splitlines() if line.endswith("}")]
    assert sum("trial" in line for line in lines) == 72
