"""Warm-up of the connector before the language model is trained: distortions and their severities.

Linear heads on the connector's tokens predict the distortion categories and their severities, for an image alone and
with its reference; the heads are discarded afterwards. This takes minutes, compared with an hour for the language
model. The connector's comparison with a reference has a separate warm-up, which also trains on metric values and on
which of two images is better.
"""

import copy
from collections.abc import Iterable
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from depictqa_core.network.connector import PoolingConnector
from depictqa_core.tasks import DISTORTIONS

from ..dataset.records import labels
from ..distortions import ANSWER

HOLD = 10.0
"""Weight of the loss that keeps the input of the language model constant."""


def severities(record: dict) -> list[float]:
    """Severity 0..5 of each of the 12 distortions in an identification record."""
    categories = record.get("distortion_classes") or [record.get("distortion_class")]
    grades = record.get("severities") or [record.get("severity")]
    row = [0.0] * len(DISTORTIONS)
    for category, grade in zip(categories, grades):
        if category and grade:
            row[DISTORTIONS.index(ANSWER.get(category, category))] = float(grade)
    return row


def standardise(connector: PoolingConnector, rows: torch.Tensor) -> None:
    """Fit the pooling connector's ``mean`` and ``deviation`` buffers to features [N, V] of training images."""
    whole = rows[:, : connector.total]
    connector.mean.copy_(whole.mean(0))
    connector.deviation.copy_(whole.std(0).clamp(min=1e-2))
    for name in connector.native:
        standardise_native(connector, name, rows)


def standardise_native(connector: PoolingConnector, name: str, rows: torch.Tensor) -> None:
    """Fit mean and deviation of a tower for native size, per channel, to features [N, V] of training images."""
    values = connector.native_maps(rows)[name].flatten(2)
    connector.get_buffer(f"{name}_mean").copy_(values.mean((0, 2)))
    connector.get_buffer(f"{name}_deviation").copy_(values.std((0, 2)).clamp(min=1e-2))


