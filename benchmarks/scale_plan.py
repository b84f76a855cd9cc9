"""Time and cost of a large run, computed from measured rates and given prices.

    python -m benchmarks.scale_plan --images 50e6
    python -m benchmarks.scale_plan --gpu 'my card, 7B:12.5:2.2'     # a rate that you measured: images/s, $/hour

What was measured comes from ``benchmarks/results/scale.json`` (python -m benchmarks.scale) and
``benchmarks/results/cluster.json`` (python -m benchmarks.cluster). Rates of GPUs are computed from the operations that
an image needs, unless ``--gpu`` gives them. Prices are assumptions: give yours.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU.

    Attributes:
        name: for the table.
        tflops: peak of dense bfloat16, in 10^12 operations a second, as its vendor states it.
        price: $ an hour.
    """

    name: str
    tflops: float
    price: float


GPUS = (Gpu("L4", 121, 0.8), Gpu("A100", 312, 2.0), Gpu("H100", 989, 3.0))
SIZES = (2, 8)
"""Parameters of vision-language models, in 10^9."""


def measured(name: str) -> dict[str, Any]:
    """The results of a benchmark; ends the program where there are none."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise SystemExit(f"{path}: does not exist; run python -m benchmarks.{name} --out {path} first")
    return json.loads(path.read_text())


def hours(images: float, rate: float) -> float:
    """Hours for images at a rate in images a second."""
    return images / rate / 3600


def computed_rate(gpu: Gpu, size: float, tokens: int, share: float) -> float:
    """Images a second: two operations for each parameter and token, at a share of the peak."""
    return gpu.tflops * 1e12 * share / (2 * size * 1e9 * tokens)


def per_core(scale: dict[str, Any]) -> dict[str, float]:
    """Processor time of an image in seconds, as measured."""
    whole, files = (scale[f"{name}, one core"]["cpu_ms_per_image"] / 1000 for name in ("judge", "reading"))
    return {"judge": whole - files, "files": files, "whole": whole}


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def on_processors(options: argparse.Namespace, seconds: float, efficiency: float) -> Iterator[tuple]:
    """Rows for the bundled judge on machines without a GPU."""
    for count in options.machines:
        rate = count * options.cores * efficiency / seconds
        spent = hours(options.images, rate)
        cost = spent * count * options.cores * options.core_price
        yield f"{count} x {options.cores} cores", f"{rate:,.0f}", f"{spent:,.1f} h", f"${cost:,.0f}"


def on_gpus(options: argparse.Namespace, files: float) -> Iterator[tuple]:
    """Rows for vision-language models; ``files`` is the time of a core for an image, in seconds."""
    known = [
        (f"{gpu.name}, {size}B", computed_rate(gpu, size, options.tokens, options.share), gpu.price, "computed")
        for gpu in GPUS
        for size in SIZES
    ]
    known += [(*one, "given") for one in options.gpu]
    for name, rate, price, source in known:
        spent = hours(options.images, rate)
        shown = f"{rate:,.1f} ({source})", f"{spent:,.0f}", f"{spent / 24:,.0f}", f"${spent * price:,.0f}"
        yield name, *shown, f"{rate * files:.2f}"


def limits(options: argparse.Namespace, megabytes: float, files: float) -> Iterator[tuple]:
    """Rows: what a rate asks of cores for decoding, disk and network."""
    for rate in options.rates:
        stream = rate * megabytes
        disk, network = f"{stream:,.0f} MB/s", f"{8 * stream / 1000:,.1f} Gbit/s"
        yield f"{rate:,}", f"{hours(options.images, rate):,.1f} h", f"{rate * files:,.1f}", disk, network


def given(text: str) -> tuple[str, float, float]:
    """A rate on the command line: "name:images a second:$ an hour"."""
    name, rate, price = text.rsplit(":", 2)
    return name, float(rate), float(price)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=float, default=50e6, help="default: 50e6")
    parser.add_argument("--core-price", type=float, default=0.04, help="$ for a core and hour (default: 0.04)")
    parser.add_argument("--cores", type=int, default=32, help="of a machine (default: 32)")
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 10, 50], help="default: 1 10 50")
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 1000, 10000], help="images/s of the limits")
    parser.add_argument("--tokens", type=int, default=1600, help="of an image and its questions (default: 1600)")
    parser.add_argument("--share", type=float, default=0.3, help="of the peak of a GPU (default: 0.3)")
    parser.add_argument("--gpu", type=given, action="append", default=[], metavar="NAME:RATE:PRICE", help="a rate")
    options = parser.parse_args()
    scale, on_ray = measured("scale"), measured("cluster")
    seconds, megabytes = per_core(scale), scale["bytes_per_image"] / 1e6
    shares = [on_ray.get("ratio", {}).get("ray_to_local"), on_ray["growth"][-1]["of_the_sum"]]
    side, total = scale["side"], options.images * megabytes / 1e6
    stored = options.images * scale["judge, all cores"]["table_bytes_per_image"] / 1e9
    print(f"{options.images:,.0f} images of {side} x {side} pixels and {megabytes:.2f} MB: {total:,.0f} TB;", end=" ")
    print(f"their table: {stored:,.0f} GB\n\nMeasured, in processor time, which other work does not change:\n")
    rows: list[tuple] = [
        ("bundled judge, score and identify, and the table", f"{1000 * seconds['judge']:.1f} ms of a core an image"),
        ("reading, decoding, checks, hashes", f"{1000 * seconds['files']:.1f} ms of a core an image"),
        ("Ray on one machine to local", f"{shares[0]:.2f}" if shares[0] else "not measured: 1 is assumed"),
        (f"{on_ray['growth'][-1]['workers']} simulated workers to the sum of them", f"{shares[1]:.2f}"),
    ]
    print(table(("what", "measured"), rows))
    print(f"\nBundled judge: computed from these; ${options.core_price} a core and hour (assumed):\n")
    rows = list(on_processors(options, seconds["whole"], min(1.0, shares[0] or 1.0) * min(1.0, shares[1])))
    print(table(("machines", "images/s", "time", "cost"), rows))
    about = f"{options.tokens} tokens an image and {options.share:.0%} of the peak (both assumed, as are the prices)"
    print(f"\nVision-language models: computed from {about}:\n")
    head = ("GPU, model", "images/s of a GPU", "GPU hours", "days on one", "cost", "cores to decode for it")
    print(table(head, list(on_gpus(options, seconds["files"]))))
    print("\nWhat a rate asks for: computed from the measured time and size of a file:\n")
    head = ("images/s", "time", "cores to decode", "disk", "network")
    print(table(head, list(limits(options, megabytes, seconds["files"]))))


if __name__ == "__main__":
    main()
