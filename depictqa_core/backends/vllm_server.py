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
from pathlib import Path
from typing import Any

from ..chat.endpoint import Endpoint, EndpointError
from ..errors import CheckpointError, PackageError, quoted
from ..storage.documents import read_json
from .profiles import Profile, choose_profile
from .vlm_loading import card_of, check_files, read_config
from .vlm_processor import CONFIG

START_SECONDS = 1800.0
"""Seconds that a large model may take to load and compile."""
CONCURRENCY = 32
"""Parallel requests: vLLM computes them together."""
_HOST, _POLL = "127.0.0.1", 0.25
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
"""vLLM reports its use to its makers otherwise, and looks for newer files."""


class VllmServer:
    """Serve a model folder by vLLM; other users of the machine do not have its key.

    The server ends with ``close``, with this object, and with this process, however that ends. Its GPUs are those that
    this process sees.

    Args:
        folder: of a vision-language model.
        arguments: further ones of ``vllm serve``, as on a command line.
        patience: seconds that it may take to start.

    Attributes:
        endpoint: where it answers; the model has the name of the folder.
        profile, card: of the model, as if it were loaded from its folder.

    Raises:
        PackageError: there is no command ``vllm``.
        CheckpointError: the folder is no complete vision-language model, or the arguments cannot be used.
        EndpointError: the server ended, or did not answer in time.
    """

    def __init__(self, folder: Path, arguments: str = "", patience: float = START_SECONDS):
        command, words = shutil.which("vllm"), _words(arguments)
        content = read_json(folder / CONFIG, error=CheckpointError)
        check_files(folder, content)
        config = read_config(folder, content)
        self.profile: Profile = choose_profile(folder, config.model_type)
        self.card: dict[str, Any] = card_of(folder, config, self.profile)
        if command is None:
            raise PackageError(
                "there is no command vllm: install vLLM, or put the folder of the command, which may be in another"
                " environment, into PATH; or leave out vllm"
            )
        port, name = _free_port(), folder.name
        self.endpoint = Endpoint(f"http://{_HOST}:{port}/v1", name, secrets.token_urlsafe(24))
        serve = [command, "serve", str(folder), "--host", _HOST, "--port", str(port), "--served-model-name", name]
        self._name, self._log = f"vllm serve {name}", tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "depictqa_core.runtime.tied", *serve, *words],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=_environment(self.endpoint),
        )
        self.close = weakref.finalize(self, _end, self._process)
        try:
            self._wait(port, patience)
        except BaseException:
            self.close()
            raise

    def _wait(self, port: int, patience: float) -> None:
        """Wait until the server answers."""
        latest = time.monotonic() + patience
        while not _healthy(port):
            if (end := self.ended()) is not None:
                raise EndpointError(end)
            if time.monotonic() > latest:
                raise EndpointError(
                    f"{self._name} did not answer within {patience:.0f} s; the last line: {self._last_line()}"
                )
            time.sleep(_POLL)

    def ended(self) -> str | None:
        """Return how the server ended, if it did."""
        status = self._process.poll()
        return None if status is None else f"{self._name} ended with status {status}: {self._last_line()}"

    def _last_line(self) -> str:
        """The last line that the server printed which says anything."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return quoted(RuntimeError(next((line for line in reversed(lines) if line.strip()), "nothing was printed")))


def _words(arguments: str) -> list[str]:
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise CheckpointError(f"the arguments of vLLM cannot be read ({error}): {arguments}") from None
    if any(word.replace("_", "-").startswith("--trust-remote-code") for word in words):
        raise CheckpointError("code of models is never run: leave --trust-remote-code out")
    return words


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as free:
        return free.getsockname()[1]


def _environment(endpoint: Endpoint) -> dict[str, str]:
    """Where ``runtime.tied`` is found, and the key of the server, which no list of processes shows."""
    paths = [str(Path(__file__).absolute().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **_QUIET, "PYTHONPATH": os.pathsep.join(paths), "VLLM_API_KEY": endpoint.key or ""}


def _healthy(port: int) -> bool:
    """Whether the server answers; a proxy of the environment is not asked."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen) -> None:
    """Close the pipe that the server lives by, and wait until it has ended."""
    if process.stdin is not None:
        process.stdin.close()
    process.wait()
