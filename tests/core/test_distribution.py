"""What the wheel and the sdist hold, built as pip builds them: the sdist from the tree, the wheel from the sdist."""

import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from depictqa_core import __version__

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
HEAVY = ".safetensors"
CACHES = {".hypothesis", ".ruff_cache", ".mypy_cache", ".pytest_cache"}
LEFT_OUT = {".git", ".venv", "build", "dist", "runs", "data"} | CACHES


def tree() -> list[Path]:
    """Files of the repository, relative to its root; not what tests and builds leave there."""
    tops = [path for path in ROOT.iterdir() if path.name not in LEFT_OUT and path.suffix != ".egg-info"]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*")) if file.is_file()]
    return [f.relative_to(ROOT) for f in files if "__pycache__" not in f.parts and not f.match("ranking.*")]


def built(kind: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist and the folder that it unpacks to. Weights are empty files, as only names are looked at."""
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("sdist")
    for file in tree():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes(b"" if file.suffix == HEAVY else (ROOT / file).read_bytes())
    with tarfile.open(built("sdist", copy, out)) as archive:
        for member in archive:  # extractall has no filter before Python 3.11.4
            archive.extract(member, out)
    return out / f"depictqa-{__version__}"


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    with zipfile.ZipFile(built("wheel", sdist, tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


@pytest.mark.slow
def test_the_sdist_holds_the_repository(sdist):
    missing = [str(file) for file in tree() if not (sdist / file).is_file()]
    assert not missing


@pytest.mark.slow
def test_the_wheel_holds_the_judge_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    own = {str(file.as_posix()) for file in tree() if file.parts[0] == "depictqa_core"}
    assert names == own
    assert {"depictqa_core/py.typed", "depictqa_core/judge.py"} < names


def test_the_wheel_states_its_licence_version_and_addresses(wheel):
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    facts = email.message_from_bytes(wheel.read(path))
    assert (facts["Name"], facts["Version"], facts["License-Expression"]) == ("depictqa", __version__, "Apache-2.0")
    assert {"LICENSE", "NOTICE"} <= set(facts.get_all("License-File"))
    addresses = dict(line.split(", ", 1) for line in facts.get_all("Project-URL"))
    assert {"Repository", "Documentation", "Issues"} <= addresses.keys()
    pythons = {line.rpartition(" ")[2] for line in facts.get_all("Classifier") if "Python :: 3." in line}
    assert pythons == {"3.10", "3.11", "3.12", "3.13"}
