"""``depictqa serve``: one judge over HTTP."""

import argparse
import contextlib
from dataclasses import replace

from ..errors import PackageError
from ..reports.progress import ProgressBar
from .inputs import open_judge
from .outputs import complain, notify
from .values import Verbs, number, whole

MIB = 2**20


def add_serving(verbs: Verbs, model: argparse.ArgumentParser) -> None:
    """Add ``serve`` to the commands of ``depictqa``."""
    more = (
        "Clients need the key in the environment variable DEPICTQA_SERVER_KEY; without one, only programs of this"
        " machine are answered. docs/server.md has the requests."
    )
    verb = verbs.add_parser("serve", help="serve a judge over HTTP, for many clients", parents=[model], epilog=more)
    verb.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    verb.add_argument("--port", type=whole(0, 65535), default=8000, help="default: 8000; 0: any free one")
    verb.add_argument(
        "--grace",
        type=whole(1, 3600),
        default=30,
        metavar="SECONDS",
        help="to finish requests after SIGTERM (default: 30)",
    )
    verb.add_argument(
        "--batch",
        type=whole(1, 1024),
        default=32,
        metavar="N",
        help="maximum number of images that are judged together (default: 32)",
    )
    verb.add_argument(
        "--wait-ms",
        type=number(0, 1000),
        default=5.0,
        metavar="MS",
        help="time for which a batch waits for more images (default: 5)",
    )
    verb.add_argument(
        "--queue",
        type=whole(1, 10**5),
        default=256,
        metavar="N",
        help="maximum number of images that wait; more are refused with 429 (default: 256)",
    )
    verb.add_argument("--max-images", type=whole(1, 10**4), default=64, metavar="N", help="of a request (default: 64)")
    verb.add_argument(
        "--max-body", type=whole(1, 4096), default=64, metavar="MIB", help="size of a request (default: 64)"
    )
    verb.add_argument(
        "--max-pixels", type=number(0.01, 134), default=40.0, metavar="MP", help="megapixels of an image (default: 40)"
    )
    verb.add_argument("--quiet", action="store_true", help="no notices, no address")


def serve(options: argparse.Namespace) -> int:
    """Run ``depictqa serve`` until a signal ends it; returns the exit status."""
    try:
        from ..serving import process
        from ..serving.access import key_of
        from ..serving.app import build_app
        from ..serving.limits import Limits
    except ImportError as error:
        raise PackageError(
            "depictqa serve needs more packages: pip install starlette uvicorn python-multipart prometheus-client"
            f" ({error})"
        ) from None
    key, address = key_of(), process.Address(options.host, options.port, options.grace)
    pixels, usual = int(options.max_pixels * 1e6), Limits()
    limits = replace(
        usual,
        body=options.max_body * MIB,
        bodies=max(usual.bodies, options.max_body * MIB),
        images=min(options.max_images, options.queue),
        image_pixels=pixels,
        waiting_images=options.queue,
        waiting_pixels=max(usual.waiting_pixels, 3 * pixels),
        batch=options.batch,
        wait=options.wait_ms / 1000,
    )
    with process.bound(address, key) as listening:  # before the model is loaded
        with ProgressBar("loading", "images", options.quiet) as bar:
            judge = open_judge(options, bar)
        notify(options, judge.notices)

        def announce(url: str) -> None:
            if not options.quiet:
                needed = "with a key" if key else "without a key, for this machine only"
                complain(f"serving {judge.backend.name} at {url}, {needed}; Ctrl-C ends it")

        with contextlib.suppress(KeyboardInterrupt):  # how the server ends
            process.serve(build_app(judge, limits, key), address, listening, announce)
    return 0
