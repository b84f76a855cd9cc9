"""The judge of image quality: ``from depictqa_core import load_judge``."""

__version__ = "0.1.0"
__all__ = ["load_judge"]


def __getattr__(name: str):
    # Brought in when first used, so that importing the package stays free.
    if name == "load_judge":
        from .judge import load_judge

        return load_judge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
