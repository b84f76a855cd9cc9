"""The former place of the functions that write files, for scripts of one more release: see ``storage``."""

from .storage.appending import append_csv, append_jsonl, append_text
from .storage.files import locked, new_folder, replacing, rewriting, write_file

__all__ = [
    "append_csv",
    "append_jsonl",
    "append_text",
    "locked",
    "new_folder",
    "replacing",
    "rewriting",
    "write_file",
]
