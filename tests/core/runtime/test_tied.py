"""A command that ends with the process that started it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trees import ROOT
from vllm_command import ended, runs

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def test_what_does_not_end_by_itself_is_killed_with_its_own_processes(tmp_path):
    """A command that ignores SIGTERM, and its child."""
    deaf = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); child = os.fork()\n"
    deaf += "open(sys.argv[1] + ('parent' if child else 'child'), 'w').write(str(os.getpid())); time.sleep(60)"
    tied = "import sys, depictqa_core.runtime.tied as tied; tied.GRACE = 0.2; sys.exit(tied.main(sys.argv[1:]))"
    words = [sys.executable, "-c", tied, sys.executable, "-c", deaf, f"{tmp_path}/"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, cwd=ROOT)
    places = [tmp_path / name for name in ("parent", "child")]
    while not all(place.exists() and place.read_text() for place in places):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # Ctrl-C reaches it too, and is not for it
    pids = [int(place.read_text()) for place in places]
    assert all(map(runs, pids))
    process.stdin.close()
    assert process.wait() == 128 + signal.SIGKILL
    assert all(map(ended, pids))
