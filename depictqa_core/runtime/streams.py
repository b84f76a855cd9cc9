"""Closed standard streams, and messages of libraries."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator


def open_streams() -> None:
    """Open null streams in a program that was started without standard streams (by a service, by ``pythonw``).

    This also reserves the file descriptors 0 to 2: otherwise the next opened file would get one of them, and output of
    libraries would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
            if nowhere != number:
                os.close(nowhere)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


@contextlib.contextmanager
def library_messages(quiet: bool) -> Iterator[None]:
    """Hide warnings and log messages of libraries from the user of the command line.

    Errors are still logged, and warnings enabled by ``python -W`` or ``PYTHONWARNINGS`` are shown.

    Args:
        quiet: hide all of them.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        if quiet or not sys.warnoptions:
            warnings.simplefilter("ignore")
        logging.disable(max(before, logging.CRITICAL if quiet else logging.WARNING))
        try:
            yield
        finally:
            logging.disable(before)
