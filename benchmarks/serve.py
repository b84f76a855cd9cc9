"""The rate of ``depictqa serve`` next to the bare judge, its latency under load, and slow clients next to a fast one.

    python -m benchmarks.serve --images 400 --out benchmarks/results/serve.json

The server is a process of its own with the bundled judge; clients are threads of this one. All figures come from one
run, in turns. Every image is sent once: the server stores answers. "direct" decodes the same files and scores them in
groups of 32, in a process without a server.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.scale import make_images

CLIENTS, SLOW, FAST = 8, 32, 40
"""Clients of the load, clients with slow networks, and requests of the fast client next to them."""
PIECE = 64
"""Bytes that a slow client sends in a tenth of a second."""


def direct(paths: list[str]) -> float:
    """Images per second of the judge alone."""
    code = (
        "import json, sys, time\n"
        "from depictqa_core import load_judge\n"
        "from depictqa_core.runtime.threads import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "paths, judge = json.load(sys.stdin), load_judge()\n"
        "judge.score(paths[0])\n"
        "began = time.perf_counter()\n"
        "for start in range(1, len(paths), 32):\n"
        "    judge.score(paths[start : start + 32])\n"
        "print((len(paths) - 1) / (time.perf_counter() - began))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(paths), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)


def started(port: int = 0) -> tuple[subprocess.Popen[str], int]:
    """Start a server of the bundled judge: its process and its port."""
    words = [sys.executable, "-m", "depictqa_core", "serve", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "DEPICTQA_SERVER_KEY"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/v1", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, int(found[1])
    raise RuntimeError(f"the server did not start (status {process.wait()})")


@contextlib.contextmanager
def served() -> Iterator[int]:
    """The port of a running server."""
    process, port = started()
    try:
        yield port
    finally:
        process.terminate()
        process.wait(60)


def request_of(path: str) -> tuple[bytes, dict[str, str]]:
    """A form with one image, and its headers."""
    head = f'--limit\r\nContent-Disposition: form-data; name="images"; filename="{Path(path).name}"\r\n\r\n'
    body = head.encode() + Path(path).read_bytes() + b"\r\n--limit--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=limit"}


def ask(connection: http.client.HTTPConnection, path: str) -> float:
    """Score one image; the time in seconds."""
    began = time.perf_counter()
    while True:
        connection.request("POST", "/v1/score", *request_of(path))
        response = connection.getresponse()
        text = response.read()
        if response.status == 200:
            return time.perf_counter() - began
        if response.status != 429:
            raise RuntimeError(text)
        time.sleep(float(response.headers["Retry-After"]))


def load(port: int, paths: list[str], clients: int) -> dict[str, float]:
    """Rate and latency of some clients, each of which sends one image after the other."""

    def run(own: list[str]) -> list[float]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=300)) as connection:
            return [ask(connection, path) for path in own]

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        times = [one for some in pool.map(run, [paths[i::clients] for i in range(clients)]) for one in some]
    rate = len(times) / (time.perf_counter() - began)
    p50, p99 = np.percentile(times, [50, 99])
    return {"images/s": rate, "p50 s": float(p50), "p99 s": float(p99)}


def slow(port: int, paths: list[str], stopped: threading.Event) -> None:
    """A client whose network is slow: its upload lasts as long as the measurement."""
    body, headers = request_of(paths[0])
    lines = ["POST /v1/score HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode())
        for place in range(0, len(body), PIECE):
            with contextlib.suppress(OSError):  # refused as too slow
                client.sendall(body[place : place + PIECE])
            if stopped.wait(0.1):
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400, help="for each of the two rates (default: 400)")
    parser.add_argument("--rounds", type=int, default=3, help="direct and served in turns (default: 3)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder, served() as port:
        count = options.rounds * options.images
        paths = make_images(Path(folder), count + 1 + 2 * FAST)
        load(port, paths[-1:], 1)
        for start in range(0, count, options.images):
            some = paths[start : start + options.images]
            rounds.append({"direct images/s": direct(some), **load(port, some, CLIENTS)})
        alone = load(port, paths[count : count + FAST], 1)
        stopped = threading.Event()
        others = [threading.Thread(target=slow, args=(port, paths, stopped)) for _ in range(SLOW)]
        for other in others:
            other.start()
        beside = load(port, paths[count + FAST : count + 2 * FAST], 1)
        stopped.set()
        for other in others:
            other.join()
    ratios = [one["images/s"] / one["direct images/s"] for one in rounds]
    figures = {
        "rounds": rounds,
        "served / direct": float(np.median(ratios)),
        "fast client alone": alone,
        f"fast client next to {SLOW} slow ones": beside,
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
