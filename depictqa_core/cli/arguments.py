"""The argument parser of ``depictqa``: verbs, options and their allowed values."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from .culling import add_culling
from .large_runs import add_large_runs
from .metrics import add_metrics
from .reporting import add_report
from .server import VLLM_ARGUMENTS, add_server, add_vllm
from .serving import add_serving
from .study import add_study
from .values import IMAGE_FORMATS, file_name, json_file, number, texts, whole
from .video import add_video

FLOATS = ("float32", "float16", "bfloat16")
DTYPES = ("auto", *FLOATS, "int8", "int4")
DTYPE_HELP = (
    "data type of the weights (default: auto: float32, or float16 for large checkpoints off the CPU; for a"
    " vision-language model bfloat16, or float16 where it states that); float16 changes probabilities by up to 0.01,"
    " bfloat16 by up to 0.06, which can change a winner"
)
BASE_HELP = "base model of an adapter (default: where it was when the adapter was tuned, or next to its folder)"
COUNTS = {"1": 1, "2": 2, "any": None}


class _Parser(argparse.ArgumentParser):
    """argparse with one-line error messages."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class _VerbParser(_Parser):
    """The parser of one verb: images may be before, between and after the options."""

    _mixing = False

    def parse_known_args(  # type: ignore[override]  # typeshed overloads it by the class of the namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self._mixing:  # parse_known_intermixed_args calls this method again
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            words = sys.argv[1:] if args is None else list(args)
            return self.parse_known_intermixed_args(_with_values(_without_end_mark(words)), namespace)
        finally:
            self._mixing = False


def _with_values(words: list[str]) -> list[str]:
    """Join options whose value may begin with "-" and their value by "=", which argparse asks for."""
    joined, rest = [], iter(words)
    for word in rest:
        value = next(rest, None) if word == VLLM_ARGUMENTS else None
        joined.append(word if value is None else f"{word}={value}")
    return joined


def _without_end_mark(words: list[str]) -> list[str]:
    """Remove "--", which intermixed parsing ignores: after it, "-name" becomes "./-name", the same file."""
    if "--" not in words:
        return words
    end = words.index("--")
    before, behind = words[:end], words[end + 1 :]
    if before[-1:] == ["--json"]:  # "--" kept it from taking the next word as its file
        before = [*before[:-1], "--json=-"]
    return before + [f"./{word}" if word.startswith("-") else word for word in behind]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse a command line; a wrong one raises SystemExit(2)."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if getattr(options, "only_reliable", False) and not options.min_confidence:
        parser.error("--only-reliable needs --min-confidence X: answers below this confidence are left out")
    return options


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    model = _VerbParser(add_help=False)
    group = model.add_argument_group("model")
    group.add_argument(
        "--checkpoint",
        metavar="FOLDER",
        help="folder of a checkpoint, a vision-language model or an adapter, address of a server "
        "(http://host:8000/v1), or 'bundled' for depictqa-mini (default)",
    )
    group.add_argument(
        "--base",
        metavar="FOLDER",
        help=BASE_HELP,
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps or balanced (default: auto)")
    group.add_argument("--dtype", default="auto", choices=DTYPES, help=DTYPE_HELP)
    group.add_argument(
        "--anchors",
        metavar="FOLDER",
        help="anchor images for scores of checkpoints that do not support scoring directly",
    )
    group.add_argument(
        "--encoder",
        metavar="FOLDER",
        help="sentence encoder, such as all-MiniLM-L6-v2, for confidences of descriptions",
    )
    group.add_argument(
        "--cache",
        metavar="MIB",
        type=whole(0, 10**9, "MiB"),
        help="size of the vision feature cache (default: by the checkpoint; 0: no cache)",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="compile the language model with torch.compile first; takes about a minute, for long runs",
    )

    add_server(model)
    add_vllm(model)

    output = _VerbParser(add_help=False)
    group = output.add_argument_group("output")
    group.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", type=json_file, help="write JSON to stdout, or to FILE (.json)"
    )
    group.add_argument("--quiet", action="store_true", help="no table, no progress bar, no notices")

    rows = _VerbParser(add_help=False)
    rows.add_argument("--csv", metavar="FILE", type=file_name(".csv"), help="write the answers as rows to FILE (.csv)")
    rows.add_argument(
        "--min-confidence",
        type=number(0, 1),
        default=0.0,
        metavar="X",
        help="mark answers with a confidence below X (0 to 1) as uncertain, in JSON and CSV as 'reliable'; confidence "
        "is the probability that the answer is right (a score: within 10 points)",
    )

    sure = _VerbParser(add_help=False)
    sure.add_argument(
        "--only-reliable", action="store_true", help="with --min-confidence: leave uncertain answers out of all outputs"
    )

    reference = _VerbParser(add_help=False)
    reference.add_argument("--reference", metavar="IMAGE", help="the undistorted original")

    criterion = _VerbParser(add_help=False)
    group = criterion.add_argument_group("criterion", "instead of image quality; needs a vision-language model")
    group = group.add_mutually_exclusive_group()
    group.add_argument("--criterion", metavar="TEXT", help="what to judge by, such as 'sharpness of the eyes'")
    group.add_argument("--prompt", metavar="TEXT", help="judge how well the images show this")

    inputs = _VerbParser(add_help=False)
    inputs.add_argument("pictures", nargs="+", metavar="IMAGE", help="image files and folders of images")
    inputs.add_argument("--recursive", action="store_true", help="also search subfolders")

    parser = _Parser(prog="depictqa", description="Judges image quality with a vision-language model.")
    parser.add_argument("--version", action="version", version=f"depictqa {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_VerbParser)
    shared = [inputs, reference, model, output, rows]
    each = [*shared, sure]

    verb = verbs.add_parser("identify", help="name the distortions of each image", parents=each)
    verb.add_argument("--count", default="1", choices=tuple(COUNTS), help="how many distortions (default: 1)")

    verb = verbs.add_parser("describe", help="describe the distortions and the quality of each image", parents=each)
    verb.add_argument("--question", help="another wording of the question")
    verb.add_argument("--count", default="any", choices=tuple(COUNTS), help="how many distortions (default: any)")

    own = [*each, criterion]
    verb = verbs.add_parser("score", help="score each image from 0 to 100", parents=own)

    verb = verbs.add_parser("check", help="ask your own question about each image", parents=each)
    verb.add_argument("--question", required=True, help="such as 'Are the hands anatomically correct?'")
    verb.add_argument(
        "--answers", type=texts, default=("yes", "no"), metavar="A,B", help="separated by commas (default: yes,no)"
    )
    verb.add_argument("--accept", metavar="ANSWER", help="images with this answer pass")
    verb.add_argument(
        "--threshold",
        type=number(0, 1),
        default=0.5,
        metavar="X",
        help="minimum probability of that answer (default: 0.5)",
    )

    more = "The rank of an image is 1 + the number of significantly better images (95 % certainty)."
    verb = verbs.add_parser("rank", help="sort images from best to worst", epilog=more, parents=[*shared, criterion])
    verb.add_argument(
        "--method", default="pairs", choices=("pairs", "score"), help="default: pairs (more precise, slower)"
    )
    verb.add_argument(
        "--top-k",
        type=whole(1),
        metavar="K",
        help="stop comparing as soon as the best K are decided with 95 % certainty",
    )
    verb.add_argument(
        "--budget",
        type=whole(1),
        metavar="PAIRS",
        help="maximum number of comparisons (default: by the number of images)",
    )
    verb.add_argument(
        "--sheet", metavar="FILE", type=file_name(*IMAGE_FORMATS), help="write an image sheet (.png, .jpg or .webp)"
    )

    common = [reference, model, output, rows, criterion]
    verb = verbs.add_parser("compare", help="compare two images: which one is better", parents=common)
    verb.add_argument("a", metavar="A", help="an image")
    verb.add_argument("b", metavar="B", help="another image")
    verb.add_argument("--explain", action="store_true", help="also explain the verdict in words")

    verb = verbs.add_parser(
        "map", help="draw a heat map that shows where an image is bad", parents=[reference, model, output]
    )
    verb.add_argument("picture", metavar="IMAGE", help="an image")
    verb.add_argument(
        "--out", metavar="FILE", type=file_name(*IMAGE_FORMATS), help="write the heat map (.png, .jpg or .webp)"
    )
    verb.add_argument("--tile", type=whole(1), metavar="PIXELS", help="side of a tile (default: 160)")

    parents = [model, output]
    verb = verbs.add_parser("leaderboard", help="find out which model makes the better images", parents=parents)
    verb.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="one folder per model; images with the same file name are compared"
    )
    verb.add_argument(
        "--csv", metavar="FILE", type=file_name(".csv"), help="write the leaderboard as rows to FILE (.csv)"
    )
    verb.add_argument(
        "--chart", metavar="FILE", type=file_name(*IMAGE_FORMATS), help="draw the leaderboard (.png, .jpg or .webp)"
    )

    add_large_runs(verbs, model)
    add_culling(verbs)
    add_report(verbs, model)
    add_metrics(verbs, [inputs, reference, output])
    add_video(verbs, [model, output, criterion])
    add_serving(verbs, model)
    add_study(verbs)

    verb = verbs.add_parser(
        "info", help="show what a checkpoint supports, its licence and its training data", parents=[output]
    )
    verb.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="folder or server (default: the bundled model)"
    )
    add_server(verb)
    verb.add_argument("--base", metavar="FOLDER", help=BASE_HELP)
    verb.add_argument("--verify", action="store_true", help="also compare the SHA-256 of every weight file")
    verb.add_argument(
        "--self-test", action="store_true", help="also load it and test it on the sample images: coverage of each task"
    )

    verb = verbs.add_parser("import", help="convert published DepictQA-Wild weights to a checkpoint folder")
    verb.add_argument("--clip", metavar="FILE", help="ViT-L-14.pt of OpenAI, or the folder of a CLIPVisionModel")
    verb.add_argument("--llm", metavar="FOLDER", help="the folder of Vicuna-7B-v1.5")
    verb.add_argument("--delta", metavar="FILE", help="ckpt.pt of a published DepictQA-Wild")
    verb.add_argument("--out", metavar="FOLDER", help="the checkpoint folder to write")
    verb.add_argument(
        "--dtype",
        default="stored",
        choices=("stored", *FLOATS),
        help="default: as in the files; prefer float16 (changes probabilities by up to 0.01) to bfloat16 (0.06)",
    )
    verb.add_argument("--merge", action="store_true", help="merge LoRA into the language model")
    verb.add_argument("--short", type=int, metavar="PIXELS", help="maximum short side (default: as trained)")
    verb.add_argument("--long", type=int, metavar="PIXELS", help="maximum long side (default: as trained)")
    verb.add_argument(
        "--check", action="store_true", help="write nothing; check the files, or without files the layout at full size"
    )
    verb.add_argument(
        "--short-questions",
        action="store_true",
        help="the delta also supports short questions of other kinds, such as yes or no (DepictQA2-DQ495K-QInst)",
    )
    verb.add_argument("--no-self-test", action="store_true", help="do not load the new checkpoint to test its answers")
    verb.add_argument("--memory", action="store_true", help="only print how much memory the published checkpoints need")
    verb.add_argument("--quiet", action="store_true", help="no progress, no notices")
    verb.set_defaults(refuse=verb.error)
    return parser
