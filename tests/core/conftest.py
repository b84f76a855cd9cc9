"""What several files of tests share: a tiny random checkpoint, a folder of images, and the command line on them."""

import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from core.published_set import parts, tiny_set
from PIL import Image
from tiny import make_tiny_checkpoint

from depictqa_core import confidence
from depictqa_core.cli import commands as cli
from depictqa_core.engine import decoding
from depictqa_core.judge import load_judge
from depictqa_core.published.importer import import_published


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder "pics" below the working directory with four readable images."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    os.makedirs("pics/inner")
    for name in ("x10.png", "x2.png", "X1.jpg", "inner/deep.png"):
        Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(f"pics/{name}")
    Path("pics/notes.txt").write_text("no image")
    Path("pics/.hidden.png").write_bytes(b"")
    return "pics"


@pytest.fixture
def covered(monkeypatch):
    """Random weights cover no question; tests of what is done with their answers pass over that."""
    monkeypatch.setattr(confidence, "LOW_COVERAGE", 0.0)
    monkeypatch.setattr(confidence, "LEAST_COVERAGE", 0.0)


@pytest.fixture
def short_texts(monkeypatch):
    """Random weights never end a text by themselves, so every one would have its 400 tokens."""
    greedy = decoding.greedy

    def short(prefill, end, max_new_tokens, *rest):
        return greedy(prefill, end, min(max_new_tokens, 8), *rest)

    monkeypatch.setattr(decoding, "greedy", short)


@pytest.fixture
def depictqa(checkpoint, capsys, covered, short_texts):
    """Runs one command with the tiny checkpoint; gives (exit status, stdout, stderr)."""

    def run(*words):
        if words[0] != "info" and "--checkpoint" not in words:
            words = (words[0], "--checkpoint", str(checkpoint), *words[1:])
        capsys.readouterr()
        try:
            status = cli.main(list(map(str, words)))
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run


# ---------------------------------------------------------------------- judges


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("judges")
    return {kind: make_tiny_checkpoint(root / kind, kind, seed=2) for kind in ("cnn", "clip")}


@pytest.fixture(scope="module", params=["cnn", pytest.param("clip", marks=pytest.mark.slow)])
def judge(request, folders):
    return load_judge(folders[request.param], "cpu")


@pytest.fixture(scope="module")
def cnn(folders):
    return load_judge(folders["cnn"], "cpu")


# ---------------------------------------------------------------------- published weights


@pytest.fixture(scope="session")
def published_files(tmp_path_factory):
    """The tiny set in the published layout."""
    return tiny_set.write(tmp_path_factory.mktemp("published") / "set")


@pytest.fixture(scope="session")
def projector_folder(published_files):
    import_published(**parts(published_files), out=published_files / "projector")
    return published_files / "projector"


@pytest.fixture(scope="session")
def abstractor_folder(published_files):
    import_published(**parts(published_files, "abstractor"), out=published_files / "abstractor")
    return published_files / "abstractor"


# ---------------------------------------------------------------------- other packages


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package of one module with entry points, as pip leaves it."""

    def run(name, source, **groups):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[depictqa.{group}]\n{entry}\n" for group, entry in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        sys.modules.pop(name, None)

    monkeypatch.syspath_prepend(tmp_path)
    return run
