"""Loops that somebody ends by hand: after the current round, so that the best image so far is passed on."""

_running: dict[str, bool] = {}
"""Per loop, by the id of its end in the page: whether it should stop."""


def begin(end: str) -> None:
    """Note that a loop has begun; an older wish to stop it does not count."""
    _running[end] = False


def ask(end: str) -> None:
    """Have a loop stop after its current round.

    Raises:
        KeyError: this loop does not run, or is in its first round.
    """
    if end not in _running:
        raise KeyError(end)
    _running[end] = True


def asked(end: str) -> bool:
    """Return whether a loop should stop."""
    return _running.get(end, False)


def finish(end: str) -> None:
    """Note that a loop has ended."""
    _running.pop(end, None)
