"""Questions about faults are decided by the engine as every other closed question: exactly, in batches and with shared
beginnings."""

import numpy as np
import pytest

from depictqa_core import tasks
from depictqa_core.images.image import as_picture
from depictqa_core.judge import load_judge
from tests.tiny import make_tiny_checkpoint


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return load_judge(make_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def test_every_fault_is_a_question_of_its_own(judge):
    rng = np.random.default_rng(0)
    shown = [{"A": as_picture(rng.integers(0, 256, (40, 60 + i, 3), np.uint8), str(i))} for i in range(3)]
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
