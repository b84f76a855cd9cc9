"""Run a command that ends with the process that started it, however that ends:

    python -m depictqa_core.runtime.tied COMMAND [ARGUMENT ...]

Standard input must be a pipe of that process. The system closes it when the process closes it, exits or is killed.
The command then gets SIGTERM and, with all that it started, SIGKILL after ten seconds. On Linux it also gets SIGTERM
when this program is killed, as Ray kills all children of its workers.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""


def main(words: Sequence[str]) -> int:
    """Run a command until it ends, or standard input does.

    Returns:
        its exit status; 128 and the number of the signal that ended it, as shells report it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    linux = sys.platform == "linux"
    command = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_parent if linux else None
    )
    signal.signal(signal.SIGTERM, lambda number, frame: _end(command))
    threading.Thread(target=_end_with_input, args=(command,), daemon=True).start()
    status = command.wait()
    return status if status >= 0 else 128 - status


def _end_with_parent() -> None:
    """Have the system send SIGTERM to the calling process when its parent, which has one thread so far, ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_with_input(command: subprocess.Popen) -> None:
    while os.read(0, 1024):
        pass
    _end(command)


def _end(command: subprocess.Popen) -> None:
    command.terminate()
    threading.Thread(target=_kill_later, args=(command,), daemon=True).start()


def _kill_later(command: subprocess.Popen) -> None:
    try:
        command.wait(GRACE)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):  # with its own processes
            os.killpg(command.pid, signal.SIGKILL)
        else:
            command.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
