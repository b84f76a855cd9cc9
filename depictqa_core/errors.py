"""The exceptions of the judge: every message names the cause and what to do about it."""

import re

_UNSAFE_ADVICE = re.compile(r"weights[_ ]only|safe_globals|torch\.load|trust|allow_pickle", re.IGNORECASE)
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Line ends, control characters, marks that reverse the direction of writing, and what UTF-8 cannot hold."""


class DepictQAError(Exception):
    """Base of everything that the judge raises on purpose. ``str(error)`` is one readable line.

    Names of files and values out of them may hold anything; what would break the line or cannot be written is escaped.
    """

    def __str__(self) -> str:
        return _UNREADABLE.sub(lambda found: ascii(found[0])[1:-1], super().__str__())


class ImageError(DepictQAError):
    """An image that cannot be judged: unreadable, truncated, empty, not finite, too large or of a wrong shape."""


class DamagedFile(ImageError):
    """An image file whose pixel data are truncated or damaged. The message does not name the file."""


class CheckpointError(DepictQAError):
    """A checkpoint folder that is missing, incomplete, damaged, unsafe to read or of an unknown kind."""


class TaskError(DepictQAError):
    """A question that the judge cannot ask: unknown task, missing image, a task the checkpoint was never taught."""


class NothingToCompare(TaskError):
    """Images of several labels, no two of which may be compared."""


class OutOfMemory(DepictQAError):
    """A question that does not fit into memory even when it is asked alone."""


class StorageError(DepictQAError):
    """A file that cannot be written or is damaged, or a name that leads out of its folder."""


class PackageError(DepictQAError):
    """A package that is missing, too old, or does not work with another one that is installed."""


class DocumentError(DepictQAError, ValueError):
    """A file of settings, lists or records that cannot be read or does not hold what it should."""


def quoted(error: BaseException, length: int = 200) -> str:
    """Return what the exception of a library says, for a message of ours.

    Libraries advise to switch a protection off (``weights_only=False``, ``trust_remote_code=True``), which a file that
    was made to attack would be the first to profit from. Such sentences are left out.

    Args:
        error: the exception.
        length: maximum number of characters.

    Returns:
        one line, with the kind of exception in front where a single word or nothing is left.

    >>> quoted(RuntimeError("Bad file.\\nSet `weights_only=False` to load it.")), quoted(KeyError("x"))
    ('Bad file.', "KeyError 'x'")
    """
    sentences = re.split(r"(?<=[.!?])\s+|\n+", str(error))
    text = " ".join(" ".join(sentence for sentence in sentences if not _UNSAFE_ADVICE.search(sentence)).split())
    text = text if " " in text else f"{type(error).__name__} {text}".strip()
    return text if len(text) <= length else text[: length - 3] + "..."
