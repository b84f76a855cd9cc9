"""Answers of servers on disk, in JSON lines that several processes share."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from ..chat.client import Reply, Step
from ..errors import DocumentError, StorageError
from ..storage.appending import append_jsonl
from ..storage.documents import parse_json


class ReplyCache:
    """Replies by the content of their requests: address, model, text, pixels and settings, but never the key.

    A line is read by whoever asks the same later, also while another process writes. Lines that were cut off or changed
    by hand so that they are no replies are asked for again.

    Args:
        folder: where the file of the server is; it is made.
        server: what tells servers and their models from one another.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, folder: str | Path, server: str):
        name = hashlib.sha256(server.encode()).hexdigest()[:16]
        self.path = Path(folder) / f"{name}.jsonl"
        self._known: dict[str, Reply] = {}
        self._read, self._lock = 0, threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be made ({error.strerror or error}); choose another folder") from None

    @staticmethod
    def key(request: dict[str, Any]) -> str:
        """Return the key of a request: the hash of all that it holds."""
        return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> Reply | None:
        """Return a stored reply, or None."""
        with self._lock:
            if key not in self._known:
                self._read_on()
            return self._known.get(key)

    def put(self, key: str, reply: Reply) -> None:
        """Store a reply.

        Raises:
            StorageError: the file cannot be written.
        """
        append_jsonl(self.path, {"key": key, "text": reply.text, "finish": reply.finish, "steps": reply.steps})
        with self._lock:
            self._known[key] = reply

    def _read_on(self) -> None:
        """Read the whole lines that came to the file since the last time."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._read)
                content = file.read()
        except OSError:  # nothing is stored yet
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                row = parse_json(line, self.path.name)
                self._known[row["key"]] = _reply(row)
            except (DocumentError, KeyError, TypeError, ValueError):
                continue


def _reply(row: dict[str, Any]) -> Reply:
    if not isinstance(row["text"], str) or not isinstance(row["finish"], str) or not isinstance(row["key"], str):
        raise TypeError("not a reply")
    steps = row["steps"]
    if steps is not None:
        steps = tuple(
            Step(str(token), logprob, tuple((str(name), value) for name, value in others))
            for token, logprob, others in steps
        )
    return Reply(row["text"], row["finish"], steps=steps)
