"""What the command line ``depictqa`` accepts: its verbs, their options, and the values that these may have."""

import argparse

from .. import __version__

SHEET_FORMATS = (".png", ".jpg", ".jpeg", ".webp")
FLOATS = ("float32", "float16", "bfloat16")
DTYPES = ("auto", *FLOATS, "int8", "int4")
DTYPE_HELP = (
    "number format of the weights (default: auto: float32, or float16 for large checkpoints off the CPU); float16 moves"
    " probabilities by up to 0.01, bfloat16 by up to 0.06, which can change a winner"
)
COUNTS = {"1": 1, "2": 2, "any": None}


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
            return self.parse_known_intermixed_args(_without_end_mark(args), namespace)
        finally:
            self._mixing = False


def _without_end_mark(words: list[str]) -> list[str]:
    """The words without "--", which mixing forgets: behind it, "-name" becomes "./-name", the same file."""
    if "--" not in words:
        return words
    end = words.index("--")
    before, behind = words[:end], words[end + 1 :]
    if before[-1:] == ["--json"]:  # the mark kept it from taking the next word for its file
        before = [*before[:-1], "--json=-"]
    return before + [f"./{word}" if word.startswith("-") else word for word in behind]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of a command line; a wrong one is SystemExit(2)."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if getattr(options, "only_reliable", False) and not options.min_confidence:
        parser.error("--only-reliable needs --min-confidence X, the confidence below which answers are left out")
    return options


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    model = _Parser(add_help=False)
    group = model.add_argument_group("model")
    group.add_argument(
        "--checkpoint",
        metavar="FOLDER",
        help="checkpoint folder, or 'bundled' for the included depictqa-mini (default)",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps or balanced (default: auto)")
    group.add_argument("--dtype", default="auto", choices=DTYPES, help=DTYPE_HELP)
    group.add_argument(
        "--anchors", metavar="FOLDER", help="anchor pictures for scores where the checkpoint was never taught to score"
    )
    group.add_argument(
        "--encoder",
        metavar="FOLDER",
        help="sentence encoder, such as all-MiniLM-L6-v2, for confidences of descriptions",
    )
    group.add_argument(
        "--cache",
        metavar="MIB",
        type=_mebibytes,
        help="memory for vision features of images that are shown again (default: by the checkpoint; 0: none)",
    )
    group.add_argument(
        "--compile", action="store_true", help="compile the language model first, about a minute: for long runs"
    )

    output = _Parser(add_help=False)
    group = output.add_argument_group("output")
    group.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", type=_json_path, help="write JSON to stdout, or to FILE (.json)"
    )
    group.add_argument("--quiet", action="store_true", help="no table, no progress bar, no notices")

    rows = _Parser(add_help=False)
    rows.add_argument("--csv", metavar="FILE", type=_csv_path, help="write the answers as rows to FILE (.csv)")
    rows.add_argument(
        "--min-confidence",
        type=_share,
        default=0.0,
        metavar="X",
        help="mark answers of a confidence below X (0 to 1) as uncertain, in JSON and CSV as 'reliable'; it is the "
        "probability that the answer is right (a score: within 10 points)",
    )

    sure = _Parser(add_help=False)
    sure.add_argument(
        "--only-reliable", action="store_true", help="with --min-confidence: leave uncertain answers out, everywhere"
    )

    reference = _Parser(add_help=False)
    reference.add_argument("--reference", metavar="PICTURE", help="the undistorted original of the picture(s)")

    inputs = _Parser(add_help=False)
    inputs.add_argument("pictures", nargs="+", metavar="PICTURE", help="picture files and folders of pictures")
    inputs.add_argument("--recursive", action="store_true", help="look into the folders inside folders as well")

    parser = _Parser(prog="depictqa", description="Judges picture quality with a vision-language model.")
    parser.add_argument("--version", action="version", version=f"depictqa {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_VerbParser)
    shared = [inputs, reference, model, output, rows]
    each = {"parents": [*shared, sure]}

    verb = verbs.add_parser("identify", help="name the distortions of each picture", **each)
    verb.add_argument("--count", default="1", choices=tuple(COUNTS), help="how many distortions (default: 1)")

    verb = verbs.add_parser("describe", help="say in words what is wrong with each picture", **each)
    verb.add_argument("--question", help="another wording of the question")
    verb.add_argument("--count", default="any", choices=tuple(COUNTS), help="how many distortions (default: any)")

    verb = verbs.add_parser("score", help="rate each picture from 0 to 100", **each)

    more = "The rank of a picture is 1 + the number of pictures that are better with 95 % certainty."
    verb = verbs.add_parser("rank", help="order pictures from best to worst", epilog=more, parents=shared)
    verb.add_argument("--method", default="pairs", choices=("pairs", "score"), help="default: pairs (finer, slower)")
    verb.add_argument(
        "--top-k", type=_count, metavar="K", help="only the best K matter: stop comparing once they are sure"
    )
    verb.add_argument(
        "--budget", type=_count, metavar="PAIRS", help="compare at most so many pairs (default: by number)"
    )
    verb.add_argument("--sheet", metavar="FILE", type=_sheet_path, help="write a picture sheet (.png, .jpg or .webp)")

    common = [reference, model, output, rows]
    verb = verbs.add_parser("compare", help="decide which of two pictures is better", parents=common)
    verb.add_argument("a", metavar="A", help="a picture")
    verb.add_argument("b", metavar="B", help="another picture")
    verb.add_argument("--explain", action="store_true", help="also explain it in words")

    verb = verbs.add_parser("map", help="show where a picture is bad", parents=[reference, model, output])
    verb.add_argument("picture", metavar="PICTURE", help="a picture")
    verb.add_argument("--out", metavar="FILE", type=_sheet_path, help="write the heat map (.png, .jpg or .webp)")
    verb.add_argument("--tile", type=_count, metavar="PIXELS", help="side of a tile (default: 160)")

    parents = [model, output]
    verb = verbs.add_parser("leaderboard", help="find out which model makes the better pictures", parents=parents)
    verb.add_argument("folders", nargs="+", metavar="FOLDER", help="one per model; equal file names are equal prompts")
    verb.add_argument("--csv", metavar="FILE", type=_csv_path, help="write the standings as rows to FILE (.csv)")
    verb.add_argument("--chart", metavar="FILE", type=_sheet_path, help="write it as a picture (.png, .jpg or .webp)")

    verb = verbs.add_parser("info", help="show what a checkpoint is and was trained on", parents=[output])
    verb.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT", help="its folder (default: the included one)")
    verb.add_argument("--verify", action="store_true", help="also compare the SHA-256 of every weight file")
    verb.add_argument(
        "--self-test", action="store_true", help="also load it and ask about shipped images: coverage of each task"
    )

    verb = verbs.add_parser("import", help="make a checkpoint from published DepictQA-Wild weights")
    verb.add_argument("--clip", metavar="FILE", help="ViT-L-14.pt of OpenAI, or the folder of a CLIPVisionModel")
    verb.add_argument("--llm", metavar="FOLDER", help="the folder of Vicuna-7B-v1.5")
    verb.add_argument("--delta", metavar="FILE", help="ckpt.pt of a published DepictQA-Wild")
    verb.add_argument("--out", metavar="FOLDER", help="the checkpoint folder to write")
    verb.add_argument(
        "--dtype",
        default="stored",
        choices=("stored", *FLOATS),
        help="default: as in the files; prefer float16 (moves probabilities by up to 0.01) to bfloat16 (0.06)",
    )
    verb.add_argument("--merge", action="store_true", help="add LoRA to the language model's weights")
    verb.add_argument("--short", type=int, metavar="PIXELS", help="bound of the short side (default: as trained)")
    verb.add_argument("--long", type=int, metavar="PIXELS", help="bound of the long side (default: as trained)")
    verb.add_argument(
        "--check", action="store_true", help="write nothing: check the files, or without files the layout at full size"
    )
    verb.add_argument(
        "--short-questions",
        action="store_true",
        help="the delta has also learned short questions of other kinds, such as yes or no (DepictQA2-DQ495K-QInst)",
    )
    verb.add_argument("--no-self-test", action="store_true", help="do not load the new checkpoint to test its answers")
    verb.add_argument("--memory", action="store_true", help="only print what memory the published checkpoints need")
    verb.add_argument("--quiet", action="store_true", help="say nothing")
    verb.set_defaults(refuse=verb.error)
    return parser


# ---------------------------------------------------------------------- values


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


def _mebibytes(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of MiB from 0")
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
