"""Progress of a call, and how Cancel reaches the work."""

from collections.abc import Callable, Sequence

Progress = Callable[[int, int], None]
"""Called as (done, total); what it raises stops the work."""
OnText = Callable[[int, str], None]
"""Called as (index of the question, its answer so far) while answers are written."""


def renumbered(on_text: OnText | None, members: Sequence[int]) -> OnText | None:
    """Return ``on_text`` for a part of the questions: the n-th of the part is question ``members[n]`` of the whole."""
    if on_text is None:
        return None
    return lambda place, text: on_text(members[place], text)


class ProgressCounter:
    """Adds up the progress of several passes into one count that never falls; what ``progress`` raises is Cancel.

    Args:
        progress: called with (done, total), or None.
        total: number of questions of the whole call.
    """

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        """Count finished questions and report."""
        self.done += count
        self.check()

    def check(self) -> None:
        """Report without a new count, so that Cancel works in the middle of a question."""
        if self.progress:
            self.progress(self.done, self.total)

    def silent(self) -> "ProgressCounter":
        """Return a counter for questions behind a question: it reports no new count, and Cancel works."""
        return ProgressCounter(lambda done, total: self.check(), 0)

    def finish(self) -> None:
        """Report that what was still to do is not needed."""
        if self.done < self.total:
            self.add(self.total - self.done)
