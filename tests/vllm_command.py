"""A stub of the command ``vllm``: ``vllm serve FOLDER`` answers as ``vlm_server.vllm`` does.

It notes its arguments in the folder of ``VLLM_STUB``, in a file with the number of its process.
"""

import json
import os
import sys
import time
from pathlib import Path

from trees import ROOT

NOTES = "VLLM_STUB"
BROKEN = """ERROR 11-30 [core.py:586] ValueError: the KV cache does not fit
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
[rank0]: destroying process group
"""


def install(folder: Path, monkeypatch) -> Path:
    """Put the command into PATH; return the folder of its notes."""
    command, notes = folder / "bin" / "vllm", folder / "notes"
    command.parent.mkdir()
    notes.mkdir()
    paths = [str(ROOT), str(ROOT / "tests")]
    source = f"import sys\nsys.path[:0] = {paths}\nimport vllm_command\nvllm_command.main()\n"
    command.write_text(f"#!{sys.executable}\n{source}")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(NOTES, str(notes))
    return notes


def noted(notes: Path) -> dict[int, dict]:
    """What every server noted, by the number of its process."""
    return {int(path.name): json.loads(path.read_text()) for path in sorted(notes.iterdir(), key=os.path.getmtime)}


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(pid: int, seconds: float = 20) -> bool:
    """Whether a process ends in time."""
    latest = time.monotonic() + seconds
    while runs(pid) and time.monotonic() < latest:
        time.sleep(0.05)
    return not runs(pid)


def main() -> None:
    from chat_server import Server
    from vlm_server import vllm

    words, key = sys.argv[1:], os.environ["VLLM_API_KEY"]
    names = ("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "PYTHONPATH")
    noting = {"words": words, "key": key, "environment": {name: os.environ.get(name) for name in names}}
    Path(os.environ[NOTES], str(os.getpid())).write_text(json.dumps(noting))
    if "--broken" in words:
        sys.exit(BROKEN)
    if "--child" in words and not os.fork():  # as vLLM has processes of its own, which may outlive it
        Path(os.environ[NOTES], str(os.getpid())).write_text("{}")
        time.sleep(60)
    if "--silent" in words:
        time.sleep(60)
    stub = vllm()

    def answer(number: int, request: dict):
        if server.get("/v1", server.headers[number]) != 200:
            return 401, {}, {"error": {"message": "Unauthorized"}}
        return stub(number, request)

    def get(path: str, headers) -> int:
        return 200 if not path.startswith("/v1") or headers.get("Authorization") == f"Bearer {key}" else 401

    server = Server(answer, int(words[words.index("--port") + 1]))
    server.get = get
    server.http.serve_forever(poll_interval=0.01)
