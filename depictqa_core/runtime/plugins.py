"""What other packages add by entry points: judges (``depictqa.judges``) and metrics (``depictqa.metrics``)."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import PackageError, quoted

JUDGES, METRICS = "depictqa.judges", "depictqa.metrics"


def plugins(group: str) -> dict[str, EntryPoint]:
    """Find what the installed packages add, without importing them.

    Args:
        group: ``JUDGES`` or ``METRICS``.

    Returns:
        entry points by name, in the order of names.

    Raises:
        PackageError: two packages use one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise PackageError(
                f"{group}: two installed packages provide {entry.name} ({other.value}, {entry.value}); uninstall one"
            )
    return found


def load_plugin(entry: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        PackageError: the package cannot be imported; names it.
    """
    package = entry.dist.name if entry.dist else entry.module
    try:
        return entry.load()
    except Exception as error:  # code of others may raise anything
        raise PackageError(
            f"{entry.name} of package {package} cannot be loaded ({quoted(error)}); update it"
        ) from error
