"""The command line ``depictqa``: identify, describe, compare, score and rank pictures, import and info of checkpoints.

Exit status: 0 everything was judged; 1 nothing could be judged; 2 the command line is wrong; 3 some pictures could not
be judged (reported on stderr, in the JSON and in the CSV) and the rest was; 130 interrupted.
"""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from . import reports
from .arguments import COUNTS, build_parser
from .confidence import reliable
from .errors import DepictQAError, ImageError, OutOfMemory
from .files import FilePicture, find_pictures, load_pictures
from .images import Picture, as_picture
from .references import fit_reference, require_shape
from .results import Failure


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status (see the top of this file). A wrong command line is SystemExit(2)."""
    options = build_parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # file names and model answers may hold anything
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = VERBS[options.verb](options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DepictQAError as error:
        _complain(str(error))
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        if os.environ.get("DEPICTQA_TRACEBACK"):
            raise
        first = (str(error).strip().splitlines() or ["no message"])[0]
        _complain(f"failed: {type(error).__name__}: {first} (set DEPICTQA_TRACEBACK=1 to see where)")
    return 1


# ---------------------------------------------------------------------- verbs


def _identify(options) -> int:
    asked = {"count": COUNTS[options.count]}
    return _judge_each(options, lambda judge, *args, **more: judge.identify(*args, **asked, **more))


def _describe(options) -> int:
    asked = {"question": options.question, "count": COUNTS[options.count]}
    return _judge_each(options, lambda judge, *args, **more: judge.describe(*args, **asked, **more))


def _score(options) -> int:
    return _judge_each(options, lambda judge, *args, **more: judge.score(*args, **more))


SHOW_EACH = {
    "identify": reports.identification_table,
    "describe": reports.description_text,
    "score": reports.score_table,
}


def _judge_each(options, ask) -> int:
    """A verb that judges every picture on its own: few are in memory at a time, however many there are."""
    names = _find(options)
    reference = _reference(options)
    results, failures, stopped = [], [], None
    with _bar(options, "pictures") as bar:
        judge = _judge(options, bar)
        try:
            bar.total = len(names)
            for pictures, unreadable in _load(names, reference):
                failures += unreadable
                bar.offset = len(results) + len(failures)
                try:
                    results += ask(judge, pictures, reference, progress=bar)
                except OutOfMemory:  # some picture is too large; what was found of the others is known already
                    for picture in pictures:
                        try:
                            results += ask(judge, [picture], reference)
                        except OutOfMemory as error:
                            failures.append(Failure(picture.name, str(error)))
        except (KeyboardInterrupt, DepictQAError) as error:
            if not results:
                raise
            stopped = error  # what was judged is written first
    _report_failures(failures, len(names))
    show = SHOW_EACH[options.verb]
    _write(options, judge.info, [r.to_dict() for r in results], failures, partial(show, results))
    if stopped:
        raise stopped
    return 3 if failures else 0


def _load(names: list[str], reference: Picture | None) -> Iterator[tuple[list[Picture], list[Failure]]]:
    """``load_pictures``, where a picture of another shape than its reference cannot be judged either."""
    for pictures, failures in load_pictures(names):
        fitting = []
        for picture in pictures:
            try:
                if reference:
                    require_shape(reference, (picture,))
                fitting.append(picture)
            except ImageError as error:
                failures.append(Failure(picture.name, str(error)))
        yield fitting, failures


def _rank(options) -> int:
    names = _find(options)
    reference = _reference(options)
    pictures, failures = [], []
    with _bar(options, "answers") as bar:
        judge = _judge(options, bar)
        for readable, unreadable in _load(names, reference):
            bar.note(f"looking at the pictures ... {len(pictures) + len(failures)}/{len(names)}")
            judge.look(readable, reference)  # while their pixels are in memory
            pictures += readable
            failures += unreadable
        _report_failures(failures, len(names))
        limits = {"top_k": options.top_k, "budget": options.budget}
        ranking = judge.rank(pictures, reference, method=options.method, **limits, progress=bar)
    facts = ranking.to_dict()
    results = facts.pop("pictures")
    _write(options, judge.info, results, failures, partial(reports.ranking_table, ranking), **facts)
    if options.sheet:
        from .sheets import ranking_sheet

        ranking_sheet(ranking, pictures).save(options.sheet, quality=92)
    return 3 if failures else 0


def _compare(options) -> int:
    _check_outputs(options, [options.a, options.b])
    a, b, reference = FilePicture(options.a), FilePicture(options.b), _reference(options)
    if reference:
        require_shape(reference, (a, b))
    with _bar(options, "answers") as bar:
        judge = _judge(options, bar)
        result = judge.compare(a, b, reference, explain=options.explain, progress=bar)
    _write(options, judge.info, [result.to_dict()], [], partial(reports.comparison_text, result))
    return 0


def _map(options) -> int:
    from .quality_map import cut, grid, heat_picture, quality_map

    _check_outputs(options, [options.picture])
    picture, reference = FilePicture(options.picture), _reference(options)
    tiles = grid(picture.height, picture.width, options.tile)
    beside = reference and cut(fit_reference(reference, (picture,))[0], tiles)
    with _bar(options, "tiles") as bar:
        judge = _judge(options, bar)
        found = quality_map(picture, tiles, [s.score for s in judge.score(cut(picture, tiles), beside, progress=bar)])
    _write(options, judge.info, [found.to_dict()], [], lambda *_: reports.map_text(found))
    if options.out:
        heat_picture(picture, found).save(options.out, quality=92)
    return 0


def _leaderboard(options) -> int:
    from .leaderboard import fair_pairs, leaderboard

    found = [(folder, name) for folder in options.folders for name in find_pictures([folder])]
    names = [name for _, name in found]
    _check_outputs(options, names)
    labels = [folder.rstrip("/\\") for folder, _ in found]
    pairs = fair_pairs(labels, [os.path.splitext(os.path.basename(name))[0] for name in names])
    pictures = [FilePicture(name) for name in names]
    with _bar(options, "answers") as bar:
        judge = _judge(options, bar)
        answers = judge.compare_many([(pictures[pair.a], pictures[pair.b]) for pair in pairs], progress=bar)
    board = leaderboard(labels, pairs, answers)
    facts = board.to_dict()
    standings = facts.pop("standings")
    _write(options, judge.info, standings, [], lambda width, _: reports.leaderboard_table(board, width), **facts)
    if options.chart:
        from .charts import leaderboard_chart

        leaderboard_chart(board).save(options.chart, quality=92)
    return 0


def _info(options) -> int:
    from .checkpoints import BUNDLED, describe_checkpoint, verify_checkpoint

    _check_outputs(options, [])
    folder = options.checkpoint or str(BUNDLED)
    card = (verify_checkpoint if options.verify else describe_checkpoint)(folder)
    facts = {"folder": folder, **dict(_flat({key: value for key, value in card.items() if key != "files"}))}
    for name, file in card["files"].items():
        facts[name] = f"{file['bytes'] / 1e6:.1f} MB, SHA-256 {file['sha256']}{' (verified)' * options.verify}"
    width = max(map(len, facts))
    text = "\n".join(f"{key.ljust(width)}  {reports.printable(str(value))}" for key, value in facts.items())
    _write(options, card, [card], [], lambda *_: text, verified=options.verify)
    return 0


def _import(options) -> int:
    if options.memory:
        from .memory_needs import memory_table
        from .published import full_size_config

        for name in ("projector", "abstractor"):
            print(f"{name}:\n\n{memory_table(full_size_config(name == 'abstractor'))}\n")
        return 0
    files = {name: getattr(options, name) for name in ("clip", "llm", "delta")}
    missing = [f"--{name}" for name, path in {**files, "out": options.check or options.out}.items() if not path]
    if missing and (not options.check or any(files.values())):
        options.refuse(f"missing: {', '.join(missing)}")
    if options.check and options.out:
        options.refuse("--check writes nothing: leave out --out")
    from .published import check_layout, import_published

    show = (lambda line: None) if options.quiet else (lambda line: print(reports.printable(line), flush=True))
    if missing:
        for line in check_layout():
            show(line)
        return 0
    ways = {name: getattr(options, name) for name in ("dtype", "merge", "short", "long")}
    card = import_published(**files, out=options.out, **ways, report=show)
    if options.out:
        show(f"written: {options.out} ({card['variant']}, LoRA {card['lora']})")
    return 0


VERBS = {
    "identify": _identify,
    "describe": _describe,
    "score": _score,
    "rank": _rank,
    "compare": _compare,
    "map": _map,
    "leaderboard": _leaderboard,
    "info": _info,
    "import": _import,
}


def _flat(value, key: str = ""):
    """The leaves of nested dicts and lists as (dotted key, value); lists of plain values stay one line."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and not any(isinstance(item, (dict, list)) for item in value):
        yield key, ", ".join(map(str, value))
    elif isinstance(value, list):
        for place, item in enumerate(value, start=1):
            yield from _flat(item, f"{key}.{place}")
    else:
        yield key, value


