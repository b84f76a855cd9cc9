"""The command line of the training package: interruptions and missing folders are one line, not a traceback."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from trees import ROOT

from training.__main__ import main


def test_an_interrupted_command_says_how_it_resumes(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.dataset.building.scenes.build_scenes", interrupted)
    assert main(["build", str(tmp_path), str(tmp_path / "out"), "--scenes", "1"]) == 130
    assert capsys.readouterr().err.endswith("interrupted; run the same command again to resume\n")


def test_an_interrupted_command_that_starts_again_does_not_promise_to_resume(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.trainer.storage_format.convert", interrupted)
    assert main(["convert", str(tmp_path), str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"
    monkeypatch.setattr("training.trainer.recipe.read_recipe", interrupted)
    assert main(["train", "a.yaml"]) == 130
    assert capsys.readouterr().err == "\ninterrupted; run the same command again to resume\n"
    assert main(["train", "a.yaml", "--restart"]) == 130
    assert capsys.readouterr().err == "\ninterrupted; run the same command without --restart to resume\n"


@pytest.mark.slow
def test_ctrl_c_ends_a_build_with_its_workers_in_one_line(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse.resize((400, 300), Image.Resampling.BICUBIC).save(tmp_path / "images" / f"{number}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "training", "build", str(tmp_path / "images"), str(out)]
    command += ["--scenes", "100000", "--workers", "2"]
    # a shell without a terminal may have had its children ignore Ctrl-C
    restore = "import signal, runpy; signal.signal(signal.SIGINT, signal.default_int_handler);"
    command[1:3] = ["-c", f"{restore} runpy.run_module('training', run_name='__main__', alter_sys=True)"]
    options = {"cwd": ROOT, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, start_new_session=True, **options) as build:
        try:
            deadline = time.monotonic() + 200
            while not (out / "images").exists() and time.monotonic() < deadline:
                time.sleep(0.2)
            os.killpg(build.pid, signal.SIGINT)
            _, said = build.communicate(timeout=60)
        finally:
            if build.poll() is None:
                os.killpg(build.pid, signal.SIGKILL)
    assert build.returncode == 130 and "Traceback" not in said
    assert said.rstrip().endswith("interrupted; run the same command again to resume")


@pytest.mark.parametrize("words", [["build", "{}", "out", "--scenes", "1"], ["split", "{}", "out.json"]])
def test_a_missing_folder_is_not_called_empty(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    missing = tmp_path / "missing"
    assert main([word.format(missing) for word in words]) == 1
    assert f"there is no folder {missing}" in capsys.readouterr().err
    missing.mkdir()
    assert main([word.format(missing) for word in words]) == 1
    assert "no images (" in capsys.readouterr().err
