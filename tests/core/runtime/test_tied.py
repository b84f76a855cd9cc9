"""A command that ends with the process that started it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trees import ROOT
from vllm_command import ended, runs

from depictqa_core.runtime import tied

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def test_what_does_not_end_by_itself_is_killed_with_its_own_processes(tmp_path):
    """A command that ignores SIGTERM, and its child."""
    deaf = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); child = os.fork()\n"
    deaf += "open(sys.argv[1] + ('parent' if child else 'child'), 'w').write(str(os.getpid())); time.sleep(60)"
    quick = "import sys, depictqa_core.runtime.tied as tied; tied.GRACE = 0.2; sys.exit(tied.main(sys.argv[1:]))"
    words = [sys.executable, "-c", quick, sys.executable, "-c", deaf, f"{tmp_path}/"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, cwd=ROOT)
    places = [tmp_path / name for name in ("parent", "child")]
    while not all(place.exists() and place.read_text() for place in places):
        time.sleep(0.02)
    pids = [int(place.read_text()) for place in places]
    assert all(map(runs, pids))
    process.stdin.close()
    assert process.wait() == 128 + signal.SIGKILL
    assert all(map(ended, pids))


def test_what_is_left_of_a_command_ends_with_it_even_where_the_program_was_killed(tmp_path):
    """As Ray does with the children of its workers: the pipe still tells the guard."""
    words = [sys.executable, "-I", tied.__file__, "sh", "-c", f"sleep 60 & echo $! $$ > {tmp_path}/pids; wait"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE)
    place = tmp_path / "pids"
    while not (place.exists() and place.read_text().endswith("\n")):
        time.sleep(0.02)
    pids = [int(word) for word in place.read_text().split()]
    process.kill()
    process.wait()
    assert all(map(runs, pids))
    process.stdin.close()
    assert all(map(ended, pids))


def test_the_status_is_that_of_the_command():
    def status(*words):
        with subprocess.Popen([sys.executable, "-I", tied.__file__, *words], stdin=subprocess.PIPE) as process:
            return process.wait()

    assert status("true") == 0 and status("sh", "-c", "exit 7") == 7
    assert status("sh", "-c", "kill -9 $$") == 128 + signal.SIGKILL
