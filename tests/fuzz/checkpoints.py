"""Damaged checkpoint folders: ``python -m tests.fuzz.checkpoints --cases 2000``."""

import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tiny import CNN, make_tiny_checkpoint  # noqa: E402

from depictqa_core.judge import load_judge  # noqa: E402
from depictqa_core.loading import checkpoint_folder, saving

from .harness import Case, command, damaged_bytes, damaged_value  # noqa: E402


def make(folder: Path) -> Case:
    """The case function: one or two files of a tiny checkpoint are damaged, and it is loaded and asked."""
    torch.set_num_threads(1)
    compares = {"connector": {**CNN["connector"], "comparison": True}, "calibration": {"rating_nr": 1.5}}
    kinds = {"cnn": compares, "clip": {}, "abstractor": {}, "backbone": {}}
    whole = [_contents(make_tiny_checkpoint(folder / kind, kind, **changes)) for kind, changes in kinds.items()]
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)

    def case(rng: random.Random) -> None:
        files = dict(rng.choice(whole))
        for name in rng.sample(sorted(files), rng.choice((1, 1, 2))):
            if name.endswith(".json") and rng.random() < 0.7:
                files[name] = json.dumps(damaged_value(json.loads(files[name]), rng), ensure_ascii=True).encode()
            elif rng.random() < 0.03:
                del files[name]
            else:
                files[name] = damaged_bytes(files[name], rng)
        place = folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
        if rng.random() < 0.6:
            _agree(place)
        judge = load_judge(place, "cpu")
        for ask in (judge.score, judge.identify):
            ask(image)
        judge.compare(image, image[::-1].copy(), image)

    return case


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _agree(folder: Path) -> None:
    """Make the card agree with the files, so that what is wrong with them must be found in them."""
    card = folder / checkpoint_folder.CARD
    try:
        content = json.loads(card.read_bytes())
        saving.write_card(folder, {key: content[key] for key in content if key not in ("files", "tokenizer")})
    except (OSError, ValueError, TypeError, IndexError, RecursionError):
        pass  # the card is what is damaged


if __name__ == "__main__":
    sys.exit(command("tests.fuzz.checkpoints", make))
