"""What of the machine may be used."""

from types import SimpleNamespace

import psutil
import pytest

from depictqa_core.runtime import machine


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A machine of eight cores and 16 bytes, and what its control group states."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=16))
    monkeypatch.setattr(machine, "CGROUP", tmp_path)

    def state(**files):
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text + "\n")

    return state


def test_without_limits_it_is_the_machine(container):
    assert (machine.usable_cores(), machine.usable_memory()) == (8, 16)
    container(cpu_max="max 100000", memory_max="max", memory_current="5")
    assert (machine.usable_cores(), machine.usable_memory()) == (8, 16)


@pytest.mark.parametrize(
    ("quota", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("1600000 100000", 8)]
)
def test_the_cpu_limit_of_a_container_counts(container, quota, cores):
    container(cpu_max=quota)
    assert machine.usable_cores() == cores


def test_the_memory_limit_of_a_container_counts(container):
    container(memory_max="12", memory_current="5")
    assert machine.usable_memory() == 7
    container(memory_max="4")
    assert machine.usable_memory() == 0
    container(memory_max="12", memory_stat="anon 2\ninactive_file 3\nactive_file 1")
    assert machine.usable_memory() == 10  # what was read of files does not count
    container(memory_max="max")
    assert machine.usable_memory() == 16