def warm_up(
    model, records: list[dict], features, epochs: int, seed: int, batch: int = 256, rate: float = 1e-3
) -> float:
    """Train ``model.connector`` on identification records with a reference.

    Args:
        records: with ``image_ref``, ``image_A`` and the distortion fields of method.md 3.4.
        features: path -> pooled features.
        epochs: passes over the records.

    Returns:
        Mean loss of the last epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    target = torch.tensor([severities(record) for record in records])
    own = torch.stack([features[record["image_A"]] for record in records])
    references = {record["image_ref"] for record in records}
    place = {path: row for row, path in enumerate(sorted(references))}
    base = torch.stack([features[path] for path in sorted(references)])
    which = torch.tensor([place[record["image_ref"]] for record in records])
    standardise(model.connector, own)
    connector = model.connector.train()
    width = connector.token_count(own[0]) * model.language.config.hidden_size
    kinds = len(DISTORTIONS)
    heads = nn.ModuleList([nn.Linear(width, 2 * kinds + 1) for _ in range(2)])
    parameters = [*connector.parameters(), *heads.parameters()]
    steps = epochs * -(-len(records) // batch)
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    loss_sum, count = 0.0, 0
    for _ in tqdm(range(epochs), desc="connector warm-up", mininterval=10):
        loss_sum, count = 0.0, 0
        for rows in torch.randperm(len(records), generator=generator).split(batch):
            beside = base[which[rows]]
            alone, compared = connector(own[rows]).flatten(1), connector(own[rows], beside).flatten(1)
            truth = target[rows]
            none = (truth.sum(1, keepdim=True) == 0).float()
            present = torch.cat([(truth > 0).float(), none], 1)
            loss = torch.zeros(())
            for head, seen in zip(heads, (alone, compared)):
                out = head(seen)
                share = present / present.sum(1, keepdim=True)
                loss = loss + F.cross_entropy(out[:, : kinds + 1], share, label_smoothing=0.02)
                loss = loss + F.smooth_l1_loss(out[:, kinds + 1 :], truth) * 2
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            loss_sum, count = loss_sum + loss.item() * len(rows), count + len(rows)
    return loss_sum / count


def warm_up_comparison(
    connector, scenes: Iterable[dict], features, epochs: int, seed: int, batch: int = 128, rate: float = 2e-3
) -> float:
    """Train ``connector.compared``, the first time with its standardisation.

    Heads on its last hidden layer predict the distortions, the severity of each and of the whole, the quality, and the
    severity by each metric (``labels.seen_severity``); and which of two variants of a scene is better. Its output to
    the language model is kept constant, so that an existing language model still works and learns afterwards to use the
    new features.

    Args:
        scenes: of ``dataset.scenes.read_scenes``.
        features: with ``compare(path, reference)`` [COMPARISON_STATISTICS], and ``index`` of the readable paths.
        epochs: passes over all decided pairs (``dataset.labels.better``).
        batch: pairs in a step.

    Returns:
        Mean loss of the last epoch.
    """
    rows, targets, pairs = _compared_variants(scenes, features)
    kinds = len(DISTORTIONS)
    if not connector.comparison_mean.any():
        connector.comparison_mean.copy_(rows.mean(0))
        connector.comparison_deviation.copy_(rows.std(0).clamp(min=1e-2))
    rows = connector.standardise_comparison(rows)
    present = (targets[:, :kinds] > 0).float()
    present = torch.cat([present, (present.sum(1, keepdim=True) == 0).float()], 1)
    present = present / present.sum(1, keepdim=True)
    body, last = connector.train().compared[:-1], connector.compared[-1]
    before = copy.deepcopy(connector.compared).requires_grad_(False)
    heads = nn.ModuleList([nn.Linear(last.in_features, n) for n in (kinds + 1, targets.shape[1], 1)])
    optimiser = torch.optim.AdamW([*connector.compared.parameters(), *heads.parameters()], lr=rate, weight_decay=0.02)
    steps = epochs * -(-len(pairs) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    for _ in tqdm(range(epochs), desc="comparison warm-up", mininterval=10):
        loss_sum = 0.0
        for part in torch.randperm(len(pairs), generator=generator).split(batch):
            which = pairs[part].flatten()
            shown, truth = rows[which], targets[which]
            hidden = body(shown + 0.05 * torch.randn(shown.shape, generator=generator))
            better, worse = heads[2](hidden).unflatten(0, (-1, 2)).unbind(1)
            loss = F.smooth_l1_loss(heads[1](hidden), truth, beta=0.3)
            loss = loss + 0.5 * F.cross_entropy(heads[0](hidden), present[which]) + F.softplus(worse - better).mean()
            loss = loss + HOLD * F.mse_loss(last(hidden), before(shown))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(part)
    return loss_sum / len(pairs)


def _compared_variants(scenes: Iterable[dict], features) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Statistics [N, COMPARISON_STATISTICS] and targets [N, T] of the readable variants, and their decided pairs.

    Returns:
        (statistics, targets, [P, 2]: rows of the better and the worse variant of each pair)
    """
    rows: list[torch.Tensor] = []
    targets, pairs = [], []
    for scene in scenes:
        known = [v for v in scene["variants"] if v["image"] in features.index and scene["reference"] in features.index]
        for (i, one), (j, other) in combinations(enumerate(known, start=len(rows)), 2):
            better = labels.better(one, other)
            if better is not None:
                pairs.append((i, j) if better else (j, i))
        rows += [features.compare(variant["image"], scene["reference"]) for variant in known]
        targets += [_targets(variant) for variant in known]
    return torch.stack(rows), torch.tensor(targets), torch.tensor(pairs)


def _targets(variant: dict) -> list[float]:
    """Severity of each distortion, of the whole, quality times 5, and the severity that each metric sees."""
    row = [0.0] * len(DISTORTIONS)
    for found in variant["distortions"]:
        row[DISTORTIONS.index(ANSWER[found["category"]])] = float(found["severity"])
    seen = labels.seen_severity(variant["metrics"])
    metrics = [seen[name] for name in sorted(seen)]
    return [*row, labels.severity(variant["distortions"]), 5 * variant["quality"], *metrics]
