"""How a server is used as a judge: what ``load_judge`` and the command line take for it."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_CONCURRENCY = 8


@dataclass(frozen=True)
class ServerOptions:
    """How a server is used as a judge.

    Attributes:
        model: the name of the model on the server.
        concurrency: number of parallel requests; None for 8, or 32 for a server of its own.
        votes: how often every question is asked of a server without log-probabilities; None refuses such a server.
        cache: a folder in which answers are stored; None stores none.
        settings: a folder with ``depictqa_profile.json`` and ``depictqa_calibration.json``, as in a model folder.
        owned: whether whoever runs this process chose the address, as on a command line. A graph may come from others:
            then the key goes to the address in ``DEPICTQA_API_BASE`` alone.
        timeout: seconds that one attempt of a request may take.
        pause: seconds before a failed request is repeated; doubled every time.
    """

    model: str | None = None
    concurrency: int | None = None
    votes: int | None = None
    cache: str | Path | None = None
    settings: str | Path | None = None
    owned: bool = True
    timeout: float = 120
    pause: float = 1.0
