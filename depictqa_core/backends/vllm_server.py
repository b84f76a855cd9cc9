"""A vLLM server of a judge's own: ``vllm serve FOLDER`` on this machine, for as long as the judge lives."""

import http.client
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..chat.endpoint import Endpoint, EndpointError
from ..errors import CheckpointError, PackageError, quoted
from ..runtime import tied

START_SECONDS = 1800.0
"""Seconds that a large model may take to load and compile."""
CONCURRENCY = 32
"""Parallel requests: vLLM computes them together."""
OWN_CODE, SET_HERE = "--trust-remote-code", ("--config", "--api-key", "--uds", "--ssl-keyfile", "--ssl-certfile")
"""Arguments that are refused, abbreviated too: code of models is never run, and the others would hide the server."""
_SHORTEST = len("--tr")
_HOST, _POLL, _LOG_BYTES = "127.0.0.1", 0.25, 2**16
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
"""vLLM reports its use to its makers otherwise, and looks for newer files."""
_ROOT = Path(__file__).absolute().parents[2]


class VllmServer:
    """Serve a model folder by vLLM; who has not its key gets no answers.

    The server ends with ``close``, with this object, and with this process, however that ends. Its GPUs are those that
    this process sees.

    Args:
        folder: of a vision-language model.
        arguments: further ones of ``vllm serve``, as on a command line.
        card: what reports say of the model, as if it were loaded from its folder.
        patience: seconds that it may take to start.

    Attributes:
        endpoint: where it answers; the model has the name of the folder.
        identity: what its answers depend on.

    Raises:
        PackageError: there is no command ``vllm``.
        CheckpointError: the arguments cannot be used.
        EndpointError: the server ended, or did not answer in time.
    """

    def __init__(self, folder: Path, arguments: str, card: dict[str, Any], patience: float = START_SECONDS):
        command, words = shutil.which("vllm"), _words(arguments)
        if command is None:
            raise PackageError(
                "there is no command vllm: install vLLM, or put the folder of the command, which may be in another"
                " environment, into PATH; or leave out vllm"
            )
        folder = folder.absolute()
        port, self.card = _free_port(), card
        self.identity = f"vllm {card['version']} {shlex.join(words)}"
        self.endpoint = Endpoint(f"http://{_HOST}:{port}/v1", folder.name, secrets.token_urlsafe(24))
        self._name = f"vllm serve {folder.name}"
        # answers as our own code has them, without what a model folder says of sampling
        serve = [command, "serve", str(folder), "--generation-config", "vllm", "--uvicorn-log-level", "warning", *words]
        serve += ["--host", _HOST, "--port", str(port), "--served-model-name", folder.name]  # the last ones count
        handle, log = tempfile.mkstemp(prefix="depictqa-vllm-", suffix=".log")
        self._log = Path(log)
        with os.fdopen(handle, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", tied.__file__, *serve],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(self.endpoint),
                start_new_session=True,
            )
        self.close = weakref.finalize(self, _end, self._process, self._log)
        try:
            self._wait(patience)
        except BaseException:
            self.close()
            raise

    def ended(self) -> str | None:
        """Return how the server ended, if it did."""
        status = self._process.poll()
        if status is None:
            return None
        where = f" (all that it printed: {self._log})" if self._log.exists() else ""
        return f"{self._name} ended with status {status}: {self._last_words()}{where}"

    def _wait(self, patience: float) -> None:
        """Wait until the server answers."""
        latest = time.monotonic() + patience
        while not _answers(self.endpoint):
            if (end := self.ended()) is not None:
                raise EndpointError(end)
            if time.monotonic() > latest:
                raise EndpointError(f"{self._name} did not answer within {patience:.0f} s: {self._last_words()}")
            time.sleep(_POLL)

    def _last_words(self) -> str:
        """The line of the log that tells most about a failure."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - _LOG_BYTES))
                lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        except FileNotFoundError:
            return "it was closed"
        errors = [line for line in lines if "error" in line.lower() and "root cause above" not in line]
        line = next(iter(reversed(errors or lines)), "nothing was printed")
        return quoted(RuntimeError(line)) if " " in line else line


def _words(arguments: str) -> list[str]:
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise CheckpointError(f"the arguments of vLLM cannot be read ({error}): {arguments}") from None
    for name in (word.partition("=")[0].replace("_", "-") for word in words):
        if len(name) >= _SHORTEST and OWN_CODE.startswith(name):
            raise CheckpointError(f"code of models is never run: leave {OWN_CODE} out")
        if len(name) >= _SHORTEST and any(one.startswith(name) for one in SET_HERE):
            raise CheckpointError(f"leave {name} out: address, key and settings of the server are chosen here")
    return words


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as free:
        return free.getsockname()[1]


def _environment(endpoint: Endpoint) -> dict[str, str]:
    """That of this process, without this package, and with the key, which no list of processes shows."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = os.pathsep.join(path for path in paths if path and Path(path).absolute() != _ROOT)
    found = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own = {**({"PYTHONPATH": others} if others else {}), "VLLM_API_KEY": endpoint.key or ""}
    return {**found, **_QUIET, **own}


def _answers(endpoint: Endpoint) -> bool:
    """Whether the server is ready, and is ours: it refuses another key than its own."""
    wrong, right = f"Bearer {secrets.token_urlsafe(8)}", f"Bearer {endpoint.key}"
    asked: Sequence[tuple[str, str, int]] = (
        ("/health", "", 200),
        ("/v1/models", wrong, 401),
        ("/v1/models", right, 200),
    )
    return all(_status(endpoint, path, key) == wanted for path, key, wanted in asked)


def _status(endpoint: Endpoint, path: str, key: str) -> int | None:
    """Get a path; no proxy of the environment is asked."""
    connection = http.client.HTTPConnection(endpoint.origin.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": key} if key else {})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _end(process: subprocess.Popen, log: Path) -> None:
    """Close the pipe that the server lives by, and wait until it has ended; the log of a failure stays."""
    failed = process.poll() is not None
    if process.stdin is not None:
        process.stdin.close()
    process.wait()
    if not failed:
        log.unlink(missing_ok=True)
