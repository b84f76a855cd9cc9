"""The commands of the local tower: ``python -m training crops|tower``."""

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