# ---------------------------------------------------------------------- pictures in


def _find(options) -> list[str]:
    outputs = [path for _, path in _outputs(options)]
    names = find_pictures(options.pictures, options.recursive, outputs)
    _check_outputs(options, names)
    return names


def _reference(options) -> Picture | None:
    return None if options.reference is None else as_picture(options.reference, "reference")


def _report_failures(failures: list[Failure], total: int) -> None:
    for failure in failures:
        _complain(f"{failure.picture}: {failure.error}")
    if failures and len(failures) == total:
        raise ImageError("none of the pictures could be read" if total > 1 else "the picture could not be read")


# ---------------------------------------------------------------------- answers out


def _judge(options, bar: reports.ProgressBar):
    bar.note("loading the model ...")
    from .judge import load_judge
    from .workers import keep_freed_memory

    keep_freed_memory()
    try:
        more = {"anchors": options.anchors, "encoder": options.encoder, "compiled": options.compile}
        return load_judge(options.checkpoint, device=options.device, dtype=options.dtype, **more)
    except (RuntimeError, AssertionError) as error:  # torch's ways to refuse a device
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DepictQAError(f"the model cannot be put on device '{options.device}': {first}") from error


def _bar(options, unit: str) -> reports.ProgressBar:
    return reports.ProgressBar("judging", unit, options.quiet)


