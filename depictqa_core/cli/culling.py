"""``depictqa cull``: sort out the images of a large run."""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..bulk.parts import read_rows, read_run
from ..culling.moves import COPY, MOVE, WRITE, Step, apply, steps_to, undo
from ..culling.ratings import rating_steps
from ..culling.selection import COLUMNS, NEAR_BITS, Rejected, Rules, best, select
from ..reports.text_table import printable
from .outputs import complain
from .values import Verbs, number, whole

SHOWN = 20
"""Images that a dry run names for each reason."""


def add_culling(verbs: Verbs) -> None:
    """Add ``depictqa cull`` to the commands of ``depictqa``."""
    more = "Without --apply nothing is changed. Every change is in an undo list first, which --undo takes back."
    verb = verbs.add_parser("cull", help="sort out the images of a large run; dry run first", epilog=more)
    verb.add_argument("results", nargs="?", metavar="RESULTS", type=Path, help="folder that depictqa judge wrote")
    group = verb.add_argument_group("what to reject")
    group.add_argument(
        "--move-below", type=number(0, 100), metavar="SCORE", help="images with a score below this (0 to 100)"
    )
    group.add_argument("--unreadable", action="store_true", help="images that could not be judged")
    group.add_argument("--blank", action="store_true", help="blank frames, and frames that break off")
    group.add_argument("--duplicates", action="store_true", help="all but the best of images with equal pixels")
    group.add_argument(
        "--near",
        nargs="?",
        const=NEAR_BITS,
        type=whole(0, 128),
        metavar="BITS",
        help=f"all but the best of images that look alike: hashes differ in at most BITS of 128 (default: {NEAR_BITS})",
    )
    group.add_argument("--odd-sizes", action="store_true", help="images of a size that less than 1 %% have")
    group = verb.add_argument_group("what to do")
    group.add_argument("--to", metavar="FOLDER", help="move rejected images into this folder")
    group.add_argument("--copy-best", type=whole(1), metavar="N", help="copy the N best of the others")
    group.add_argument("--best", metavar="FOLDER", help="where the best are copied to")
    group.add_argument("--ratings", action="store_true", help="write 0 to 5 stars into XMP sidecars (IMAGE.xmp)")
    group.add_argument(
        "--ratings-in",
        choices=("sidecar", "file"),
        help="write them into sidecars, or into the JPEG, PNG and WebP files themselves, as Lightroom reads them",
    )
    group.add_argument("--apply", action="store_true", help="make the changes")
    group.add_argument("--quiet", action="store_true", help="print errors only")
    group.add_argument("--undo", metavar="LIST", help="take back the changes of this undo list, and do nothing else")
    verb.set_defaults(refuse=verb.error)


def cull(options: argparse.Namespace) -> int:
    """Run ``depictqa cull``."""
    if options.undo:
        return _changed(options, undo(options.undo), "taken back")
    if options.results is None:
        options.refuse("name the folder that depictqa judge wrote, or --undo LIST")
    if bool(options.copy_best) != bool(options.best):
        options.refuse("--copy-best N and --best FOLDER belong together")
    kept, rejected = select(_rows(options.results), _rules(options))
    steps = _steps(options, kept, rejected)
    lines = _plan(kept, rejected)
    counts = Counter(step.action for step in steps)
    lines.append("changes: " + (", ".join(f"{count} to {action}" for action, count in counts.items()) or "none"))
    if not options.apply:
        lines.append("nothing was changed; add --apply to do it" if steps else "nothing to do")
    _say(options, lines)
    if not options.apply or not steps:
        return 0
    journal = _journal(options.results)
    _say(options, [f"take it back: depictqa cull --undo {journal}"])
    return _changed(options, apply(steps, journal), "made")


def _say(options: argparse.Namespace, lines: list[str]) -> None:
    if not options.quiet:
        print("\n".join(map(printable, lines)))


def _rules(options: argparse.Namespace) -> Rules:
    return Rules(
        options.move_below, options.unreadable, options.blank, options.duplicates, options.near, options.odd_sizes
    )


def _rows(folder: Path) -> list[dict]:
    """The rows that ``select`` needs."""
    stored = read_run(folder)["columns"]
    columns = [name for name in COLUMNS if name in stored]
    return list(read_rows(folder, columns))


def _steps(options: argparse.Namespace, kept: list[dict], rejected: list[Rejected]) -> list[Step]:
    steps: list[Step] = []
    if options.ratings or options.ratings_in:
        scored = [(row["image"], row["score"]) for row in kept if row.get("score") is not None]
        found, notices = rating_steps(scored, inside=options.ratings_in == "file")
        steps += found
        for notice in notices[:SHOWN]:
            complain(f"notice: {notice}")
        if len(notices) > SHOWN:
            complain(f"notice: {len(notices) - SHOWN} more images get no rating")
    written = [step.target for step in steps if step.action == WRITE]
    for folder, action, images in (
        (options.best, COPY, best(kept, options.copy_best or 0)),
        (options.to, MOVE, [one.image for one in rejected]),
    ):
        if folder:
            found, missing = steps_to(images, folder, action, written)
            steps += found
            if missing:
                complain(f"notice: {len(missing)} images stay: they are not separate files (such as {missing[0]})")
    return steps


def _plan(kept: list[dict], rejected: list[Rejected]) -> list[str]:
    lines = []
    kinds: dict[str, list[Rejected]] = {}
    for one in rejected:
        kinds.setdefault(one.kind, []).append(one)
    for kind, some in kinds.items():
        lines.append(f"{kind}: {len(some)}")
        lines += [f"  {one.image}: {one.reason}" for one in some[:SHOWN]]
        if len(some) > SHOWN:
            lines.append(f"  and {len(some) - SHOWN} more")
    return [*lines, f"{len(kept)} images kept, {len(rejected)} rejected"]


def _changed(options: argparse.Namespace, steps: Iterator[tuple[Step, str | None]], word: str) -> int:
    done, failed = 0, 0
    for _, error in steps:
        if error is None:
            done += 1
        else:
            failed += 1
            complain(error)
    _say(options, [f"{done} changes {word}" + (f", {failed} failed" if failed else "")])
    return 3 if failed else 0


def _journal(results: Path) -> Path:
    number = 1
    while (path := results / f"undo-{number:03d}.jsonl").exists():
        number += 1
    return path
