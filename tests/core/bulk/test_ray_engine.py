"""A large run on Ray: the bytes of the local one, whatever dies in between."""

import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import vllm_command
from chat_server import chat_server
from core.fake_judge import DyingJudge, FakeJudge, WaitingJudge, refused
from PIL import Image
from tiny_vlms import make_tiny_vlm
from trees import ROOT
from vllm_command import ended, noted
from vlm_server import conversation, images_of, vllm

from depictqa_core import load_judge
from depictqa_core.bulk.parts import read_rows
from depictqa_core.bulk.plan import Plan
from depictqa_core.bulk.ray_engine import RayEngine, pool_size
from depictqa_core.bulk.run import run, run_on
from depictqa_core.bulk.schema import OwnQuestion
from depictqa_core.cli import commands, large_runs
from depictqa_core.errors import ClusterError, DepictQAError, PackageError

COUNT = 43
NODE = {"num_cpus": 2, "object_store_memory": 10**8}


def node(cpus, gpus=0, alive=True):
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


@pytest.mark.parametrize(
    ("nodes", "asked", "actors", "cpus", "gpus"),
    [
        ([node(8)], (None, None), 1, 8, 0),
        ([node(8), node(16)], (None, None), 2, 8, 0),  # each fits on either machine
        ([node(8), node(8)], (1, None), 1, 8, 0),
        ([node(8)], (4, None), 4, 2, 0),
        ([node(2)], (8, None), 8, 1, 0),  # six wait for machines that join
        ([node(16), node(32, 8), node(64, 4, alive=False)], (None, None), 8, 4, 1),
        ([node(32, 8)], (None, 0.5), 16, 2, 0.5),
        ([node(32, 8)], (2, None), 2, 16, 1),
        ([node(32, 8)], (None, 0), 1, 32, 0),
        ([node(32, 8), node(32, 8)], (None, 2), 8, 8, 2),
    ],
)
def test_actors_share_the_machines(nodes, asked, actors, cpus, gpus):
    assert pool_size(nodes, *asked) == (actors, {"num_cpus": cpus, "num_gpus": gpus})


def test_small_networks_get_a_judge_on_each_core():
    assert pool_size([node(2)], None, None, 2) == (2, {"num_cpus": 1, "num_gpus": 0})
    assert pool_size([node(16), node(4)], None, None, 8) == (12, {"num_cpus": 1, "num_gpus": 0})
    assert pool_size([node(16)], 3, None, 8) == (3, {"num_cpus": 5, "num_gpus": 0})


def test_a_cluster_without_the_gpus_is_refused():
    with pytest.raises(ClusterError, match="has a CPU and 2 GPUs"):
        pool_size([node(8, 1)], None, 2)
    with pytest.raises(ClusterError, match="1.5 GPUs for an actor: give a whole number"):
        pool_size([node(8, 2)], None, 1.5)


def test_without_ray_the_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PackageError, match="pip install 'ray"):
        RayEngine(FakeJudge, Plan(["x"], tmp_path))


def test_inputs_that_grow_are_refused(tmp_path):
    with pytest.raises(ClusterError, match="use the local engine"):
        RayEngine(FakeJudge, Plan(["x"], tmp_path, grows=True))


@pytest.fixture(scope="module")
def nodes():
    """The nodes of a cluster on this machine whose workers find the tests: one, until a test adds another."""
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # 15 would wait for other processes
    environment = {"env_vars": {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}}
    nodes = utils.Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **NODE})
    ray.init(nodes.address, runtime_env=environment, log_to_driver=False, logging_level="error")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def cluster(nodes):
    import ray

    return ray


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Images of two sizes, one of them damaged."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("pics")
    for n in range(COUNT):
        Image.fromarray(np.full((40, 48 + n % 2, 3), n * 5, np.uint8)).save(f"pics/{n}.png")
    Path("pics/5.png").write_bytes(Path("pics/5.png").read_bytes()[:60])


def plan(folder, **changes):
    return Plan(**{"sources": ["pics"], "folder": Path(folder), "part_rows": 10, "batch": 4, **changes})


def parts(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix != ".lock"}


def on_ray(some, opening=FakeJudge, actors=2, report=lambda progress: None):
    with RayEngine(opening, some, actors) as engine:
        return run_on(engine, report)


