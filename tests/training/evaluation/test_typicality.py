"""Typicality of a tiny checkpoint: fitted on images, stored in its folder, and part of every answer."""

import shutil

import numpy as np
import pytest
from PIL import Image
from tiny import make_tiny_checkpoint

from depictqa_core.errors import TaskError
from depictqa_core.judge import load_judge
from depictqa_core.loading.saving import write_card
from depictqa_core.ranking.filtering import Criteria
from depictqa_core.typicality import TYPICALITY
from training.__main__ import main
from training.evaluation.typicality import training_images
from training.trainer.storage_format import convert


def smooth(seed, level=120):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(level - 60, level + 60, (6, 6, 3)).astype(np.uint8))
    return np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))


STATIC = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny checkpoint without the file, and the same with it, fitted on 120 images."""
    root = tmp_path_factory.mktemp("typicality")
    plain = make_tiny_checkpoint(root / "plain")
    shutil.copytree(plain, root / "known")
    (root / "images").mkdir()
    for number in range(120):
        Image.fromarray(smooth(number)).save(root / f"images/{number:03}.png")
    assert main(["typicality", str(root / "known"), str(root / "images"), "--device", "cpu"]) == 0
    return root


@pytest.fixture(scope="module")
def judges(folders):
    return tuple(load_judge(folders / name, "cpu") for name in ("plain", "known"))


def test_every_answer_has_it_and_is_otherwise_the_same(judges):
    plain, known = judges
    images = [smooth(500), STATIC]
    for ask in (lambda j: j.identify(images), lambda j: j.score(images), lambda j: j.compare_many([tuple(images)])):
        before, after = ([one.to_dict() for one in ask(judge)] for judge in judges)
        assert all("typicality" not in one for one in before)
        places = [one.pop("typicality") for one in after]
        assert after == before  # nothing is calibrated here, so that certainty cannot change
        assert places[-1] == 0 and all(0 <= place <= 1 for place in places)
    assert known.score(images)[0].typicality > 0.01
    text = known.describe([STATIC], max_new_tokens=4)[0]
    assert text.typicality == 0 and plain.describe([STATIC], max_new_tokens=4)[0].typicality is None


def test_it_does_not_depend_on_batches_or_on_a_cache(folders, judges):
    images = [smooth(600 + i) for i in range(4)]
    together = [one.typicality for one in judges[1].score(images)]
    alone = load_judge(folders / "known", "cpu", cache_bytes=0)
    assert [alone.score([image])[0].typicality for image in images] == pytest.approx(together, abs=1e-4)


def test_an_image_that_equals_its_reference_needs_none(judges):
    assert judges[1].score([STATIC], STATIC)[0].typicality is None
    assert judges[1].identify([STATIC], STATIC)[0].typicality is None
    assert judges[1].score([STATIC], smooth(1))[0].typicality == 0


def test_a_minimum_confidence_rejects_atypical_images(judges):
    scores = judges[1].score([smooth(500), STATIC])
    for one in scores:
        object.__setattr__(one, "coverage", 1.0)  # random weights cover no question
    known = {"min_score": 0, "best_percent": 100, "top_k": 0, "distortions": (), "probability": 1}
    assert Criteria(**known, min_confidence=0).faults(2, scores, None)[1] == []
    reasons = Criteria(**known, min_confidence=0.001).faults(2, scores, None)
    assert "unlike the training images: typicality 0" in reasons[1][0] and "typicality" not in str(reasons[0])


def test_the_file_is_no_weight_file_and_is_converted_with_the_checkpoint(folders, tmp_path):
    shutil.copytree(folders / "known", tmp_path / "known")
    assert TYPICALITY not in write_card(tmp_path / "known", {"name": "x"})["files"]
    converted = convert(folders / "known", tmp_path / "half")
    assert (converted / TYPICALITY).read_bytes() == (folders / "known" / TYPICALITY).read_bytes()


def test_images_are_chosen_evenly_and_grouped(folders, tmp_path):
    found = training_images([folders / "images"], 10)
    assert len(found) == 10 and found[0][1] == "000.png" and found[-1][1] == "119.png"
    assert len({group for *_, group in found}) == 10
    with pytest.raises(TaskError, match="not a folder"):
        training_images([tmp_path / "none"])


def test_a_file_of_another_network_is_replaced(folders, tmp_path):
    shutil.copytree(folders / "plain", tmp_path / "other")
    (tmp_path / "other" / TYPICALITY).write_bytes(b"of another network")
    assert main(["typicality", str(tmp_path / "other"), str(folders / "images"), "--device", "cpu"]) == 0
    assert (tmp_path / "other" / TYPICALITY).read_bytes() == (folders / "known" / TYPICALITY).read_bytes()


def test_what_another_judge_depends_on_includes_it(judges):
    plain, known = (judge.backend.identity() for judge in judges)
    assert "typicality" not in plain and len(known["typicality"]) == 64
