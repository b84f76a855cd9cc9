"""Warm-up of the connector's evidence: what one image alone shows, learned directly and not through the language model.

Heads on the hidden layers of the connector predict the distortions, their severities, the faults and the quality of
each image, and which of two variants of a scene is better. The connector's output to the language model is held
constant meanwhile: the language model still works, and learns afterwards to use what the hidden layers now tell. This
takes minutes where the same knowledge would take hours through the language model.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from depictqa_core.images.image import as_image
from depictqa_core.network.connector import PoolingConnector
from depictqa_core.network.heads import BEST, Findings
from depictqa_core.network.model import DepictQAModel
from depictqa_core.network.vision import prepare
from depictqa_core.tasks import DISTORTIONS, FAULTS

from ..dataset.building.crops import UNDECIDED
from ..dataset.records import labels
from ..distortions import ANSWER
from ..faults import REGISTRY
from .feature_store import pooling, tower_stamp
from .row_file import RowFile
from .warmup import HOLD

NOISE = 0.05
"""Standard deviation of the noise on standardized features, against learning single images by heart."""


@dataclass
class Evidence:
    """Pooled features of images and what is true of them; N images.

    Attributes:
        rows: [N, V].
        severity: [N, 12] of the whole image, 0 for a distortion that is not there.
        labelled: [N], 0 where a fault leaves the distortions undecided.
        faults: [N, 15], 0 or 1.
        quality: [N], 0..1; NaN where it is unknown.
        pairs: [P, 2], rows of the better and the worse variant of a scene.
    """

    rows: torch.Tensor
    severity: torch.Tensor
    labelled: torch.Tensor
    faults: torch.Tensor
    quality: torch.Tensor
    pairs: torch.Tensor

    def joined(self, other: "Evidence") -> "Evidence":
        """Both together."""
        moved = other.pairs + len(self.rows)
        parts = {f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)}
        return Evidence(**{**parts, "pairs": torch.cat([self.pairs, moved])})

    def with_pairs(self, part: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Some images, and after them half as many pairs, the better one of each first: indexes."""
        drawn = torch.randint(len(self.pairs), (len(part) // 2,), generator=generator)
        return torch.cat([part, self.pairs[drawn].flatten()])

    def loss(self, judged: Findings, which: torch.Tensor, singles: int) -> torch.Tensor:
        """The error of what was found in some images.

        Args:
            judged: what was found in them.
            which: indexes of these images, see ``with_pairs``.
            singles: how many of them come before the pairs.
        """
        entropy = F.cross_entropy(
            judged.labels, label_shares(self.severity[which]), reduction="none", label_smoothing=0.02
        )
        loss = (entropy * self.labelled[which]).mean()
        loss = loss + 2 * F.smooth_l1_loss(judged.severity, self.severity[which], beta=0.3)
        shown = torch.cat([self.faults, self.faults.amax(1, keepdim=True)], 1)[which]
        loss = loss + 5 * F.binary_cross_entropy_with_logits(judged.faults, shown)
        known = ~self.quality[which].isnan()
        loss = loss + F.smooth_l1_loss(judged.quality[known], BEST * self.quality[which][known], beta=0.5)
        better, worse = judged.quality[singles:].unflatten(0, (-1, 2)).unbind(1)
        return loss + F.softplus(3 * (worse - better)).mean()


def scene_evidence(scenes: Iterable[dict], features, asked_by: str = "evidence_epochs") -> Evidence:
    """Evidence of the readable variants of scenes.

    Args:
        scenes: of ``dataset.building.scenes.read_scenes``.
        features: path -> pooled features, with ``index`` of the readable paths.
        asked_by: the key of the recipe that needs them, for messages.
    """
    rows: list[torch.Tensor] = []
    severity: list[list[float]] = []
    labelled: list[float] = []
    faults: list[list[float]] = []
    quality: list[float] = []
    pairs: list[tuple[int, int]] = []
    for scene in scenes:
        known = [variant for variant in scene["variants"] if variant["image"] in features.index]
        for (i, one), (j, other) in combinations(enumerate(known, start=len(rows)), 2):
            better = labels.better(one, other)
            if better is not None:
                pairs.append((i, j) if better else (j, i))
        for variant in known:
            rows.append(features[variant["image"]])
            found, shown, decided = truth_of(variant)
            severity.append(found)
            faults.append(shown)
            labelled.append(decided)
            quality.append(variant["quality"])
    if not pairs:
        raise ValueError(f"{asked_by} needs scenes of which two images can be read and one is known to be better")
    return Evidence(
        torch.stack(rows),
        torch.tensor(severity),
        torch.tensor(labelled),
        torch.tensor(faults),
        torch.tensor(quality),
        torch.tensor(pairs).reshape(-1, 2),
    )


def truth_of(variant: dict) -> tuple[list[float], list[float], float]:
    """Severity of each distortion, whether each fault is there, and whether the distortions are decided."""
    severity, shown, decided = [0.0] * len(DISTORTIONS), [0.0] * len(FAULTS), 1.0
    for item in variant["distortions"]:
        severity[DISTORTIONS.index(ANSWER[item["category"]])] = labels.of_whole(item)
    for item in variant.get("faults") or ():
        fault = REGISTRY[item["name"]]
        shown[FAULTS.index(fault.fault)] = 1.0
        if fault.label in DISTORTIONS:
            place = DISTORTIONS.index(fault.label)
            severity[place] = max(severity[place], float(item["severity"]))
        elif fault.label is None:
            decided = 0.0
    return severity, shown, decided


def crop_evidence(folder: Path, model: DepictQAModel, run: Path) -> Evidence:
    """Evidence of the crops that the local tower learned from (``python -m training crops``), without pairs.

    Args:
        folder: of shards.
        run: folder that receives the pooled features of the crops; they are computed once.
    """
    store = RowFile(run, f"crops-{tower_stamp(model)}", pooling(model).pooled_width)
    rows, truths, severities = [], [], []
    for path in sorted(folder.glob("[0-9]*[0-9].npz")):
        with np.load(path) as shard:
            crops, truth, severity = shard["crops"], shard["truth"], shard["severities"]
        images = [as_image(crop) for crop in crops]
        keys = {image.key: image for image in images}

        def encode(key: str, keys=keys) -> torch.Tensor:
            return model.encode([prepare(keys[key], model.config)])[0]

        store.fill(list(keys), encode, f"crops of {path.name}")
        rows += [store[image.key] for image in images]
        truths.append(truth)
        severities.append(severity)
    if not rows:
        raise ValueError(f"evidence_crops: {folder} has no shards; make some by python -m training crops")
    truth, severity = torch.from_numpy(np.concatenate(truths)), torch.from_numpy(np.concatenate(severities)).float()
    kinds = len(DISTORTIONS)
    area = (truth == 1).float().mean((2, 3))
    whole = severity * area**labels.AREA_POWER
    decided = (truth[:, :kinds] != UNDECIDED).flatten(1).any(1).float()
    clean = (severity.sum(1) == 0) & (decided == 1)
    quality = torch.where(clean, 1.0, torch.nan)
    faults = (severity[:, kinds:] > 0).float()
    return Evidence(torch.stack(rows), whole[:, :kinds], decided, faults, quality, torch.empty(0, 2, dtype=torch.long))


def label_shares(severity: torch.Tensor) -> torch.Tensor:
    """The labels that are right, "none" last, with equal shares: [N, 13] from severities [N, 12]."""
    present = (severity > 0).float()
    present = torch.cat([present, (present.sum(1, keepdim=True) == 0).float()], 1)
    return present / present.sum(1, keepdim=True)


class LinearHeads(nn.Module):
    """What is asked of the hidden layers [B, inputs]: labels with "none", severities, faults, quality."""

    def __init__(self, inputs: int):
        super().__init__()
        self.labels = nn.Linear(inputs, len(DISTORTIONS) + 1)
        self.severity = nn.Linear(inputs, len(DISTORTIONS))
        self.faults = nn.Linear(inputs, len(FAULTS) + 1)
        self.quality = nn.Linear(inputs, 1)

    def forward(self, hidden: torch.Tensor) -> Findings:
        return Findings(self.labels(hidden), self.severity(hidden), self.faults(hidden), self.quality(hidden)[:, 0])


def warm_up_evidence(
    connector: PoolingConnector, found: Evidence, epochs: int, seed: int, batch: int = 256, rate: float = 1e-3
) -> tuple[float, LinearHeads]:
    """Train the hidden layers of ``connector.mixtures``.

    Args:
        found: images of the training set.
        epochs: passes over all images; of each image that has pairs, one pair at a time.
        batch: images in a step.

    Returns:
        (mean loss of the last epoch, the heads)
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    (width,) = connector.mix[-1].get_parameter("weight").shape[1:]
    mixtures = connector.mixtures()
    heads = LinearHeads(width * len(mixtures))
    before = copy.deepcopy(mixtures)
    for mixture in before:
        mixture.eval().requires_grad_(False)
    parameters = [p for module in (*mixtures, heads) for p in module.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    steps = epochs * -(-len(found.rows) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    connector.train()
    loss_sum = 0.0
    for _ in tqdm(range(epochs), desc="evidence warm-up", mininterval=10):
        loss_sum = 0.0
        for part in torch.randperm(len(found.rows), generator=generator).split(batch):
            which = found.with_pairs(part, generator)
            inputs = connector.summary_inputs(found.rows[which])
            noisy = [x + NOISE * torch.randn(x.shape, generator=generator) for x in inputs]
            hidden = [mixture[:-1](x) for mixture, x in zip(mixtures, noisy)]
            loss = found.loss(heads(torch.cat(hidden, 1)), which, len(part))
            for mixture, frozen, x, state in zip(mixtures, before, inputs, hidden):
                loss = loss + HOLD * F.mse_loss(mixture[-1](state), frozen(x))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(part)
    connector.eval()
    return loss_sum / len(found.rows), heads.eval()
