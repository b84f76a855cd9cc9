"""The former place of the functions that write files, for scripts of one more release: see ``storage``."""

from .storage.appending import append_csv, append_text
from .storage.files import *  # noqa: F403

__all__ = ["append_csv", "append_text"]
