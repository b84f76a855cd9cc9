"""The root of the repository, and what tests compare when two folders must be alike."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def contents(root: Path) -> dict[str, str]:
    """Path below ``root`` -> SHA-256, of every file: small enough for a difference to be read."""
    files = [file for file in root.rglob("*") if file.is_file()]
    return {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
