"""Runs a recipe on two processes, as a user launches them."""

import os
import subprocess
import sys
from pathlib import Path

from trees import ROOT


def train_on_two(recipe: Path) -> None:
    """Train a recipe file on two processes of this machine; fails with their last words."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "training"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*command, "train", str(recipe)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
