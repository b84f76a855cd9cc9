"""The command line ``depictqa``: identify, describe, compare, score and rank pictures, import and info of checkpoints.

Exit status: 0 everything was judged; 1 nothing could be judged; 2 the command line is wrong; 3 some pictures could not
be judged (reported on stderr, in the JSON and in the CSV) and the rest was; 130 interrupted (also by SIGTERM).
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ..confidence import coverage_notices, reliable
from ..errors import DepictQAError, ImageError, NothingToCompare, OutOfMemory, TaskError, quoted
from ..images.files import FilePicture, Found, LeftOut, equal_names, left_out_lines, load_pictures, lost, search
from ..images.image import Picture, as_picture, notices_of
from ..images.references import OTHER_SHAPE, Fitted, common_size
from ..loading.checkpoint import self_test_notices
from ..reports import text as reports
from ..results import Failure
from ..runtime.stopping import interrupted_by_signals
from ..runtime.streams import library_messages
from .arguments import COUNTS, parse
from .outputs import check_outputs, complain, notify, outputs_of, save_picture, write_answers


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status (see the top of this file). A wrong command line is SystemExit(2)."""
    options = parse(argv)
    for stream in (sys.stdout, sys.stderr):  # file names and model answers may hold anything
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
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
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
    found = _find(options)
    names, reference = found.names, _reference(options)
    results, failures, odd, stopped = [], [], [], None
    with _bar(options, "pictures") as bar:
        judge = _judge(options, bar)
        try:
            bar.total = len(names)
            for pictures, references, unreadable in _load(names, reference):
                failures += unreadable
                odd += notices_of(pictures)
                bar.offset = len(results) + len(failures)
                try:
                    results += ask(judge, pictures, references, progress=bar)
                except (OutOfMemory, ImageError):  # one is too large or gone; what was found of the others is known
                    for number, picture in enumerate(pictures):
                        try:
                            results += ask(judge, [picture], references and references[number])
                        except (OutOfMemory, ImageError) as error:
                            failures.append(Failure(picture.name, str(error)))
        except (KeyboardInterrupt, DepictQAError) as error:
            if not results:
                raise
            stopped = error  # what was judged is written first
    _report_failures(failures, len(names))
    notices = [*left_out_lines(found.left_out), *judge.notices, *odd, *reference.notices]
    notices += coverage_notices(result.coverage for result in results)
    unsure = []
    if options.only_reliable:
        sure = [reliable(result.confidence, options.min_confidence, result.coverage) for result in results]
        unsure = [result for result, keep in zip(results, sure) if not keep]
        if unsure:
            notices.append(f"{len(unsure)} of {len(results)} left out: confidence below {options.min_confidence:g}")
        results = [result for result, keep in zip(results, sure) if keep]
    shown = partial(SHOW_EACH[options.verb], results)
    rows, left_out = ([result.to_dict() for result in some] for some in (results, unsure))
    write_answers(options, judge.info, rows, failures, shown, notices, left_out, **_skipped(found))
    if stopped:
        raise stopped
    return 3 if failures else 0


def _load(names: list[str], reference: Fitted) -> Iterator[tuple[list[Picture], list[Picture] | None, list[Failure]]]:
    """``load_pictures`` with the reference of each picture; one of another shape than that cannot be judged either."""
    for pictures, failures in load_pictures(names):
        fitting, references = [], []
        for picture in pictures:
            try:
                references.append(reference.beside(picture))
                fitting.append(picture)
            except ImageError as error:
                failures.append(Failure(picture.name, str(error)))
        yield fitting, references if reference.reference else None, failures


