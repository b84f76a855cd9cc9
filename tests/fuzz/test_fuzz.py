"""A short seeded run of each fuzzer; README.md has the long ones."""

import importlib

import pytest

from tests.fuzz import harness


@pytest.mark.parametrize("name, cases", [("images", 300), ("checkpoints", 25), ("documents", 150)])
def test_damaged_files_are_accepted_or_refused_in_one_line(tmp_path, name, cases):
    case = importlib.import_module(f"tests.fuzz.{name}").make(tmp_path)
    outcome = harness.run(case, range(cases), seed=1)
    assert not outcome.faults, "\n".join(f"case {number}: {what}" for number, what in outcome.faults)
    assert min(outcome.counts["accepted"], outcome.counts["refused"]) > cases / 50  # both ways are gone


def test_faults_are_noticed(monkeypatch):
    def case(rng):
        raise ZeroDivisionError("not of the family")

    outcome = harness.run(case, range(3), seed=0)
    assert [number for number, _ in outcome.faults] == [0, 1, 2]
    monkeypatch.setattr(harness, "LIMIT", 0.0)
    assert harness.run(lambda rng: sum(range(10**5)), range(1), seed=0).faults
