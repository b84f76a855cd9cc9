"""The average of two checkpoints, one of which was tuned from the other.

Such an average often keeps what both know: it does better on changed images than either (Wortsman et al., "Robust
fine-tuning of zero-shot models", arXiv 2109.01903).
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from depictqa_core.errors import CheckpointError
from depictqa_core.loading.checkpoint_folder import describe_checkpoint
from depictqa_core.loading.saving import write_card
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.connector import PoolingConnector
from depictqa_core.network.model import DepictQAModel
from depictqa_core.runtime.quiet import quiet
from depictqa_core.storage.documents import read_json
from depictqa_core.storage.files import new_folder


def average(first: str | Path, second: str | Path, output: str | Path, share: float = 0.5) -> Path:
    """Write the checkpoint folder whose weights are ``(1 - share) * first + share * second``.

    Everything but the weights is the second's, and so are weights that the first does not have. But what a tower for
    native size adds, which the first does not have, counts ``share``; heads that it does not have count in full.
    Temperatures are not kept: they belong to other weights (``python -m training calibrate`` fits new ones). What
    compares two images without a reference reads hidden layers that are averaged here: train it again afterwards
    (``pair_epochs``).

    Args:
        first, second: checkpoint folders with one tokenizer and weights of the same shapes.
        output: a new folder.
        share: 0..1, how much the second counts.

    Raises:
        CheckpointError: a folder is no checkpoint, or the two do not fit together.
        ValueError: ``share`` is out of its range, or ``output`` is there already.
    """
    first, second, output = Path(first), Path(second), Path(output)
    if not 0 <= share <= 1:
        raise ValueError(f"the share is {share}; give a number from 0 (only the first) to 1 (only the second)")
    if output.exists():
        raise ValueError(f"{output} exists already; name a new folder")
    cards = [describe_checkpoint(folder) for folder in (first, second)]
    of_first, of_second = (_tensors(folder, card["files"]) for folder, card in zip((first, second), cards))
    _refuse_misfits(first, second, of_first, of_second)
    with new_folder(output) as unfinished:
        _write(unfinished, first, second, cards, of_first, share)
    return output


def _write(unfinished: Path, first: Path, second: Path, cards: list[dict], of_first: dict, share: float) -> None:
    ignored = shutil.ignore_patterns("*.safetensors", "README.md")
    shutil.copytree(second, unfinished, ignore=ignored, dirs_exist_ok=True)
    added = _native_outputs(second) - of_first.keys()
    for file in cards[1]["files"]:
        with safe_open(str(second / file), "pt") as tensors:
            own = {name: tensors.get_tensor(name) for name in tensors.keys()}
            mixed = {name: _mix(of_first.get(name), name, weight, share) for name, weight in own.items()}
            mixed |= {name: own[name] * share for name in added & own.keys()}
            save_file(mixed, str(unfinished / file), metadata=tensors.metadata())
    config = read_json(unfinished / "config.json", error=CheckpointError)
    config["calibration"] = {}
    (unfinished / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    parents = [{key: card.get(key) for key in ("name", "version", "license", "trained_on")} for card in cards]
    write_card(
        unfinished, {**cards[1], "average_of": [{**parents[0], "share": 1 - share}, {**parents[1], "share": share}]}
    )


def _native_outputs(folder: Path) -> set[str]:
    """Names of the weights that scale what the towers for native size add."""
    with torch.device("meta"):
        connector = DepictQAModel(DepictQAConfig.from_pretrained(folder)).connector
    return {f"connector.{n}" for n in connector.native_outputs()} if isinstance(connector, PoolingConnector) else set()


def _tensors(folder: Path, files) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Name -> file and shape of every weight of a checkpoint."""
    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for file in files:
        with safe_open(str(folder / file), "pt") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
            found |= {name: (folder / file, shape) for name, shape in shapes.items()}
    return found


def _refuse_misfits(first: Path, second: Path, of_first: dict, of_second: dict) -> None:
    from transformers import AutoTokenizer

    what = f"'{first.name}' and '{second.name}' do not fit together"
    with quiet():
        read = [AutoTokenizer.from_pretrained(str(folder), local_files_only=True) for folder in (first, second)]
    if read[0].get_vocab() != read[1].get_vocab():
        raise CheckpointError(f"{what}: their tokenizers differ")
    for name, (_, shape) in of_first.items():
        if name not in of_second:
            raise CheckpointError(f"{what}: only the first has {name}; is it the other way round?")
        if shape != of_second[name][1]:
            raise CheckpointError(f"{what}: {name} has the shapes {shape} and {of_second[name][1]}")


def _mix(found: tuple | None, name: str, own, share: float):
    if found is None or not own.is_floating_point():
        return own
    with safe_open(str(found[0]), "pt") as tensors:
        other = tensors.get_tensor(name)
    return other.float().lerp(own.float(), share).to(own.dtype)


def add_average(parser: argparse.ArgumentParser) -> None:
    """``average``: one checkpoint out of two, one of which was tuned from the other."""
    parser.add_argument("first", help="checkpoint folder")
    parser.add_argument("second", help="checkpoint folder that was fine-tuned from the first")
    parser.add_argument("output", help="new checkpoint folder")
    parser.add_argument("--share", type=float, default=0.5, help="weight of the second, 0 to 1 (default: 0.5)")
    parser.set_defaults(run=lambda a: print(average(a.first, a.second, a.output, a.share)))