def _rank(options) -> int:
    found = _find(options)
    names, reference = found.names, _reference(options)
    pictures, references, failures = [], [], []
    with _bar(options, "answers") as bar:
        judge = _judge(options, bar)
        for readable, beside, unreadable in _load(names, reference):
            bar.note(f"looking at the pictures ... {len(pictures) + len(failures)}/{len(names)}")
            judge.look(readable, beside)  # while their pixels are in memory
            pictures += readable
            references += beside or []
            failures += unreadable
        _report_failures(failures, len(names))
        limits = {"top_k": options.top_k, "budget": options.budget}
        while True:
            try:
                ranking = judge.rank(pictures, references or None, method=options.method, **limits, progress=bar)
                break
            except ImageError as error:
                kept = _without_lost(error, pictures, failures)
                references = [references[index] for index in kept] if references else []
                pictures = [pictures[index] for index in kept]
    notices = [*left_out_lines(found.left_out), *judge.notices, *notices_of(pictures), *reference.notices]
    notices += coverage_notices([ranking.coverage])
    unused = [f"--{name.replace('_', '-')}" for name, limit in limits.items() if limit]
    if options.method == "score" and unused:
        notices.append(f"{' and '.join(unused)} can only save comparisons; with --method score there are none")
    facts = ranking.to_dict()
    results = facts.pop("pictures")
    shown = partial(reports.ranking_table, ranking)
    write_answers(options, judge.info, results, failures, shown, notices, **_skipped(found), **facts)
    if options.sheet:
        from ..reports.sheets import ranking_sheet

        save_picture(options, ranking_sheet(ranking, pictures), options.sheet)
    return 3 if failures else 0


def _compare(options) -> int:
    check_outputs(options, [options.a, options.b])
    a, b, reference = FilePicture(options.a), FilePicture(options.b), _reference(options)
    beside = reference.beside(a, b)
    with _bar(options, "answers") as bar:
        judge = _judge(options, bar)
        result = judge.compare(a, b, beside, explain=options.explain, progress=bar)
    shown = partial(reports.comparison_text, result)
    notices = [*judge.notices, *notices_of([a, b]), *reference.notices, *coverage_notices([result.coverage])]
    write_answers(options, judge.info, [result.to_dict()], [], shown, notices)
    return 0


def _map(options) -> int:
    from ..ranking.quality_map import TILE, cut, grid, quality_map
    from ..reports.heat_map import heat_picture

    check_outputs(options, [options.picture])
    picture, reference = FilePicture(options.picture), _reference(options)
    notices, whole = notices_of([picture]), reference.beside(picture)
    if whole:
        (picture,), _ = common_size((picture,), whole)
    tiles = grid(picture.height, picture.width, options.tile or TILE)
    beside = whole and cut(whole, tiles)
    with _bar(options, "tiles") as bar:
        judge = _judge(options, bar)
        scores = judge.score(cut(picture, tiles), beside, progress=bar)
    found = quality_map(picture, tiles, [score.score for score in scores])
    notices += [*judge.notices, *reference.notices, *coverage_notices(score.coverage for score in scores)]
    if options.tile and tiles.side != options.tile:
        end = "largest" if tiles.side < options.tile else "smallest"
        size = f"{picture.width} x {picture.height}"
        notices.append(f"--tile {options.tile}: tiles of {tiles.side} pixels are used, the {end} for {size}")
    write_answers(options, judge.info, [found.to_dict()], [], lambda *_: reports.map_text(found), notices)
    if options.out:
        save_picture(options, heat_picture(picture, found), options.out)
    return 0


