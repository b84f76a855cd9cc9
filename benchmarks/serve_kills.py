"""``depictqa serve`` killed under load, again and again: no answer is lost, doubled or changed.

    python -m benchmarks.serve_kills --kills 20 --out benchmarks/results/serve_kills.json

Several clients score images through a server of the bundled judge, again and again. It is killed with SIGKILL as soon
as it has answered for a while, and started again at the same port. The scores are compared with those of the judge in
this process.
"""

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.judge_kills import store
from benchmarks.scale import make_images
from benchmarks.serve import started
from depictqa_core import load_judge
from depictqa_core.chat.endpoint import EndpointError
from depictqa_core.images.image import RGBImage, as_image
from depictqa_core.results import Score

TOLERANCE = 0.05
"""Points by which scores may differ between batches."""


class Restarted:
    """A server that a thread kills and starts again.

    Attributes:
        port: where it listens, also after a restart.
        kills: number of kills so far.
    """

    def __init__(self, kills: int, pause: float):
        self._most, self._pause = kills, pause
        self._process, self.port = started()
        self.kills = 0
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self.kills < self._most and not self._finished.wait(self._pause):
            self._process.kill()
            self._process.wait()
            self.kills += 1
            self._process, _ = started(self.port)

    def close(self) -> None:
        """End the thread, and the server as SIGTERM does."""
        self._finished.set()
        self._thread.join()
        self._process.terminate()
        self._process.wait(60)


def scored(address: str, images: list[RGBImage]) -> list[Score]:
    """Scores by a new judge, as one stores its answers; what a kill interrupts is repeated."""
    judge = None
    while True:
        try:
            judge = judge or load_judge(address, model="depictqa-mini")
            return judge.score(images)
        except EndpointError:  # the start takes longer than a client repeats a request
            time.sleep(1)


class Clients:
    """Threads that each score the images of a folder by new judges until the server has been killed often enough.

    Attributes:
        answered, odd: number of answers, and of those that were lost or changed.
    """

    def __init__(self, server: Restarted, kills: int, images: list[RGBImage], wanted: list[float]):
        self._server, self._kills, self._images, self._wanted = server, kills, images, wanted
        self._lock = threading.Lock()
        self.answered = self.odd = 0

    def run(self, count: int) -> None:
        """Run this number of clients until they end."""
        threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self) -> None:
        while self._server.kills < self._kills:
            found = scored(f"http://127.0.0.1:{self._server.port}/v1", self._images)
            same = [(one.picture, abs(one.score - score) <= TOLERANCE) for one, score in zip(found, self._wanted)]
            odd = sum(name != image.name or not equal for (name, equal), image in zip(same, self._images))
            with self._lock:
                self.answered += len(found)
                self.odd += odd + len(self._images) - len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="default: 20")
    parser.add_argument("--pause", type=float, default=6.0, help="seconds between a start and a kill (default: 6)")
    parser.add_argument("--images", type=int, default=8, help="images that a client asks about at a time (default: 8)")
    parser.add_argument("--clients", type=int, default=4, help="default: 4")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Restarted(options.kills, options.pause)) as server:
        images = [as_image(path) for path in make_images(Path(folder), options.images)]
        wanted = [score.score for score in load_judge().score(images)]
        clients = Clients(server, options.kills, images, wanted)
        clients.run(options.clients)
    seconds = time.perf_counter() - began
    kills, answered, odd = server.kills, clients.answered, clients.odd
    print(f"{kills} kills in {seconds:.0f} s: {answered} answers to {options.clients} clients, {odd} lost or changed")
    if options.out:
        facts = {"kills": kills, "clients": options.clients, "answers": answered, "odd_answers": odd}
        store(options.out, {**facts, "seconds": round(seconds)})
    sys.exit(1 if odd else 0)


if __name__ == "__main__":
    main()
