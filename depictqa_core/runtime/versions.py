"""The oldest supported versions of the packages that the judge needs; tests and packaging use the same numbers."""

import importlib.metadata
import sys

from packaging.version import InvalidVersion, Version

from ..errors import PackageError, quoted

OLDEST = {
    "torch": "2.6.0",
    "transformers": "4.50.3",
    "peft": "0.18.1",
    "accelerate": "1.1.0",
    "safetensors": "0.4.3",
    "pillow": "10.1.0",
    "numpy": "1.26.0",
}
ALWAYS = ("torch", "transformers", "safetensors", "pillow", "numpy")
"""Packages that every checkpoint needs; peft is for LoRA, accelerate for several devices and quantised weights."""


def require(*packages: str) -> None:
    """Check that packages are installed and new enough.

    Args:
        packages: names in ``OLDEST``.

    Raises:
        PackageError: a package is missing or too old; the message has the command that installs it.
    """
    for name in packages:
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = None
        if installed is None:
            raise PackageError(f"{name} is not installed; run {upgrade(name)}")
        try:
            old = Version(installed) < Version(OLDEST[name])
        except InvalidVersion:  # a custom build
            old = False
        if old:
            raise PackageError(f"{name} {installed} is too old, {OLDEST[name]} or newer is needed; run {upgrade(name)}")


def import_failed(error: BaseException | None) -> bool:
    """Return whether an error comes from a failed import; transformers raises such errors under other names."""
    return error is not None and (isinstance(error, ImportError) or import_failed(error.__cause__))


def mismatch(error: Exception) -> PackageError:
    """Return the error for a package that cannot be imported together with another, although both are new enough."""
    names = ("transformers", "torch", "peft", "accelerate")
    installed = []
    for name in names:
        try:
            installed.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            installed.append(f"{name} is missing")
    return PackageError(
        f"the installed packages do not fit together ({', '.join(installed)}: {quoted(error)}); run {upgrade(*names)}"
    )


def upgrade(*names: str) -> str:
    """Return the command that installs or upgrades packages in this environment."""
    wanted = " ".join(f'"{name}>={OLDEST[name]}"' for name in names)
    return f'"{sys.executable}" -m pip install --upgrade {wanted}'