def _leaderboard(options) -> int:
    from ..ranking.leaderboard import fair_pairs, leaderboard, unpaired

    found, left_out = _of_models(options.folders)
    check_outputs(options, list(found))
    pictures, failures = [], []
    for readable, unreadable in load_pictures(found):
        pictures += readable
        failures += unreadable
    _report_failures(failures, len(found))
    with _bar(options, "answers") as bar:
        judge = None
        while True:
            labels = [found[picture.name] for picture in pictures]
            if len(set(labels)) < 2:
                raise DepictQAError(f"{labels[0]} alone has pictures: give at least two folders, one for each model")
            groups, twins = equal_names(labels, [os.path.basename(picture.name) for picture in pictures])
            named = [index for index, group in enumerate(groups) if group is not None]
            try:
                pairs = fair_pairs([labels[index] for index in named], [groups[index] for index in named])
            except (NothingToCompare, TaskError):
                raise DepictQAError(
                    "no file name occurs in two of the folders, so there is nothing to compare"
                ) from None
            pairs = [replace(pair, a=named[pair.a], b=named[pair.b]) for pair in pairs]
            judge = judge or _judge(options, bar)
            try:
                answers = judge.compare_many([(pictures[pair.a], pictures[pair.b]) for pair in pairs], progress=bar)
                break
            except ImageError as error:
                pictures = [pictures[index] for index in _without_lost(error, pictures, failures)]
    left_out += twins
    board = leaderboard(labels, pairs, answers)
    alone = [pictures[index] for index in unpaired(len(pictures), pairs) if groups[index] is not None]
    notices = [*left_out_lines(left_out), *judge.notices, *notices_of(pictures)]
    notices += coverage_notices(answer.coverage for answer in answers)
    for label in dict.fromkeys(labels):
        names = [os.path.basename(picture.name) for picture in alone if found[picture.name] == label]
        if names:
            listed = f"{', '.join(names)} (no other folder has a readable picture of this name)"
            notices.append(f"{label}: {'no rank, ' * (label in board.uncompared)}not compared: {listed}")
    unread = dict.fromkeys(label for label in found.values() if label not in labels)
    notices += [f"{label}: not compared, as none of its pictures could be read" for label in unread]
    facts = board.to_dict()
    standings = facts.pop("standings")
    shown = partial(reports.leaderboard_table, board)
    facts |= _skipped(Found((), tuple(left_out)))
    write_answers(options, judge.info, standings, failures, lambda width, _: shown(width), notices, **facts)
    if options.chart:
        from ..reports.charts import leaderboard_chart

        save_picture(options, leaderboard_chart(board), options.chart)
    return 3 if failures else 0


def _info(options) -> int:
    from ..loading.checkpoint import checkpoint_folder, describe_checkpoint, supported, verify_checkpoint

    check_outputs(options, [])
    folder = str(checkpoint_folder(options.checkpoint))
    card = (verify_checkpoint if options.verify else describe_checkpoint)(folder)
    if options.self_test:
        from ..judge import load_judge

        card = {**card, "self_test": load_judge(folder).self_test()}
    facts = {"folder": folder, **dict(_flat({key: value for key, value in card.items() if key != "files"}))}
    facts["supports"] = supported(folder)
    for name, file in card["files"].items():
        facts[name] = f"{file['bytes'] / 1e6:.1f} MB, SHA-256 {file['sha256']}{' (verified)' * options.verify}"
    width = max(map(len, facts))
    text = "\n".join(f"{key.ljust(width)}  {reports.printable(str(value))}" for key, value in facts.items())
    notices = self_test_notices(card)
    write_answers(options, card, [card], [], lambda *_: text, notices, verified=options.verify)
    return 0


def _import(options) -> int:
    if options.memory:
        from ..loading.memory_needs import memory_table
        from ..published.importer import full_size_config

        for name in ("projector", "abstractor"):
            print(f"{name}:\n\n{memory_table(full_size_config(name == 'abstractor'))}\n")
        return 0
    files = {name: getattr(options, name) for name in ("clip", "llm", "delta")}
    missing = [f"--{name}" for name, path in {**files, "out": options.check or options.out}.items() if not path]
    if missing and (not options.check or any(files.values())):
        options.refuse(f"missing: {', '.join(missing)}")
    if options.check and options.out:
        options.refuse("--check writes nothing: leave out --out")
    from ..published.importer import check_layout, import_published

    show = (lambda line: None) if options.quiet else (lambda line: print(reports.printable(line), flush=True))
    if missing:
        for line in check_layout():
            show(line)
        return 0
    ways = {name: getattr(options, name) for name in ("dtype", "merge", "short", "long", "short_questions")}
    card = import_published(**files, out=options.out, **ways, report=show)
    if options.out:
        show(f"written: {options.out} ({card['variant']}, LoRA {card['lora']})")
        if not options.no_self_test:
            _self_test(options, show)
    return 0


