"""The command line ``depictqa``: identify, describe, compare, score and rank pictures, import and info of checkpoints.

Exit status: 0 everything was judged; 1 nothing could be judged; 2 the command line is wrong; 3 some pictures could not
be judged (reported on stderr, in the JSON and in the CSV) and the rest was; 130 interrupted.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from . import reports
from .confidence import reliable
from .errors import DepictQAError, ImageError, OutOfMemory
from .files import FilePicture, find_pictures, load_pictures
from .images import Picture, as_picture
from .results import Failure

SHEET_FORMATS = (".png", ".jpg", ".jpeg", ".webp")
FLOATS = ("float32", "float16", "bfloat16")
DTYPES = ("auto", *FLOATS, "int8", "int4")
COUNTS = {"1": 1, "2": 2, "any": None}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status (see the top of this file). A wrong command line is SystemExit(2)."""
    options = build_parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # file names and model answers may hold anything
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = options.run(options)
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


class _Parser(argparse.ArgumentParser):
    """argparse that reports a mistake in one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class _VerbParser(_Parser):
    """The parser of one verb: pictures may stand before, between and behind the options."""

    _mixing = False

    def parse_known_args(self, args=None, namespace=None):
        if self._mixing:  # argparse's own way to mix them calls this method again
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    model = _Parser(add_help=False)
    group = model.add_argument_group("model")
    group.add_argument("--checkpoint", metavar="FOLDER", help="checkpoint folder (default: the bundled depictqa-mini)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps or balanced (default: auto)")
    group.add_argument("--dtype", default="auto", choices=DTYPES, help="number format of the weights (default: auto)")
    group.add_argument(
        "--anchors", metavar="FOLDER", help="anchor pictures for scores where the checkpoint was never taught to score"
    )
    group.add_argument(
        "--encoder",
        metavar="FOLDER",
        help="sentence encoder, such as all-MiniLM-L6-v2, for confidences of descriptions",
    )

    output = _Parser(add_help=False)
    group = output.add_argument_group("output")
    group.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", type=_json_path, help="write JSON to stdout, or to FILE (.json)"
    )
    group.add_argument("--quiet", action="store_true", help="no table and no progress bar")

    rows = _Parser(add_help=False)
    rows.add_argument("--csv", metavar="FILE", type=_csv_path, help="write the answers as rows to FILE (.csv)")
    rows.add_argument(
        "--min-confidence",
        type=_share,
        default=0.0,
        metavar="X",
        help="mark answers less sure than X (0 to 1) as uncertain, and say so in JSON and CSV as 'reliable'",
    )

    reference = _Parser(add_help=False)
    reference.add_argument("--reference", metavar="PICTURE", help="the undistorted original of the picture(s)")

    inputs = _Parser(add_help=False)
    inputs.add_argument("pictures", nargs="+", metavar="PICTURE", help="picture files and folders of pictures")
    inputs.add_argument("--recursive", action="store_true", help="look into the folders inside folders as well")

    parser = _Parser(prog="depictqa", description="Judges picture quality with a vision-language model.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_VerbParser)
    each = {"parents": [inputs, reference, model, output, rows]}

    verb = verbs.add_parser("identify", help="name the distortions of each picture", **each)
    verb.add_argument("--count", default="1", choices=tuple(COUNTS), help="how many distortions (default: 1)")
    verb.set_defaults(run=_identify)

    verb = verbs.add_parser("describe", help="say in words what is wrong with each picture", **each)
    verb.add_argument("--question", help="another wording of the question")
    verb.add_argument("--count", default="any", choices=tuple(COUNTS), help="how many distortions (default: any)")
    verb.set_defaults(run=_describe)

    verb = verbs.add_parser("score", help="rate each picture from 0 to 100", **each)
    verb.set_defaults(run=_score)

    verb = verbs.add_parser("rank", help="order pictures from best to worst", **each)
    verb.add_argument("--method", default="pairs", choices=("pairs", "score"), help="default: pairs (finer, slower)")
    verb.add_argument(
        "--top-k", type=_count, metavar="K", help="only the best K matter: stop comparing once they are sure"
    )
    verb.add_argument(
        "--budget", type=_count, metavar="PAIRS", help="compare at most so many pairs (default: by number)"
    )
    verb.add_argument("--sheet", metavar="FILE", type=_sheet_path, help="write a picture sheet (.png, .jpg or .webp)")
    verb.set_defaults(run=_rank)

    common = [reference, model, output, rows]
    verb = verbs.add_parser("compare", help="decide which of two pictures is better", parents=common)
    verb.add_argument("a", metavar="A", help="a picture")
    verb.add_argument("b", metavar="B", help="another picture")
    verb.add_argument("--explain", action="store_true", help="also explain it in words")
    verb.set_defaults(run=_compare)

    verb = verbs.add_parser("map", help="show where a picture is bad", parents=[reference, model, output])
    verb.add_argument("picture", metavar="PICTURE", help="a picture")
    verb.add_argument("--out", metavar="FILE", type=_sheet_path, help="write the heat map (.png, .jpg or .webp)")
    verb.add_argument("--tile", type=_count, default=160, metavar="PIXELS", help="side of a tile (default: 160)")
    verb.set_defaults(run=_map)

    parents = [model, output]
    verb = verbs.add_parser("leaderboard", help="find out which model makes the better pictures", parents=parents)
    verb.add_argument("folders", nargs="+", metavar="FOLDER", help="one per model; equal file names are equal prompts")
    verb.add_argument("--csv", metavar="FILE", type=_csv_path, help="write the standings as rows to FILE (.csv)")
    verb.add_argument("--chart", metavar="FILE", type=_sheet_path, help="write it as a picture (.png, .jpg or .webp)")
    verb.set_defaults(run=_leaderboard)

    verb = verbs.add_parser("info", help="show what a checkpoint is and was trained on", parents=[output])
    verb.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT", help="its folder (default: the bundled one)")
    verb.add_argument("--verify", action="store_true", help="also compare the SHA-256 of every weight file")
    verb.set_defaults(run=_info)

    verb = verbs.add_parser("import", help="make a checkpoint from published DepictQA-Wild weights")
    verb.add_argument("--clip", metavar="FILE", help="ViT-L-14.pt of OpenAI, or the folder of a CLIPVisionModel")
    verb.add_argument("--llm", metavar="FOLDER", help="the folder of Vicuna-7B-v1.5")
    verb.add_argument("--delta", metavar="FILE", help="ckpt.pt of a published DepictQA-Wild")
    verb.add_argument("--out", metavar="FOLDER", help="the checkpoint folder to write")
    verb.add_argument("--dtype", default="stored", choices=("stored", *FLOATS), help="default: as in the files")
    verb.add_argument("--merge", action="store_true", help="add LoRA to the language model's weights")
    verb.add_argument("--short", type=int, metavar="PIXELS", help="bound of the short side (default: as trained)")
    verb.add_argument("--long", type=int, metavar="PIXELS", help="bound of the long side (default: as trained)")
    verb.add_argument(
        "--check", action="store_true", help="write nothing: check the files, or without files the layout at full size"
    )
    verb.add_argument("--memory", action="store_true", help="only print what memory the published checkpoints need")
    verb.add_argument("--quiet", action="store_true", help="say nothing")
    verb.set_defaults(run=_import, refuse=verb.error)
    return parser


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
            for pictures, unreadable in load_pictures(names):
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


def _rank(options) -> int:
    names = _find(options)
    reference = _reference(options)
    pictures, failures = [], []
    with _bar(options, "answers") as bar:
        judge = _judge(options, bar)
        for readable, unreadable in load_pictures(names):
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
    with _bar(options, "answers") as bar:
        judge = _judge(options, bar)
        result = judge.compare(a, b, reference, explain=options.explain, progress=bar)
    _write(options, judge.info, [result.to_dict()], [], partial(reports.comparison_text, result))
    return 0


def _map(options) -> int:
    from .quality_map import cut, grid, heat_picture, quality_map
    from .references import fit_reference

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
        folders = {"anchors": options.anchors, "encoder": options.encoder}
        return load_judge(options.checkpoint, device=options.device, dtype=options.dtype, **folders)
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


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1")
    return int(text)


def _json_path(text: str) -> str:
    return text if text == "-" else _with_extension(text, (".json",), "put a bare --json after the pictures")


def _csv_path(text: str) -> str:
    return _with_extension(text, (".csv",), "name such a file")


def _sheet_path(text: str) -> str:
    return _with_extension(text, SHEET_FORMATS, "name such a file")


def _with_extension(text: str, allowed: tuple[str, ...], advice: str) -> str:
    """Keeps ``--json a.png b.png`` from writing over a picture."""
    if not text.lower().endswith(allowed):
        raise argparse.ArgumentTypeError(f"'{text}' does not end in {' or '.join(allowed)}: {advice}")
    return text


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
