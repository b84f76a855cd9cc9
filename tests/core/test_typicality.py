"""Typicality: a rank among training images, from a file that a checkpoint may have."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from depictqa_core.confidence import atypical, certainty_at, reliable, typicality_notices
from depictqa_core.errors import CheckpointError
from depictqa_core.results import Score
from depictqa_core.typicality import TYPICALITY, fit, load, store


def features(count, seed=0, shift=0.0):
    """Correlated features with different scales, one of them constant."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 4)) @ np.random.default_rng(99).normal(size=(4, 12))
    rows = (rows + 0.3 * rng.normal(size=rows.shape)) * np.geomspace(0.01, 100, 12) + 5
    return np.column_stack([rows, np.full(count, 2.0)]) + shift


@pytest.fixture(scope="module")
def model():
    return fit(features(1000), np.arange(1000) // 2)


def test_distances_are_those_of_mahalanobis_where_all_components_are_kept():
    rows = features(400)[:, :-1]
    model = fit(rows, np.arange(400))
    known = rows[np.arange(400) % 5 != 0]
    centred = features(7, seed=3)[:, :-1] - known.mean(0)
    expected = (centred @ np.linalg.inv(np.cov(known.T, bias=True)) * centred).sum(1)
    assert model.distances(features(7, seed=3)[:, :-1]) == pytest.approx(expected, rel=1e-3)


def test_typicality_of_images_like_the_training_images_is_uniform(model):
    found = model(features(2000, seed=5))
    assert np.all((0 <= found) & (found <= 1))
    assert np.quantile(found, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.07)


def test_what_is_unlike_all_training_images_has_none(model):
    off = features(20, seed=6)
    off[:, 0] += 1.0  # a hundred deviations of the smallest feature, unseen among the larger ones
    assert np.all(model(off) == 0)
    moved = features(20, seed=6)
    moved[:, -1] += 0.5  # constant in training
    assert np.all(model(moved) == 0)
    assert model(model.mean[None])[0] == 1


def test_quantiles_come_from_groups_that_are_left_out():
    rows = features(500)
    groups = np.arange(500) // 5
    rows[np.unique(groups, return_inverse=True)[1] % 5 == 0] *= 3
    assert fit(rows, groups).quantiles[100] > 3 * fit(features(500), groups).quantiles[100]


@pytest.mark.parametrize("count, groups", [(99, np.arange(99)), (200, np.zeros(200))])
def test_too_few_images_are_refused(count, groups):
    with pytest.raises(ValueError, match="at least 100 images of several scenes"):
        fit(features(count), groups)


def test_the_file_gives_back_what_was_stored(model, tmp_path):
    assert load(tmp_path, lambda: 13) is None
    path = store(model, tmp_path)
    again = load(tmp_path, lambda: 13)
    assert path.name == TYPICALITY and again.digest == model.digest
    assert np.array_equal(again(features(9, seed=8)), model(features(9, seed=8)))


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda t: t.pop("mean"), "'mean'"),
        (lambda t: t.update(scale=t["scale"] * 0), "not above 0"),
        (lambda t: t.update(mean=t["mean"] * np.nan), "NaN or Inf"),
        (lambda t: t.update(mean=t["mean"].astype(np.float64)), "not float32"),
        (lambda t: t.update(components=t["components"][:, :3].copy()), "do not fit together"),
        (lambda t: t.update(quantiles=t["quantiles"][::-1].copy()), "not in order"),
    ],
)
def test_a_damaged_file_is_one_clear_error(model, tmp_path, harm, message):
    tensors = load_file(store(model, tmp_path))
    harm(tensors)
    save_file(tensors, tmp_path / TYPICALITY)
    with pytest.raises(CheckpointError, match=f"typicality.safetensors cannot be used .*{message}.*download"):
        load(tmp_path, lambda: 13)


def test_a_cut_file_and_one_of_another_network(model, tmp_path):
    path = store(model, tmp_path)
    with pytest.raises(CheckpointError, match="another network: it has 13 values per image instead of 14"):
        load(tmp_path, lambda: 14)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be used"):
        load(tmp_path, lambda: 13)


def test_the_rule_of_reliable_answers():
    assert reliable(0.9, 0.5, 1.0, 0.01) and reliable(0.9, 0.5, 1.0, None)
    assert not reliable(0.9, 0.5, 1.0, 0.009)
    assert reliable(0.9, 0, 1.0, 0.0)  # without a minimum nothing is asked of the confidence
    assert atypical(0.0) and not atypical(None) and not atypical(0.01)
    assert certainty_at(1.0, "calibrated", 0.5) == "calibrated"
    assert certainty_at(1.0, "calibrated", 0.001) == "self-consistency"
    assert typicality_notices([None, 0.4]) == []
    assert "1 of 3 answers" in typicality_notices([None, 0.4, 0.0])[0]


def test_an_unknown_typicality_is_not_printed():
    score = Score("a", 1, 1, 1, (), 0, 2, "levels")
    assert "typicality" not in score.to_dict()
    assert Score(**{**vars(score), "typicality": 0.25}).to_dict()["typicality"] == 0.25