def _self_test(options, show) -> None:
    """Ask a new checkpoint about shipped images, and record in its card what its answers cover."""
    from ..judge import load_judge
    from ..loading.checkpoint import record_self_test

    show("self-test: asking about shipped images")
    try:
        found = load_judge(options.out).self_test()
    except (DepictQAError, MemoryError, RuntimeError) as error:
        remedy = f"run depictqa info --self-test {options.out} where the checkpoint can be loaded"
        complain(f"notice: the self-test could not run here ({quoted(error)}); {remedy}")
        return
    card = record_self_test(options.out, found)
    show("self-test: coverage " + ", ".join(f"{task} {share:.3g}" for task, share in found.items()))
    notify(options, self_test_notices(card))


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


def _find(options) -> Found:
    found = search(options.pictures, options.recursive, [path for _, path in outputs_of(options)])
    check_outputs(options, found.names)
    return found


def _of_models(folders: list[str]) -> tuple[dict[str, str], list[LeftOut]]:
    """The picture files of a leaderboard, each with its folder as given, which is its label; and what is left out."""
    found: dict[str, str] = {}
    left_out: list[LeftOut] = []
    known: dict[str, str] = {}
    for folder in folders:
        label = folder.rstrip("/\\") or folder
        if not os.path.isdir(folder):
            raise ImageError(f"{folder}: is no folder; give the folder of the pictures of one model")
        first = known.setdefault(os.path.realpath(folder), label)
        if first is not label:
            left_out.append(LeftOut(label, f"is the same folder as {first}"))
            continue
        inside = search([folder])
        found |= dict.fromkeys(inside.names, label)
        left_out += inside.left_out
    return found, left_out


def _skipped(found: Found) -> dict:
    """What is left out, for the JSON; nothing where everything is judged."""
    return {"skipped": [one.to_dict() for one in found.left_out] or None}


def _without_lost(error: ImageError, pictures: list[Picture], failures: list[Failure]) -> list[int]:
    """The indexes of the pictures that can still be read, after one of them could not while it was judged.

    The others are added to ``failures`` and named. Raises ``error`` where there are none, or nothing is left.
    """
    gone = {failure.picture: failure for failure in lost(pictures)}
    kept = [index for index, picture in enumerate(pictures) if picture.name not in gone]
    if not gone or not kept:
        raise error
    failures += gone.values()
    for failure in gone.values():
        complain(f"{failure.picture}: {failure.error}")
    return kept


def _reference(options) -> Fitted:
    return Fitted(None if options.reference is None else as_picture(options.reference, "reference"))


def _report_failures(failures: list[Failure], total: int) -> None:
    """Name what cannot be judged; raises ImageError, with what is true of all of it, where nothing is left."""
    for failure in failures:
        complain(f"{failure.picture}: {failure.error}")
    if failures and len(failures) == total:
        if all(OTHER_SHAPE in failure.error for failure in failures):
            raise ImageError("no picture has the shape of the reference")
        raise ImageError("none of the pictures could be judged" if total > 1 else "the picture could not be judged")


# ---------------------------------------------------------------------- the judge


def _judge(options, bar: reports.ProgressBar):
    bar.note("loading the model ...")
    from ..judge import load_judge
    from ..runtime.threads import keep_freed_memory

    keep_freed_memory()
    try:
        more = {"anchors": options.anchors, "encoder": options.encoder, "compiled": options.compile}
        if options.cache is not None:
            more["cache_bytes"] = options.cache * 2**20
        return load_judge(options.checkpoint, device=options.device, dtype=options.dtype, **more)
    except (RuntimeError, AssertionError) as error:  # torch's ways to refuse a device
        raise DepictQAError(f"the model cannot be put on device '{options.device}': {quoted(error)}") from error


def _bar(options, unit: str) -> reports.ProgressBar:
    return reports.ProgressBar("judging", unit, options.quiet)
