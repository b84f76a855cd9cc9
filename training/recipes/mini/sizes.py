"""How large a run of the chain of ``from_scratch.py`` is."""

from dataclasses import dataclass, replace

import yaml

from training.stages import CHECKOUT

RECIPE = "training/recipes/mini"


@dataclass(frozen=True)
class Size:
    """How large a run is.

    Attributes:
        scenes: of each build, by the folder of its data.
        shards, crop_shards, epochs: of the local tower, of its crops for the connector, and its epochs.
        tile_steps: steps of the tile tower.
        short: bands of short sides: of wide scenes, grey ones, those for calibration, those for the tile tower, and
            those of the sixth, the seventh and the eighth stage.
        with_reference: scenes of the fifth stage with records with a reference.
        settings: options of every training run that has steps.
        options: more of them, by recipe.
        quality, everyday: options of ``benchmarks.quality``, and of its everyday images.
        drawn: whether all images are drawn by program, so that none is fetched.
    """

    scenes: dict[str, int]
    shards: int
    crop_shards: str
    epochs: int
    tile_steps: int
    short: tuple[str, str, str, str, str, str, str]
    with_reference: int
    settings: str
    options: dict[str, str]
    quality: str
    everyday: str
    drawn: bool = False


FULL = Size(
    scenes={
        **{"mini": 3400, "mini-refine": 1600, "mini-resaved": 2000, "mini-pairs": 5100, "wide": 1800, "grey": 200},
        **{"more-published": 450, "more-drawn": 500, "more-wide": 500},
        **{"new-published": 300, "new-photographs": 450, "new-drawn": 250, "new-wide": 500},
        **{"pair-published": 300, "pair-photographs": 350, "pair-drawn": 300, "pair-wide": 350},
        **{"fuse-published": 80, "fuse-photographs": 90, "fuse-drawn": 80, "fuse-wide": 90},
        **{"find-published": 190, "find-photographs": 200, "find-drawn": 420, "find-styled": 340},
        **{"val": 300, "val-wide": 200, "val-unseen": 90, "reserved": 150, "fresh": 240},
    },
    shards=22,
    crop_shards="000?.npz data/crops/001[01].npz",
    epochs=16,
    tile_steps=3400,
    short=(
        "224-256:0.08,256-384:0.23,384-512:0.25,512-768:0.25,768-1024:0.125,1024-1536:0.05,1536-2048:0.01,2048-3072:0.005",
        "224-256:0.15,256-384:0.45,384-512:0.3,512-640:0.1",
        "224-256:0.15,256-384:0.25,384-512:0.25,512-768:0.2,768-1024:0.1,1024-1536:0.05",
        "224-256:0.08,256-384:0.23,384-512:0.25,512-768:0.22,768-1024:0.14,1024-1536:0.06,1536-2048:0.015,2048-3072:0.005",
        "224-256:0.08,256-384:0.27,384-512:0.3,512-768:0.22,768-1024:0.1,1024-1536:0.03",
        "224-256:0.08,256-384:0.22,384-512:0.26,512-768:0.23,768-1024:0.14,1024-1536:0.07",
        "224-256:0.08,256-384:0.24,384-512:0.30,512-768:0.24,768-1024:0.10,1024-1536:0.04",
    ),
    with_reference=800,
    settings="",
    options={},
    quality="--limit 500",
    everyday="--count 24",
)
TINY = Size(
    scenes={
        **{"mini": 12, "mini-refine": 6, "mini-resaved": 6, "mini-pairs": 6, "wide": 8, "grey": 4},
        **{"more-published": 4, "more-drawn": 4, "more-wide": 4},
        **{"new-published": 4, "new-photographs": 4, "new-drawn": 4, "new-wide": 4},
        **{"pair-published": 4, "pair-photographs": 4, "pair-drawn": 4, "pair-wide": 4},
        **{"fuse-published": 4, "fuse-photographs": 4, "fuse-drawn": 4, "fuse-wide": 4},
        **{"find-published": 4, "find-photographs": 4, "find-drawn": 4, "find-styled": 4},
        **{"val": 6, "val-wide": 6, "val-unseen": 6, "reserved": 4, "fresh": 4},
    },
    shards=1,
    crop_shards="0000.npz",
    epochs=1,
    tile_steps=2,
    short=("224-256:0.5,256-320:0.5",) * 7,
    with_reference=6,
    settings=" --steps 4 --set warm_steps=1 --set batch=8",
    options={
        "recipe": " --set warmup_epochs=1 --set network.cnn_weights= --set network.vocabulary=400",
        "refine": " --set comparison_epochs=1",
        "pairs": " --set comparison_epochs=1",
        "wide": " --set evidence_epochs=1",
        "tiles": " --set evidence_epochs=1",
        "differences": " --set pair_epochs=1",
        "findings": " --set finding_epochs=1",
    },
    quality='--limit 8 --only data "as made"',
    everyday="",
    drawn=True,
)
TRAINED = ("recipe", "refine", "resaved", "pairs", "wide", "wide_refine", "tiles", "differences", "findings")
"""The recipes of the chain, in order."""
MEASURED = ("val", "val-wide", "val-unseen", "reserved", "fresh")
"""Data that a model is calibrated and measured on."""
LEAST_SCENES, LEAST_MEASURED, LEAST_STEPS = 8, 40, 40
SEEDS = {"mini": 131, "mini-refine": 277, "mini-resaved": 389, "mini-pairs": 641, "wide": 3101, "grey": 4202}
SEEDS |= {"more-published": 7103, "more-drawn": 7102, "more-wide": 7101}
SEEDS |= {"new-published": 8103, "new-photographs": 8104, "new-drawn": 8102, "new-wide": 8101}
SEEDS |= {"pair-published": 10103, "pair-photographs": 10104, "pair-drawn": 10102, "pair-wide": 10101}
SEEDS |= {"fuse-published": 10203, "fuse-photographs": 10204, "fuse-drawn": 10202, "fuse-wide": 10201}
SEEDS |= {"find-published": 11103, "find-photographs": 11104, "find-drawn": 11102, "find-styled": 11101}
SEEDS |= {"val": 913, "val-wide": 515, "val-unseen": 11001, "reserved": 977, "fresh": 1013}


def shortened(share: float) -> Size:
    """The full size with a share of its scenes, crops and steps: the same images, networks, epochs and commands.

    What a model is measured on has more scenes than this share, so that its figures can be compared, but fewer records
    and images than in the full size.
    """

    def scenes(name: str, full: int) -> int:
        return min(full, max(LEAST_MEASURED if name in MEASURED else LEAST_SCENES, round(full * share)))

    def options(name: str) -> str:
        recipe = yaml.safe_load((CHECKOUT / RECIPE / f"{name}.yaml").read_text())
        if not recipe["steps"]:
            return ""  # only warm-ups
        steps = min(recipe["steps"], max(LEAST_STEPS, round(recipe["steps"] * share)))
        return f" --steps {steps} --set warm_steps={min(recipe['warm_steps'], steps // 5)}"

    shards = max(2, round(FULL.shards * share))
    return replace(
        FULL,
        scenes={name: scenes(name, full) for name, full in FULL.scenes.items()},
        shards=shards,
        crop_shards=" data/crops/".join(f"{number:04d}.npz" for number in range(shards // 2)),
        tile_steps=max(LEAST_STEPS, round(FULL.tile_steps * share)),
        with_reference=max(LEAST_SCENES, round(FULL.with_reference * share)),
        options={name: options(name) for name in TRAINED},
        quality="--limit 100",
        everyday="--count 6",
    )
