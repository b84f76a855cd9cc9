"""What a build depends on, beside its shards."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from depictqa_core.loading.checkpoint_folder import file_hash
from depictqa_core.storage.documents import read_json
from training.output_files import write_text

from .shard import BuildError


class Ledger:
    """A file next to the shards with everything that a build depends on, so that it is not resumed with other settings,
    and the skipped sources (``skipped``: name -> reason, of all runs so far)."""

    def __init__(self, file: Path):
        self.file = file
        self.skipped: dict[str, str] = {}

    def open(self, settings: dict) -> None:
        """Start or resume a build; unfinished files of a killed run are removed.

        Raises:
            BuildError: the build was started with other settings, or the file is damaged.
        StorageError: it cannot be written.
        """
        self._settings = json.loads(json.dumps(settings))  # tuples become lists, as they are read back
        _remove_parts(self.file.parent)
        if not self.file.exists():
            self._write()
            return
        before = read_json(self.file, remedy="choose an empty folder", error=BuildError)
        if unknown := [name for name in self._settings if name not in before]:
            raise BuildError(
                f"{self.file} does not contain the {' and '.join(unknown)} of its build: an older version started it, "
                "and its shards may be of other sources; choose an empty folder"
            )
        changed = [name for name, value in self._settings.items() if before.get(name) != value]
        if changed:
            raise BuildError(
                f"{self.file.parent} began with other {' and '.join(changed)}; choose an empty folder or the same "
                "arguments"
            )
        self.skipped = before.get("skipped", {})

    def note(self, skipped: dict[str, str]) -> None:
        """Store sources that could not be used."""
        if skipped.keys() - self.skipped.keys():
            self.skipped.update(skipped)
            self._write()

    def close(self) -> None:
        """Finish a build: remove unfinished files of workers that died."""
        _remove_parts(self.file.parent)

    def _write(self) -> None:
        document = json.dumps({**self._settings, "skipped": self.skipped}, indent=1, ensure_ascii=False)
        write_text(self.file, document + "\n")


def names_digest(names: tuple[str, ...]) -> str:
    """What the settings of a build keep of its list of sources."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def contents_digest(folder: str | Path, names: tuple[str, ...]) -> str:
    """What the settings of a build keep of what its sources hold: another image under an old name is another one."""

    def hashed(name: str) -> str:
        try:
            return file_hash(Path(folder) / name)
        except OSError:
            return "unreadable"

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return hashlib.sha256("\n".join(pool.map(hashed, names)).encode()).hexdigest()


def _remove_parts(folder: Path) -> None:
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)
