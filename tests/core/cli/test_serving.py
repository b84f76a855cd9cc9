"""``depictqa serve`` as a process: where it may listen, how it ends, and that clients outlive its restart."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from trees import ROOT

from depictqa_core.chat.endpoint import NoAnswer
from depictqa_core.cli.commands import main
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "judge.example"])
def test_other_machines_need_a_key(host, monkeypatch, capsys):
    monkeypatch.delenv("DEPICTQA_SERVER_KEY", raising=False)
    assert main(["serve", "--host", host]) == 1
    assert "set DEPICTQA_SERVER_KEY" in capsys.readouterr().err


def test_keys_and_addresses_that_cannot_be_used(monkeypatch, capsys):
    monkeypatch.setenv("DEPICTQA_SERVER_KEY", "short")
    assert main(["serve"]) == 1
    said = capsys.readouterr().err
    assert "at least 16" in said and "short" not in said
    monkeypatch.delenv("DEPICTQA_SERVER_KEY")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 1
    assert "choose another --port" in capsys.readouterr().err


class Process:
    """``depictqa serve`` with a checkpoint."""

    def __init__(self, checkpoint, port=0):
        words = [sys.executable, "-m", "depictqa_core", "serve", "--checkpoint", str(checkpoint), "--port", str(port)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.run = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)

    def wait(self):
        """Wait until it answers; its address is ``base``."""
        for line in self.run.stderr:
            if found := re.search(r"serving tiny-cnn at (http://127\.0\.0\.1:(\d+)/v1), without a key", line):
                self.base, self.port = found[1], int(found[2])
                return
        raise AssertionError(f"the server ended with status {self.run.wait()}")

    def end(self, number=signal.SIGTERM):
        self.run.send_signal(number)
        said = self.run.stderr.read()
        return self.run.wait(60), said


@pytest.fixture
def start():
    """Starts servers; those that still run at the end of the test are killed."""
    started = []

    def run(checkpoint, port=0):
        started.append(Process(checkpoint, port))
        started[-1].wait()
        return started[-1]

    yield run
    for process in started:
        process.run.kill()
        process.run.wait()


@pytest.mark.slow
def test_a_killed_server_is_started_again_and_nothing_is_lost(checkpoint, start):
    rng = np.random.default_rng(3)
    images = [as_image(rng.integers(0, 256, (40, 40, 3), np.uint8), f"i{i}") for i in range(24)]
    wanted = [score.score for score in load_judge(checkpoint, "cpu").score(images)]
    server, found, answered = start(checkpoint), [], threading.Event()
    judge = load_judge(server.base, model="tiny-cnn", concurrency=2)

    def score():
        while not found:  # a start may take longer than a client repeats a request
            try:
                found.extend(judge.score(images, progress=lambda done, _: done and answered.set()))
            except NoAnswer:
                pass

    scored = threading.Thread(target=score, daemon=True)
    scored.start()
    assert answered.wait(60)
    assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL
    server = start(checkpoint, server.port)
    scored.join(200)
    assert [one.score for one in found] == pytest.approx(wanted, abs=1e-3)
    status, said = server.end()
    assert status == 0 and "Traceback" not in said
