"""A large run into a file system that is really full: a small one in memory, mounted for the test alone."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from trees import ROOT

from depictqa_core.bulk.parts import read_rows

pytestmark = pytest.mark.slow
COUNT, PART_ROWS = 45, 3
MOUNT = 'mount -t tmpfs -o size=96k tmpfs "$1"'
RUN_INTO_FULL_DISK = f"""
{MOUNT} || exit 1
disk=$1 copies=$2
shift 2
"$@" >&2
echo $?
cp -r "$disk/out" "$copies/full"
mount -o remount,size=8m "$disk"
"$@" >&2
echo $?
cp -r "$disk/out" "$copies/whole"
"""
"""Runs a command twice, with a full disk and after room was made; prints both statuses and copies both tables."""


def mounted(script, disk, *words):
    """Run a script that may mount file systems: in name spaces of its own, so that nothing of it stays."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(disk), *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """A folder on which ``mounted`` scripts mount a small file system."""
    if shutil.which("unshare") is None:
        pytest.skip("the command unshare, which mounts a file system for one process, is only on Linux")
    folder = tmp_path / "disk"
    folder.mkdir()
    tried = mounted(MOUNT, folder)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    return folder


def test_a_full_disk_loses_nothing_and_the_same_command_resumes(tmp_path, disk, checkpoint):
    pytest.importorskip("pyarrow")
    pictures = tmp_path / "pics"
    pictures.mkdir()
    for n in range(COUNT):
        Image.fromarray(np.full((40, 48, 3), 5 * n, np.uint8)).save(pictures / f"{n}.png")
    command = [sys.executable, "-m", "depictqa_core", "judge", pictures, "--checkpoint", checkpoint, "--device", "cpu"]
    command += ["--out", disk / "out", "--rows", PART_ROWS, "--format", "parquet", "--quiet"]

    done = mounted(RUN_INTO_FULL_DISK, disk, tmp_path, *command)

    assert done.stdout.split() == ["1", "0"]
    (message,) = done.stderr.splitlines()
    names = [str(pictures / f"{n}.png") for n in range(COUNT)]
    finished = [row["image"] for row in read_rows(tmp_path / "full")]
    part = disk / "out" / f"part-{len(finished) // PART_ROWS:06d}.parquet"
    assert message.startswith(f"depictqa: {part}: cannot be written (") and "No space left on device" in message
    assert finished == names[: len(finished)] and 0 < len(finished) < COUNT and len(finished) % PART_ROWS == 0
    assert not list((tmp_path / "full").glob(".*.part"))
    assert [row["image"] for row in read_rows(tmp_path / "whole")] == names
