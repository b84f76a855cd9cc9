"""Standard streams that may be closed, and what libraries print into them."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator


def open_streams() -> None:
    """Give a program that was started without standard streams (by a service, by ``pythonw``) ones that lead nowhere.

    The numbers 0 to 2 are taken as well: otherwise the next file that is opened would get one of them, and what a
    library prints would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            if nowhere != number:
                os.close(nowhere)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


@contextlib.contextmanager
def library_messages(quiet: bool) -> Iterator[None]:
    """Keep warnings and log lines of libraries from the person at the command line, who can do nothing about them.

    Errors are logged all the same, and warnings that were asked for by ``python -W`` or ``PYTHONWARNINGS`` are shown.

    Args:
        quiet: show none of them, whatever was asked for.
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
