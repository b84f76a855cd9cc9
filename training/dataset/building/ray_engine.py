"""Makes shards on Ray Data: the same work as on processes, spread over the machines of a cluster (extra ``scale``)."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from .shard import BuildError, Shard, make_shard, one_thread

CHECKOUT = Path(__file__).absolute().parents[3]
"""On every machine of a cluster, this folder must hold the checkout."""


def run_on_ray(shards: list[Shard], workers: int) -> Iterator[tuple[Shard, dict]]:
    """``engines.run_shards`` for the engine "ray"; a task whose worker dies is run again by Ray.

    The cluster is the one that ``RAY_ADDRESS`` names, or one on this machine with ``workers`` CPUs (0: all).

    Raises:
        BuildError: Ray is not installed, the cluster does not answer, or a shard cannot be made.
    """
    try:
        import ray
    except ImportError as error:
        raise BuildError("the engine ray needs Ray Data: pip install 'ray[data]'") from error
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers otherwise
        alone = not os.environ.get("RAY_ADDRESS")
        cores, dashboard = (workers or None, False) if alone else (None, None)
        ray.init(log_to_driver=False, logging_level=logging.ERROR, num_cpus=cores, include_dashboard=dashboard)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the build shows its own
    rows = ray.data.from_items([{"shard": number} for number in range(len(shards))], override_num_blocks=len(shards))
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]  # workers import training from it
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}
    pool = ray.data.TaskPoolStrategy(size=workers or None)
    made = rows.map(_Task(shards), num_cpus=1, compute=pool, runtime_env=environment)
    try:
        for row in made.iter_rows():
            if row["error"]:
                raise BuildError(row["error"])
            yield shards[row["shard"]], json.loads(row["skipped"])
    except ray.exceptions.RayError as error:
        raise BuildError(f"the Ray cluster failed ({error}): run the same command again") from error
    finally:
        if started:
            ray.shutdown()


class _Task:
    """Makes the shard of a row; failures come back as text, since Ray would run them again in vain."""

    def __init__(self, shards: list[Shard]):
        self.shards = shards

    @property
    def __name__(self) -> str:
        return "make_shard"

    def __call__(self, row: dict) -> dict:
        one_thread()
        number = int(row["shard"])
        try:
            return {"shard": number, "skipped": json.dumps(make_shard(self.shards[number])), "error": ""}
        except Exception as error:
            return {"shard": number, "skipped": "{}", "error": f"{error}"}
