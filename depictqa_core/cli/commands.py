"""The command line ``depictqa``: identify, describe, compare, score and rank images, import and info of checkpoints.

Exit status: 0 everything was judged; 1 nothing could be judged; 2 the command line is wrong; 3 some images could not
be judged (reported on stderr, in the JSON and in the CSV) and the rest was; 130 interrupted (also by SIGTERM).
"""

import os
import sys

from ..errors import DepictQAError, quoted
from ..runtime.stopping import interrupted_by_signals
from ..runtime.streams import library_messages
from .arguments import parse
from .checkpoints import import_weights, info
from .culling import cull
from .judging import check, compare, describe, identify, map_tiles, rank, score
from .large_runs import judge_all
from .leaderboard import compare_models
from .metrics import measure
from .outputs import complain
from .reporting import report
from .serving import serve
from .study import study
from .video import video


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status (see the module). A wrong command line raises SystemExit(2)."""
    options = parse(argv)
    for stream in (sys.stdout, sys.stderr):  # file names and model answers may contain any character
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with interrupted_by_signals(), library_messages(options.quiet):
            status = VERBS[options.verb](options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DepictQAError as error:
        complain(str(error))
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        if os.environ.get("DEPICTQA_TRACEBACK"):
            raise
        complain(f"failed: {type(error).__name__}: {quoted(error)} (set DEPICTQA_TRACEBACK=1 to see where)")
    return 1


VERBS = {
    "check": check,
    "identify": identify,
    "describe": describe,
    "score": score,
    "rank": rank,
    "compare": compare,
    "map": map_tiles,
    "video": video,
    "leaderboard": compare_models,
    "judge": judge_all,
    "cull": cull,
    "report": report,
    "metrics": measure,
    "serve": serve,
    "study": study,
    "info": info,
    "import": import_weights,
}
