"""What of this machine this process may use: containers often have less than the machine."""

import math
import os
from pathlib import Path

import psutil  # accelerate brings it

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux (control groups, version 2) states the limits of a container."""


def usable_cores() -> int:
    """Count the cores that this process may use, by its affinity and by the CPU limit of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = [*_stated("cpu.max"), "max", "max"][:2]
    if quota.isdecimal() and period.isdecimal() and int(period):
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def usable_memory() -> int:
    """Return the bytes that are free on this machine, and within the memory limit of its container."""
    free = psutil.virtual_memory().available
    limit, used = _stated("memory.max"), _stated("memory.current")
    if limit and limit[0].isdecimal() and used:
        stored = _stated("memory.stat")
        cached = dict(zip(stored[::2], stored[1::2])).get("inactive_file", "0")  # file content, dropped when needed
        free = min(free, int(limit[0]) - int(used[0]) + int(cached))
    return max(0, free)


def _stated(name: str) -> list[str]:
    """The words of a file of the control group; none where there is no such file."""
    try:
        return (CGROUP / name).read_text().split()
    except OSError:
        return []
