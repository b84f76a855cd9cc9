"""The commands of the towers for native size: ``python -m training crops|tower|tiles``."""

import argparse
from pathlib import Path

from ..output_files import writing

SHARD = 500
"""Crops in a shard."""


def add_crops(parser: argparse.ArgumentParser) -> None:
    """``crops``: shards of crops with the truth of every cell, for ``tower``."""
    parser.add_argument("images", help="folder of pristine images")
    parser.add_argument("out", help="folder that receives the shards")
    parser.add_argument("--shards", type=int, default=40, help=f"of {SHARD} crops each, 76 MB (default: 40)")
    parser.add_argument("--split", default="train", help="name of the split that the images belong to")
    parser.add_argument("--held-out", action="store_true", help="faults and drawings that training never uses")
    parser.add_argument("--seed", type=int, default=11)
    parser.set_defaults(run=_crops, resumes=True)


def _crops(arguments: argparse.Namespace) -> None:
    from ..dataset.building.crops import CropMaker, CropOptions, groups_of, make_shard

    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    maker = CropMaker(groups_of(Path(arguments.images) / arguments.split), CropOptions(), arguments.held_out)
    for number in range(arguments.shards):
        if not (file := out / f"{number:04d}.npz").exists():
            with writing(file):
                make_shard(maker, SHARD, [arguments.seed, number], file)
            print(file)


def add_tower(parser: argparse.ArgumentParser) -> None:
    """``tower``: train the local tower on shards of crops."""
    parser.add_argument("shards", help="folder of shards (python -m training crops)")
    parser.add_argument("output", help=".pt file that receives the weights")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", help="folder of shards that are measured now and then")

    def run(arguments):
        from .local_tower import train_local

        validation = arguments.validation and Path(arguments.validation)
        train_local(
            Path(arguments.shards), Path(arguments.output), arguments.epochs, arguments.seed, validation=validation
        )

    parser.set_defaults(run=run)


def add_tiles(parser: argparse.ArgumentParser) -> None:
    """``tiles``: train the tile tower end to end on windows of scenes and crops."""
    parser.add_argument("output", help=".safetensors file that receives the weights; the same command resumes")
    parser.add_argument("--scenes", nargs="+", default=[], help="data roots")
    parser.add_argument("--crops", help="folder of shards (python -m training crops)")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--weights", help="ImageNet weights of EfficientNet-Lite0 (default: random ones)")
    begin.add_argument("--start", type=Path, help=".safetensors file of a trained tower, which is trained further")
    parser.add_argument("--rate", type=float, default=3e-4, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=6000, help="of --batch windows each (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", nargs="+", default=[], help="data roots that are measured now and then")
    parser.add_argument("--validation-crops", type=Path, help="folder of shards that are measured with them")
    parser.set_defaults(run=_tiles, resumes=True)


def _tiles(arguments: argparse.Namespace) -> None:
    from depictqa_core.network.tile_vision import TileTower

    from .tile_tower import (
        CHANNELS,
        WINDOWS_OF_CROPS,
        WINDOWS_OF_SCENES,
        Windows,
        crop_windows,
        scene_windows,
        train_tiles,
    )

    side = TileTower(CHANNELS).side

    def windows(roots: list[str], crops: str | None, of_scenes: int, of_crops: int) -> Windows | None:
        found = [scene_windows([Path(root) for root in roots], side, of_scenes)] if roots else []
        found += [crop_windows(Path(crops), side, of_crops)] if crops else []
        joined = found.pop() if found else None
        while found and joined:  # what is joined is not kept: it is most of the memory
            joined = found.pop().joined(joined)
        return joined

    learned = windows(arguments.scenes, arguments.crops, WINDOWS_OF_SCENES, WINDOWS_OF_CROPS)
    if learned is None:
        raise ValueError("nothing to learn from: give --scenes, --crops or both")
    print(f"{len(learned.pixels)} windows")
    train_tiles(
        learned,
        Path(arguments.output),
        arguments.weights and Path(arguments.weights),
        arguments.steps,
        arguments.seed,
        arguments.batch,
        arguments.rate,
        validation=windows(arguments.validation, arguments.validation_crops, 1, 1),
        start=arguments.start,
    )
