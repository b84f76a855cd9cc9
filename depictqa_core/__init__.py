"""Judge image quality with a vision-language model: ``from depictqa_core import load_judge``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .judge import load_judge

__version__ = "0.5.0"
__all__ = ["load_judge"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that importing the package loads nothing.
    if name == "load_judge":
        from .judge import load_judge

        return load_judge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
