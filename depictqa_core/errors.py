"""The exceptions of the judge: every message names the cause and what to do about it."""

import re

_UNSAFE_ADVICE = re.compile(r"weights[_ ]only|safe_globals|torch\.load|trust|allow_pickle", re.IGNORECASE)
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Line ends, control characters, bidirectional marks, and what UTF-8 cannot encode."""


class DepictQAError(Exception):
    """Base class of the judge's errors. ``str(error)`` is one readable line.

    File names and values from files may contain anything; characters that would break the line are escaped.
    """

    def __str__(self) -> str:
        return _UNREADABLE.sub(lambda found: ascii(found[0])[1:-1], super().__str__())


class ImageError(DepictQAError):
    """An image that cannot be judged: unreadable, truncated, empty, with NaN or Inf, too large or of a wrong shape."""


class DamagedFile(ImageError):
    """An image file whose pixel data are truncated or damaged. The message does not name the file."""


class CheckpointError(DepictQAError):
    """A checkpoint folder that is missing, incomplete, damaged, unsafe to read or of an unknown kind."""


class TaskError(DepictQAError):
    """A question that cannot be answered: unknown task, missing image, or a task that the checkpoint does not
    support."""


class NothingToCompare(TaskError):
    """Images of several labels, no two of which may be compared."""


class OutOfMemory(DepictQAError):
    """A question that does not fit into memory even with a batch size of 1."""


class StorageError(DepictQAError):
    """A file that cannot be written or is damaged, or a name that leads out of its folder."""


class PackageError(DepictQAError):
    """A package that is missing, too old, or incompatible with another installed package."""


class ClusterError(DepictQAError):
    """A cluster that does not answer, has no machine for the work, or failed for good."""


class DocumentError(DepictQAError, ValueError):
    """A file of settings, lists or records that cannot be read or has invalid contents."""


def quoted(error: BaseException, length: int = 200) -> str:
    """Return the message of a library's exception as one line, for a message of the judge.

    Libraries may advise to turn off a protection (``weights_only=False``, ``trust_remote_code=True``), which is wrong
    for a malicious file. Such sentences are removed.

    Args:
        error: the exception.
        length: maximum number of characters.

    Returns:
        One line, with the type of the exception in front if only one word or nothing is left.

    >>> quoted(RuntimeError("Bad file.\\nSet `weights_only=False` to load it.")), quoted(KeyError("x"))
    ('Bad file.', "KeyError 'x'")
    """
    sentences = re.split(r"(?<=[.!?])\s+|\n+", str(error))
    text = " ".join(" ".join(sentence for sentence in sentences if not _UNSAFE_ADVICE.search(sentence)).split())
    text = text if " " in text else f"{type(error).__name__} {text}".strip()
    return text if len(text) <= length else text[: length - 3] + "..."
