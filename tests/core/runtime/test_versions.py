"""Packages that are missing or too old are named, with the command; and the judge runs without warnings."""

import importlib.metadata
import os
import subprocess
import sys

import pytest
from tiny import make_tiny_checkpoint
from trees import ROOT

from depictqa_core import load_judge
from depictqa_core.errors import PackageError
from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.runtime.versions import OLDEST, require


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("lora"), "clip", lora={"r": 4})


@pytest.fixture
def installed(monkeypatch):
    """Pretends that one package has another version, or (None) is not installed."""
    version = importlib.metadata.version

    def pretend(package, other):
        def of(name):
            if name == package and other is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return other if name == package else version(name)

        monkeypatch.setattr(importlib.metadata, "version", of)

    return pretend


@pytest.mark.parametrize("package", OLDEST)
@pytest.mark.parametrize("old", ["0.0.1", None])
def test_what_is_missing_or_too_old_is_named_with_the_command(installed, lora, package, old):
    installed(package, old)
    device = "balanced" if package == "accelerate" else "cpu"
    with pytest.raises(PackageError, match=package) as refused:
        load_judge(lora, device)
    message = str(refused.value)
    assert f'pip install --upgrade "{package}>={OLDEST[package]}"' in message and "folder again" not in message
    assert "not installed" in message if old is None else f"{package} 0.0.1 is too old" in message


def test_only_what_a_checkpoint_needs_is_asked_for(installed, tmp_path):
    installed("peft", None)
    load_checkpoint(make_tiny_checkpoint(tmp_path / "c"))


@pytest.mark.parametrize("version", ["99.0", "2.9.0+cu128", "3.0.0.dev20260101", "somebody's own"])
def test_newer_and_unknown_versions_are_taken(installed, version):
    installed("torch", version)
    require("torch")


@pytest.mark.slow
def test_packages_that_do_not_fit_together_are_no_damaged_checkpoint(lora, tmp_path):
    (tmp_path / "peft.py").write_text("from transformers import NothingOfThisName\n")
    code = "import sys; from depictqa_core import load_judge; load_judge(sys.argv[1], 'cpu')"
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, str(lora)], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "PackageError: the installed packages do not fit together" in last and "folder again" not in last
    assert "peft " in last and "pip install --upgrade" in last


QUIET = """
import sys
from depictqa_core.cli.commands import main
sys.exit(max(main([verb, sys.argv[1], "--quiet"]) for verb in ("score", "describe", "rank")))
"""


@pytest.mark.slow
def test_quiet_is_quiet():
    """From the import of every package on: one process, since each costs seconds."""
    image = ROOT / "workflows" / "samples" / "garage_dark.jpg"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", QUIET, image], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
