"""How the commands that resume end: with a status, and one line where something went wrong."""

import sys
from collections.abc import Callable

from depictqa_core.errors import DepictQAError
from training.dataset.building.synthesis import SceneError


def ended(work: Callable[[], None]) -> int:
    """Do the work of a command; the exit status: 0, 1 after an error of ours, 130 after Ctrl-C."""
    try:
        work()
    except (DepictQAError, SceneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to resume", file=sys.stderr)
        return 130
    return 0
