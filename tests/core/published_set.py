"""Where the tests of the published weights find their tiny set: the files as they were published, and their parts."""

import sys
from pathlib import Path

PARITY = Path(__file__).resolve().parents[1] / "parity"
sys.path.insert(0, str(PARITY))

import tiny_set  # noqa: E402, F401


def parts(published_files, delta="projector", clip="ViT-tiny-14.pt"):
    return {
        "clip": published_files / "clip" / clip,
        "llm": published_files / "llm",
        "delta": published_files / "delta" / f"ckpt_{delta}.pt",
    }
