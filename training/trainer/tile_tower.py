"""Trains the tile tower end to end: on windows of scenes and of crops, in about an hour of two cores.

A window of an image is damaged as the image is, if all of the image is; of crops, the truth of every cell is known
(``training.dataset.building.crops``), so those teach damage to a part and faults. All layers are trained, from ImageNet
weights: an ImageNet tower that is frozen knows photographs and hardly sees what is wrong with a drawing.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from depictqa_core.errors import CheckpointError
from depictqa_core.images.image import as_image
from depictqa_core.network.local_vision import CELL
from depictqa_core.network.tile_vision import TileTower
from depictqa_core.tasks import DISTORTIONS, FAULTS

from ..dataset.building.crops import UNDECIDED
from ..dataset.building.scenes import read_scenes
from ..output_files import write_file, writing
from .evidence import LinearHeads, label_shares, truth_of
from .roc import area_under_curve
from .start_network import load_efficientnet_lite0

CHANNELS = 192
"""Features of a tile of a new tower."""
WINDOWS_OF_SCENES, WINDOWS_OF_CROPS = 10, 6
"""Windows that are cut from an image of a scene, and from a crop."""
PRESENT = 0.25
"""Share of a window that a damage covers at least; a window with less of it is not asked about it."""
SAVE_EVERY = 250


@dataclass
class Windows:
    """Windows of images and what is true of them; N windows, kinds and faults as in ``LinearHeads``.

    Attributes:
        pixels: uint8 [N, 3, side, side].
        severity: [N, 12], 0 for a distortion that is not there.
        labelled: [N], 0 where the distortions are undecided.
        faults: [N, 15], 0 or 1, NaN where it is undecided.
        quality: [N], 0..1; NaN where it is unknown.
    """

    pixels: torch.Tensor
    severity: torch.Tensor
    labelled: torch.Tensor
    faults: torch.Tensor
    quality: torch.Tensor

    def joined(self, other: "Windows") -> "Windows":
        """Both together."""
        return Windows(*(torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


def scene_windows(roots: Sequence[Path], side: int, count: int = WINDOWS_OF_SCENES, seed: int = 0) -> Windows:
    """Cut random windows from the clean images of scenes and from those that are distorted as a whole.

    Args:
        roots: data roots; images with a fault or damage to a region are left out, as are those smaller than ``side``.
        side: of a window in pixels.
        count: windows of each image.
        seed: decides where they lie.
    """
    found = [(root / v["image"], v) for root in roots for scene in read_scenes(root) for v in _whole(scene)]

    def cut(item: tuple[int, tuple[Path, dict]]) -> torch.Tensor | None:
        number, (path, _) = item
        rgb, rng = as_image(path).rgb, random.Random(f"{seed} {number}")
        if min(rgb.shape[:2]) < side:
            return None
        pixels = torch.tensor(rgb).permute(2, 0, 1)
        places = ([rng.randrange(size - side + 1) for size in rgb.shape[:2]] for _ in range(count))
        return torch.stack([pixels[:, y : y + side, x : x + side] for y, x in places])

    with ThreadPoolExecutor(2) as pool:
        windows = list(pool.map(cut, enumerate(found)))
    known = [(cuts, truth_of(v), v["quality"]) for cuts, (_, v) in zip(windows, found) if cuts is not None]
    return Windows(
        torch.cat([cuts for cuts, *_ in known]),
        torch.tensor([truth[0] for _, truth, _ in known]).repeat_interleave(count, 0),
        torch.tensor([truth[2] for _, truth, _ in known]).repeat_interleave(count, 0),
        torch.tensor([truth[1] for _, truth, _ in known]).repeat_interleave(count, 0),
        torch.tensor([float(quality) for *_, quality in known]).repeat_interleave(count, 0),
    )


def _whole(scene: dict) -> Iterable[dict]:
    return (v for v in scene["variants"] if not v.get("faults") and not v.get("region"))


def crop_windows(folder: Path, side: int, count: int = WINDOWS_OF_CROPS, seed: int = 0) -> Windows:
    """Cut random windows from crops (``python -m training crops``), with what is true of each window."""
    rng = np.random.default_rng(seed)
    pixels, present, severities = [], [], []
    for path in sorted(folder.glob("[0-9]*[0-9].npz")):
        with np.load(path) as shard:
            crops, truth, severity = shard["crops"], shard["truth"], shard["severities"]
        for crop, cells, grades in zip(crops, truth, severity):
            for y, x in rng.integers(0, crop.shape[0] - side + 1, (count, 2)):
                pixels.append(crop[y : y + side, x : x + side].transpose(2, 0, 1))
                present.append(_presence(cells, y, x, side))
                severities.append(grades)
    there = torch.from_numpy(np.stack(present))
    severity = torch.from_numpy(np.stack(severities)).float() * (there == 1)
    kinds = len(DISTORTIONS)
    labelled = (~there[:, :kinds].isnan().any(1)).float()
    clean = (there == 0).all(1)
    quality = torch.where(clean, 1.0, torch.nan)
    return Windows(
        torch.from_numpy(np.stack(pixels)), severity[:, :kinds].nan_to_num(), labelled, there[:, kinds:], quality
    )


def _presence(cells: np.ndarray, y: int, x: int, side: int) -> np.ndarray:
    """Whether each kind of damage is in a window: float32 [kinds] of 1, 0 and, where it is undecided, NaN."""
    inside = cells[:, round(y / CELL) : round((y + side) / CELL), round(x / CELL) : round((x + side) / CELL)]
    share = (inside == 1).mean((1, 2))
    some = share + (inside == UNDECIDED).mean((1, 2))
    return np.where(share >= PRESENT, 1, np.where(some == 0, 0, np.nan)).astype(np.float32)


def loss(
    tower: TileTower, heads: LinearHeads, windows: Windows, rows: torch.Tensor, flip: Sequence[int] = ()
) -> torch.Tensor:
    """Error of labels, severities, faults and quality of some windows."""
    pixels = windows.pixels[rows].flip(list(flip)) if flip else windows.pixels[rows]
    judged = heads(tower.judge(pixels))
    true, labelled, shown = windows.severity[rows], windows.labelled[rows], windows.faults[rows]
    present = label_shares(true)
    entropy = F.cross_entropy(judged.labels, present, reduction="none", label_smoothing=0.02)
    value = (entropy * labelled).mean()
    error = F.smooth_l1_loss(judged.severity, true, reduction="none", beta=0.3).mean(1)
    value = value + 2 * (error * labelled).mean()
    known = ~shown.isnan()
    each = F.binary_cross_entropy_with_logits(judged.faults[:, : len(FAULTS)], shown.nan_to_num(), reduction="none")
    value = value + 3 * (each * known).mean()
    told = ~windows.quality[rows].isnan()
    aim = windows.quality[rows].nan_to_num() * 5
    return value + (F.smooth_l1_loss(judged.quality, aim, reduction="none", beta=0.5) * told).mean()


def train_tiles(
    windows: Windows,
    output: Path,
    weights: Path | None,
    steps: int,
    seed: int = 0,
    batch: int = 48,
    rate: float = 3e-4,
    report=print,
    validation: Windows | None = None,
    start: Path | None = None,
) -> TileTower:
    """Train a tower and save its weights; an interrupted run resumes.

    Args:
        windows: what is learned.
        output: .safetensors file of the weights of the ``TileTower``. The state of an unfinished run lies next to it.
        weights: ImageNet weights of EfficientNet-Lite0; None starts from random ones, or from ``start``.
        steps: of ``batch`` windows each.
        seed: of the weights of the heads and of the order of the windows.
        rate: highest learning rate of the tower; it rises for a tenth of the steps and falls with a cosine.
        report: called with one line now and then.
        validation: windows that are measured whenever the state is saved.
        start: .safetensors file of a trained tower, which is trained further.

    Raises:
        CheckpointError: a file has no such weights.
    """
    torch.manual_seed(seed)
    tower, heads = TileTower(CHANNELS), LinearHeads(CHANNELS)
    if weights:
        load_efficientnet_lite0(tower, weights)
    if start:
        _load_tower(tower, start)
    tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    new = {"params": [*heads.parameters(), *tower.embed.parameters(), *tower.norm.parameters()]}
    layers = {"params": [*tower.stem.parameters(), *tower.stages.parameters()]}
    optimiser = torch.optim.AdamW([layers, new], rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, 1e-3], total_steps=steps + 1, pct_start=0.1)
    parts: dict[str, Any] = {"tower": tower, "heads": heads, "optimiser": optimiser, "schedule": schedule}
    state = output.with_suffix(".state.pt")
    first = 0
    if state.exists():
        kept = torch.load(state, map_location="cpu", weights_only=True)
        first = kept.pop("step")
        for name, part in parts.items():
            part.load_state_dict(kept[name])
    total = 0.0
    for step in range(first, steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        rows = torch.randint(len(windows.pixels), (batch,), generator=generator)
        flip = [axis for axis in (2, 3) if torch.rand(1, generator=generator) < 0.5]
        value = loss(tower, heads, windows, rows, flip)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_([*tower.parameters(), *heads.parameters()], 1.0)
        optimiser.step()
        schedule.step()
        total += value.item()
        if (step + 1) % SAVE_EVERY == 0:
            saved = {**{name: part.state_dict() for name, part in parts.items()}, "step": step + 1}
            _store(state, partial(torch.save, saved))
            words = measure(tower, heads, validation) if validation else ""
            report(f"step {step + 1}: loss {total / SAVE_EVERY:.3f} {words}")
            total = 0.0
    trained = {name: tensor.contiguous() for name, tensor in tower.eval().state_dict().items()}
    _store(output, lambda path: save_file(trained, path))
    state.unlink(missing_ok=True)
    return tower


def _store(file: Path, write: Callable[[Path], object]) -> None:
    with writing(file):
        write_file(file, write)


def _load_tower(tower: TileTower, file: Path) -> None:
    try:
        tower.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
    except Exception as error:  # safetensors raises errors of its own
        raise CheckpointError(f"{file} has no weights of a tile tower ({type(error).__name__})") from error


@torch.no_grad()
def measure(tower: TileTower, heads: LinearHeads, windows: Windows) -> str:
    """How many windows of clean or once distorted images get their label, the AUC of "none", and the mean AUC of the
    faults that are there and not there in some windows, in words."""
    parts = torch.arange(len(windows.pixels)).split(128)
    judged = [heads(tower.judge(windows.pixels[part])) for part in parts]
    found = torch.cat([one.labels for one in judged]).log_softmax(1)
    faults = torch.cat([one.faults for one in judged])
    right = label_shares(windows.severity)
    single = (windows.labelled > 0) & (right.amax(1) == 1)
    accuracy = (found.argmax(1) == right.argmax(1))[single].double().mean().item()
    clean = right[:, -1] == 1
    good, bad = found[single & clean, -1], found[single & ~clean, -1]
    words = f"validation: label {accuracy:.3f}, AUC of none {area_under_curve(good, bad):.3f}"
    shown = [(faults[truth == 1, place], faults[truth == 0, place]) for place, truth in enumerate(windows.faults.T)]
    areas = [area_under_curve(there, absent) for there, absent in shown if len(there) and len(absent)]
    return f"{words}, of faults {np.mean(areas):.3f}" if areas else words
