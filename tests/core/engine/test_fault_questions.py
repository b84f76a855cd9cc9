"""Questions about faults are decided by the engine as every other closed question: exactly, in batches and with shared
beginnings."""

import numpy as np
import pytest

from depictqa_core import tasks
from depictqa_core.errors import TaskError
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge
from tests.tiny import make_tiny_checkpoint


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return load_judge(make_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def test_every_fault_is_a_question_of_its_own(judge):
    rng = np.random.default_rng(0)
    shown = [{"A": as_image(rng.integers(0, 256, (40, 60 + i, 3), np.uint8), str(i))} for i in range(3)]
    seen = []
    for fault in (None, *tasks.FAULTS):
        question = tasks.fault_question(fault)
        options, rows = judge.ask(shown, tasks.FAULT, question)
        assert options == ("Yes", "No") and rows.shape == (3, 2) and np.allclose(rows.sum(1), 1)
        for one, row in zip(shown, rows):
            assert np.allclose(judge.ask([one], tasks.FAULT, question)[1][0], row, atol=1e-6)
        seen.append(rows[:, 0])
    assert len({tuple(row.round(9)) for row in seen}) == 16  # the fault's name matters


def test_names_of_temperatures():
    question = tasks.fault_question("seams")
    assert tasks.temperature_names(tasks.FAULT, question, False) == ("faults_nr", "faults")


def test_identify_gives_every_fault_its_own_probability(judge):
    images = [np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8) for i in range(2)]
    found = judge.identify(images)
    for answer, image in zip(found, images):
        assert {item.label for item in answer.faults} == set(tasks.FAULTS)
        chances = [item.probability for item in answer.faults]
        assert chances == sorted(chances, reverse=True)
        question = tasks.fault_question(answer.faults[0].label)
        alone = judge.ask([{"A": as_image(image, "a")}], tasks.FAULT, question)[1][0][0]
        assert alone == pytest.approx(chances[0], abs=1e-6)
        assert [item.label for item in answer.probable_faults] == [
            f.label for f in answer.faults if f.probability > 0.5
        ]
    assert [answer.faults for answer in judge.identify(images, faults=False)] == [None, None]


def test_an_image_that_equals_its_reference_has_no_fault(judge):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert {item.probability for item in judge.identify(image, image)[0].faults} == {0.0}


def test_only_checkpoints_that_were_taught_faults_are_asked_for_them(tmp_path):
    known = [name for name in tasks.TASKS if name != "faults"]
    judge = load_judge(make_tiny_checkpoint(tmp_path / "plain", tasks=known))
    image = np.zeros((40, 40, 3), np.uint8)
    assert judge.identify(image)[0].faults is None
    with pytest.raises(TaskError, match="faults"):
        judge.identify(image, faults=True)