def _write(options, card: dict, results: list[dict], failures: list[Failure], text, **facts) -> None:
    """Files first, so that nothing is lost when stdout is closed; then JSON or the table, even if a file failed.

    ``text`` gets the width of the terminal and the confidence below which answers are uncertain.
    """
    reference = getattr(options, "reference", None)
    minimum, note = getattr(options, "min_confidence", 0.0), ""
    if minimum:
        results = [{**result, "reliable": _reliable(result, minimum)} for result in results]
        unsure = sum(result["reliable"] is False for result in results)
        note = f"\n\n{unsure} of {len(results)} uncertain: confidence below {minimum:g}" if unsure else ""
        facts["min_confidence"] = minimum
    document = reports.json_text(options.verb, card.get("name"), results, failures, reference=reference, **facts)
    # lone surrogates of undecodable file names become escapes, which JSON knows as well
    files = {}
    if getattr(options, "csv", None):
        files[options.csv] = reports.csv_text(results, failures)
    if options.json not in (None, "-"):
        files[options.json] = document
    failed = None
    for path, content in files.items():
        try:
            Path(path).write_bytes(content.encode("utf-8", "backslashreplace"))
        except OSError as error:
            failed = DepictQAError(f"cannot write '{path}': {error.strerror}")
    if options.json == "-":
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        sys.stdout.write(document)
    elif not options.quiet:
        print(text(reports.terminal_width(), minimum) + note)
    if failed:
        raise failed


def _reliable(result: dict, minimum: float) -> bool | None:
    """Whether an answer is sure enough; None for a place in a ranking without a reason that could be unsure."""
    if "rank" in result and result["labels"] is None:
        return None
    return reliable(result["confidence"], minimum)


def _outputs(options) -> list[tuple[str, str]]:
    """The files this run will write, as (option, path)."""
    named = [(f"--{name}", getattr(options, name, None)) for name in ("json", "csv", "sheet", "out", "chart")]
    return [(option, path) for option, path in named if path not in (None, "-")]


def _check_outputs(options, inputs: list[str]) -> None:
    """Refuse, before the work, outputs that could not be written or would replace a picture that is judged."""
    taken = {os.path.realpath(path) for path in (*inputs, getattr(options, "reference", None)) if path is not None}
    for option, path in _outputs(options):
        if os.path.realpath(path) in taken:
            raise DepictQAError(f"{option} {path}: this is one of the pictures; choose another name")
        taken.add(os.path.realpath(path))
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise DepictQAError(f"{option} {path}: there is no folder {folder}")
        if os.path.isdir(path):
            raise DepictQAError(f"{option} {path}: this is a folder; give a file")
        if not os.access(path if os.path.exists(path) else folder, os.W_OK):
            raise DepictQAError(f"{option} {path}: cannot be written; check the permissions")


def _complain(line: str) -> None:
    print(f"depictqa: {reports.printable(line)}", file=sys.stderr)
