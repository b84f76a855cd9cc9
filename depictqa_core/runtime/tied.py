"""Run a command that ends with the process that started it:

    python tied.py COMMAND [ARGUMENT ...]

Standard input must be a pipe of that process. The system closes it when the process closes it, exits or is killed.
The command then gets SIGTERM and, with all that it started, SIGKILL after ten seconds. What is left of them when the
command ends by itself gets the same. Needs the standard library only, so that any Python can run the file.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_POLL, _PR_SET_PDEATHSIG = 0.05, 1


def main(words: Sequence[str]) -> int:
    """Run a command until it ends, or standard input does.

    Returns:
        its exit status; 128 and the number of the signal that ended it, as shells report it.
    """
    if hasattr(os, "fork") and (guard := os.fork()):  # Ray kills the children of its workers, but not theirs
        os.close(0)
        return _exit_status(os.waitstatus_to_exitcode(os.waitpid(guard, 0)[1]))
    linux = sys.platform == "linux"
    command = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_parent if linux else None
    )
    threading.Thread(target=_end_with_input, args=(command,), daemon=True).start()
    status = command.wait()
    _end_group(command.pid)
    return _exit_status(status)


def _exit_status(status: int) -> int:
    return status if status >= 0 else 128 - status


def _end_with_parent() -> None:
    """Have the system send SIGTERM to the calling process when its parent, which has one thread so far, ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_with_input(command: subprocess.Popen) -> None:
    while os.read(0, 1024):
        pass
    command.terminate()
    with suppress(subprocess.TimeoutExpired):
        command.wait(GRACE)
    if command.poll() is None:
        _kill(command.pid)


def _end_group(group: int) -> None:
    """End what is left of the processes of a command that has ended."""
    if not hasattr(os, "killpg"):
        return
    with suppress(ProcessLookupError, PermissionError):  # none is left; macOS says so of processes that have ended
        os.killpg(group, signal.SIGTERM)
        latest = time.monotonic() + GRACE
        while time.monotonic() < latest:
            os.killpg(group, 0)
            time.sleep(_POLL)
        os.killpg(group, signal.SIGKILL)


def _kill(pid: int) -> None:
    """Kill a command and its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL) if hasattr(os, "killpg") else os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