@pytest.mark.slow
def test_the_bytes_are_those_of_a_local_run_and_each_engine_resumes_the_other(cluster, here):
    asked = {"verbs": ("score", "identify", "check"), "own": OwnQuestion("Is it bright?")}
    run(FakeJudge(), plan("local", **asked), lambda progress: None)
    failures = []

    def stop(progress):
        failures.extend(progress.failures)
        if progress.done >= 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_ray(plan("out", **asked), report=stop)
    assert [name for name, _ in failures] == ["pics/5.png"]
    progress = on_ray(plan("out", **asked))
    assert (progress.done, progress.failed) == (COUNT, 1) and 17 <= progress.resumed < COUNT
    assert parts("out") == parts("local") and len(parts("out")) == 6
    assert on_ray(plan("out", **asked)).resumed == COUNT


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_and_doubles_nothing(cluster, here):
    run(FakeJudge(), plan("local"), lambda progress: None)
    done = []
    on_ray(plan("out"), partial(DyingJudge, os.path.abspath("killed"), 100), report=lambda now: done.append(now.done))
    assert os.path.exists("killed") and done == sorted(done) and done[-1] == COUNT
    assert parts("out") == parts("local")


@pytest.mark.slow
def test_a_node_that_joins_judges_what_is_left(nodes, here):
    run(FakeJudge(), plan("local", batch=1), lambda progress: None)
    os.mkdir("nodes")
    joined = []

    def join(progress):
        if progress.done >= COUNT // 3 and not joined:
            joined.append(nodes.add_node(**{**NODE, "num_cpus": 1}))

    # Ray gives the two actors of the first node at most 12 images in advance: some are left for the third
    try:
        on_ray(plan("out", batch=1), partial(WaitingJudge, os.path.abspath("nodes"), 5 * COUNT // 2), 3, join)
    finally:
        for node in joined:
            nodes.remove_node(node)
    assert len(os.listdir("nodes")) == 2
    assert parts("out") == parts("local")


@pytest.mark.slow
def test_a_full_object_store_that_spills_changes_nothing(cluster, here):
    run(FakeJudge(), plan("local"), lambda progress: None)
    held = [cluster.put(np.full(10**7, n, np.uint8)) for n in range(15)]  # more than the store of 100 MB holds
    on_ray(plan("out"))
    assert parts("out") == parts("local")
    assert [cluster.get(one)[0] for one in held] == list(range(15))


class Busy:
    """A server that refuses the first questions about new images, and says for how long.

    Attributes:
        refused: when the conversation of each refused request came first; None refuses nothing.
        waits: seconds until such a conversation came again.
    """

    def __init__(self, server, questions, seconds):
        self._server, self._questions, self._after = server, questions, {"Retry-After": str(seconds)}
        self.refused, self.waits = None, []

    def __call__(self, number, request):
        ours = self.refused is not None and "messages" in request
        if ours and any(image.height == 40 for image in images_of(request)):
            asked, now = conversation(request), time.monotonic()
            if asked in self.refused:
                self.waits.append(now - self.refused[asked])
            elif len(self.refused) < self._questions:
                self.refused[asked] = now
                return 429, self._after, {"error": {"message": "busy"}}
        return self._server(number, request)


@pytest.mark.slow
def test_actors_may_ask_a_judge_on_a_server_that_is_busy(cluster, here):
    busy = Busy(vllm(), questions=3, seconds=2)
    with chat_server(busy) as server:
        opening = partial(load_judge, server.base, model="tiny-vlm")
        run(opening(), plan("local", verbs=("score",)), lambda progress: None)
        busy.refused = {}
        on_ray(plan("out", verbs=("score",)), opening)
    assert len(busy.refused) == 3 and min(busy.waits) >= 2 and len(busy.waits) >= 3
    assert parts("out") == parts("local")
    assert sum(row["error"] is None for row in read_rows("out")) == COUNT - 1


def on_vllm(folder, environment):
    """Open a judge by a vLLM server of its own; workers started before the stub of its command was put into PATH."""
    os.environ.update(environment)
    return load_judge(folder, vllm="")


@pytest.mark.slow
def test_actors_may_have_vllm_servers_of_their_own(cluster, here, tmp_path, monkeypatch):
    folder = make_tiny_vlm(tmp_path / "tiny-vlm", "qwen2_5_vl")
    notes = vllm_command.install(tmp_path, monkeypatch)
    opening = partial(on_vllm, folder, {name: os.environ[name] for name in ("PATH", vllm_command.NOTES)})
    run(opening(), plan("local", verbs=("score",)), lambda progress: None)
    local = set(noted(notes))
    on_ray(plan("out", verbs=("score",)), opening)
    assert parts("out") == parts("local")
    started = set(noted(notes)) - local
    assert len(started) == 3 and all(map(ended, started))  # one described the judge, two actors judged


@pytest.mark.slow
def test_what_fails_on_the_cluster_is_one_line(cluster, here, monkeypatch, capsys):
    with pytest.raises(DepictQAError, match="gone: no such folder"):
        on_ray(plan("out"), refused)
    assert not Path("out").exists()
    monkeypatch.setattr(large_runs, "opening", lambda options: FakeJudge)
    words = ["judge", "pics", "--out", "out", "--engine", "ray", "--actors", "1"]
    assert commands.main(words) == 3
    out, err = capsys.readouterr()
    assert f"{COUNT} images in out" in out and "pics/5.png: " in err and err.count("\n") == 1
