"""The build on a local Ray cluster: a worker that is killed midway changes nothing, failures are told."""

import os
import signal

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.trees import contents
from training.dataset.building.engines import ENGINES, run_shards
from training.dataset.building.factory import build_samples, find_split
from training.dataset.building.plan import Plan, Wanted
from training.dataset.building.shard import BuildError
from training.dataset.building.synthesis import SceneError

ray = pytest.importorskip("ray")
PLAN = Plan("identify", 3, sets={"identification_single": Wanted(24)})


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_worker_niceness"] = "0"  # by default workers wait for everything else on the machine
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(3):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        small.resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"p{number}.png")
    (folder / "cut.png").write_bytes(b"no image")
    return folder


def working():
    """Processes of the cluster that are making a shard right now (its agents are children, too)."""
    return [one.pid for one in psutil.Process().children(recursive=True) if one.name().startswith("ray::Map")]


@pytest.mark.slow
def test_a_worker_killed_midway_loses_and_doubles_nothing(cluster, pictures, tmp_path):
    sources, killed = find_split(pictures, "train"), []

    def kill(done, total):
        if 0 < done < total and not killed:
            killed.extend(working()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    report = build_samples(PLAN, sources, tmp_path / "ray", 2, "ray", kill, shard_samples=3)
    assert killed and report.made == 24 and set(report.skipped) == {"cut.png"}
    build_samples(PLAN, sources, tmp_path / "plain", shard_samples=3)
    assert contents(tmp_path / "ray") == contents(tmp_path / "plain")
    assert build_samples(PLAN, sources, tmp_path / "ray", 2, "ray", shard_samples=3).made == 0


@pytest.mark.slow
def test_failures_end_the_build_with_their_reason(cluster, pictures, tmp_path):
    for file in pictures.glob("p*.png"):
        (tmp_path / file.name).write_bytes(b"no image")
    with pytest.raises((BuildError, SceneError), match="none of the images"):
        build_samples(PLAN, find_split(tmp_path, "train"), tmp_path / "out", 2, "ray", shard_samples=24)


def test_unknown_engines_are_refused():
    with pytest.raises(ValueError, match=", ".join(ENGINES)):
        next(run_shards([], engine="spark"))
