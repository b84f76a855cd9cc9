"""Faults of generation and delivery: the vocabulary, every implementation, determinism, and the split for tests."""

import numpy as np
import pytest

from depictqa_core import tasks
from depictqa_core.errors import TaskError
from training import drawn, faults
from training.dataset.building.visibility import change
from training.dataset.records import labels


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return drawn.draw("cel shading", 220, 260, np.random.default_rng(3))


def test_every_fault_has_implementations_for_training_and_for_tests():
    assert set(faults.BY_FAULT) == set(tasks.FAULTS) and len(faults.HELD_OUT) >= 15
    for names in faults.BY_FAULT.values():
        assert len(set(names) & set(faults.TRAINING)) >= 3 and set(names) & set(faults.HELD_OUT)
    assert not set(faults.TRAINING) & set(faults.HELD_OUT)
    known = {None, *tasks.LABELS}
    assert all(entry.label in known and entry.fault in tasks.FAULTS for entry in faults.REGISTRY.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", faults.NAMES)
def test_fault(name, scene):
    before = scene.copy()
    seen = []
    for severity in (1, 3, 5):
        first, again = (faults.apply(name, scene, severity, np.random.default_rng(9)) for _ in "12")
        assert first.dtype == np.uint8 and first.shape == scene.shape and first.flags.c_contiguous
        assert np.array_equal(first, again) and first.flags.writeable
        seen.append(change(first, scene, share=0.002))
    assert np.array_equal(scene, before)
    assert seen[2] > 5
    if faults.REGISTRY[name].fault != "failed frame" and name != "seams_wrapped":
        assert seen[0] < seen[2] * 1.02  # a higher severity is at least as visible


@pytest.mark.parametrize("side", [64, 97])
def test_smallest_and_odd_sizes(side):
    image = np.random.default_rng(0).integers(0, 256, (side, side + 13, 3), dtype=np.uint8)
    for name in faults.NAMES:
        assert faults.apply(name, image, 5, np.random.default_rng(1)).shape == image.shape


def test_wrong_arguments(scene):
    rng = np.random.default_rng(0)
    for name, image, severity in (
        ("nothing", scene, 1), ("grid_lines", scene, 0), ("grid_lines", scene, 6), ("grid_lines", scene[:20], 1),
        ("grid_lines", scene.astype(float), 1),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            faults.apply(name, image, severity, rng)


def test_samples_keep_to_their_side():
    rng = np.random.default_rng(4)
    for held_out, names in ((False, faults.TRAINING), (True, faults.HELD_OUT)):
        drawn_names = {faults.sample(rng, held_out)[0] for _ in range(900)}
        assert drawn_names <= set(names) and len(drawn_names) > 0.9 * len(names)


def test_a_border_a_bar_or_a_caption_costs_little_and_is_no_distortion():
    for name in ("overlay_border", "overlay_letterbox", "overlay_caption", "overlay_date", "overlay_frame"):
        assert faults.REGISTRY[name].label == tasks.NONE
        found = [{"name": name, "fault": "overlay", "severity": 5}]
        assert labels.quality([], {}, found) >= 0.85


def test_questions_about_faults():
    asked = [tasks.FAULT.ask(tasks.fault_question(fault)) for fault in (None, *tasks.FAULTS)]
    assert len(set(asked)) == 16
    for question in asked:
        assert tasks.task_of(question, pair=False) is tasks.FAULT
        assert tasks.answers(tasks.FAULT, question) == ("Yes", "No")
    with pytest.raises(TaskError, match="unknown fault"):
        tasks.fault_question("blur")
