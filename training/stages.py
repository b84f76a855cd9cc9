"""A chain of commands in stages: each is run once, its time is stored, and an interrupted chain resumes."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from depictqa_core.errors import DepictQAError
from depictqa_core.storage.documents import read_json

from .output_files import write_text

CHECKOUT = Path(__file__).resolve().parents[1]


class StageFailed(DepictQAError):
    """A command of a stage failed; the stages before it are done."""


@dataclass(frozen=True)
class Command:
    """One command line for bash.

    Attributes:
        line: the command; "python" is the interpreter that runs the chain. A stage is run again when this text changes,
            so what does not change its files, such as a path of the checkout, belongs to the ``variables`` of
            ``run_line``.
        new: files and folders that the command makes and does not replace: what an interrupted one left of them is
            removed before it is run again.
    """

    line: str
    new: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """Commands that belong together; their files are below the folder of the chain."""

    name: str
    commands: tuple[Command, ...]


class Chain:
    """The stages of one run in a folder.

    Args:
        stages: in order; a stage depends on all before it.
        root: folder that the commands run in; ``chain.json`` in it has what is done.
        run: runs one command line in a folder and returns its exit status.
        about: further facts about the run for ``chain.json``.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        root: str | Path,
        run: Callable[[str, Path], int] | None = None,
        about: Mapping[str, object] | None = None,
    ):
        self.about = about or {}
        self.stages, self.root, self.run = stages, Path(root), run or run_line
        self.file = self.root / "chain.json"
        self.done: dict[str, dict] = read_json(self.file)["stages"] if self.file.exists() else {}

    def go(self, report: Callable[[str], object] = print) -> None:
        """Run what is not done. A stage whose commands, or those of a stage before it, have changed is run again.

        Raises:
            StageFailed: a command failed; the same call resumes with it.
            StorageError: what is done cannot be written.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        before = ""
        for number, stage in enumerate(self.stages, 1):
            where = f"[{number}/{len(self.stages)}] {stage.name}"
            before = mark = _digest(before, stage)
            state = self.done.get(stage.name)
            if state is None or state["commands"] != mark:
                state = self.done[stage.name] = {"commands": mark, "done": 0, "seconds": 0.0}
            if state["done"] == len(stage.commands):
                report(f"{where}: done before in {state['seconds']:.0f} s")
                continue
            for command in stage.commands[state["done"] :]:
                report(f"{where}: {command.line}")
                self._command(stage, command, state)
            state["finished"] = time.strftime("%Y-%m-%d %H:%M:%S")
            self._store()
            report(f"{where}: {state['seconds']:.0f} s")

    def _command(self, stage: Stage, command: Command, state: dict) -> None:
        for name in command.new:
            path = self.root / name
            rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        start = time.monotonic()
        try:
            status = self.run(command.line, self.root)
        finally:  # the time of a command that is interrupted was spent, too
            state["seconds"] = round(state["seconds"] + time.monotonic() - start, 1)
            self._store()
        if status:
            raise StageFailed(
                f"stage {stage.name}: the command ended with status {status}: {command.line}\n"
                "mend its cause; the same command resumes here"
            )
        state["done"] += 1
        self._store()

    def _store(self) -> None:
        content = {**self.about, "machine": machine(), "commit": commit(), "stages": self.done}
        write_text(self.file, json.dumps(content, indent=1) + "\n")

    def times(self) -> str:
        """The time of every finished stage, as a table."""
        rows = [(stage.name, self.done[stage.name]["seconds"]) for stage in self.stages if stage.name in self.done]
        rows.append(("total", sum(seconds for _, seconds in rows)))
        return "\n".join(f"{name:<12}{seconds / 60:>9.1f} min" for name, seconds in rows)


def _digest(before: str, stage: Stage) -> str:
    text = json.dumps([before, stage.name, [[one.line, one.new] for one in stage.commands]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_line(line: str, folder: Path, variables: Mapping[str, str] | None = None) -> int:
    """Run a command line with bash in a folder, with this interpreter and this checkout; return its exit status.

    Args:
        variables: further environment variables.
    """
    first = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(CHECKOUT)}
    paths = {name: os.pathsep.join(filter(None, [path, os.environ.get(name)])) for name, path in first.items()}
    environment = {**os.environ, **paths, **(variables or {})}
    return subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=folder, env=environment).returncode


def machine() -> dict:
    """What times depend on."""
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }


def commit() -> str | None:
    """The commit of the checkout, with "+" where files differ from it; None outside of a clone."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
