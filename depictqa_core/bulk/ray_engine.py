"""Judges the images of a large run on Ray Data: actors hold the judge, on this machine or on those of a cluster.

One task lists the inputs in blocks of ``Plan.batch`` images. Actors load the images of a block themselves and return
its rows, so no pixels pass through the object store. Ray repeats the blocks of an actor that died; the driver receives
them in order, and it alone writes the table.
"""

import json
import logging
import os
import pickle
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import ClusterError, DepictQAError, PackageError, quoted
from .engines import GROUPS_AT_ONCE, Groups, Opening, judged, opened, require
from .loading import batches, blocks
from .plan import Plan
from .process_engine import suitable
from .schema import Row
from .sources import Item

ROOT = Path(__file__).absolute().parents[2]
"""Where this package is: on every machine of a cluster under the same path, or installed."""
RETRY = "; the same command resumes the run"


class RayEngine:
    """Judges with actors of Ray Data. The cluster is the one that ``RAY_ADDRESS`` names, or one on this machine.

    Args:
        opening: loads the judge.
        plan: what is judged. Its paths must be valid on every machine; relative ones are relative to the same folder.
        actors: number of judges; None for one on each GPU or, without GPUs, on each machine, or each core for a small
            network (``process_engine.suitable``). Those that find no free GPUs and CPUs wait for machines that join.
        gpus: for each actor, may be a fraction; None for 1 if the cluster has any.

    Raises:
        PackageError: Ray Data is not installed.
        ClusterError: the cluster does not answer, or has no machine with this number of GPUs; or the inputs may grow.
        DepictQAError: the judge cannot be loaded there, or does not support one of the questions.
    """

    def __init__(self, opening: Opening, plan: Plan, actors: int | None = None, gpus: float | None = None):
        if plan.grows:
            raise ClusterError("inputs that may change between runs cannot be judged on Ray; use the local engine")
        self._ray = _ray()
        self.plan, self._opening = plan, opening
        self._started = not self._ray.is_initialized()
        if self._started:
            _start(self._ray)
        try:
            self._actors, self._resources = pool_size(self._ray.nodes(), actors, gpus)
            card = self._described()
            if actors is None and not self._resources["num_gpus"]:
                self._actors, self._resources = pool_size(self._ray.nodes(), actors, gpus, card["processes"])
        except BaseException:
            self.close()
            raise
        self.info: dict[str, Any] = card["info"]
        self.notices: Sequence[str] = card["notices"]

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the cluster if this engine started it."""
        if self._started:
            self._ray.shutdown()

    def rows(self, listing: Iterator[Item], start: int) -> Groups:
        """See ``Engine``; a task of the cluster lists the inputs again, ``listing`` only tells whether there are any.

        Raises:
            ClusterError: the cluster failed in a way that Ray cannot repair.
            DepictQAError: the judge failed for another reason than an image.
        """
        if next(listing, None) is not None:
            yield from self._in_order(self._planned(start), start)

    def _planned(self, start: int) -> Any:
        """The data set of the rows; nothing runs yet."""
        data = self._ray.data
        context = data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.target_max_block_size = 1  # bytes: every block of images is a task of its own
        pool = data.ActorPoolStrategy(
            size=self._actors, max_concurrent_calls_per_actor=GROUPS_AT_ONCE + 1, enable_true_multi_threading=True
        )
        judging = (self._opening, self.plan, os.getcwd(), self._resources["num_cpus"])
        with data.DataContext.current(context):
            listed = data.from_items([{"start": start}])
            listed = listed.map_batches(_blocks, batch_size=None, num_cpus=0, fn_args=(self.plan, os.getcwd()))
            return listed.map_batches(
                _Judging, batch_size=1, compute=pool, fn_constructor_args=judging, **self._resources
            )

    def _in_order(self, done: Any, place: int) -> Groups:
        try:
            for row in done.iter_rows():
                if row["error"]:
                    raise DepictQAError(row["error"])
                if row["place"] != place:
                    raise ClusterError(f"the cluster lost images from place {place} on{RETRY}")
                rows = json.loads(row["rows"])
                place += len(rows)
                yield rows
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"the Ray cluster failed ({quoted(_cause(error))}){RETRY}") from error

    def _described(self) -> dict[str, Any]:
        """Load the judge once on the cluster, as the actors will: does it support the questions, and what is it?"""
        task = self._ray.remote(**self._resources)(_describe)
        try:
            card = self._ray.get(task.remote(self._opening, self.plan, os.getcwd()))
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"the judge cannot be loaded on the Ray cluster ({quoted(_cause(error))})") from error
        if "error" in card:
            raise DepictQAError(card["error"])
        return card


def pool_size(
    nodes: Sequence[dict[str, Any]], actors: int | None, gpus: float | None, most_each: int = 1
) -> tuple[int, dict[str, int | float]]:
    """Choose the number of actors and what each of them takes.

    Args:
        nodes: as ``ray.nodes()`` lists them.
        actors, gpus: as in ``RayEngine``.
        most_each: actors on a machine without GPUs, at most one on each core.

    Returns:
        the number of actors, and "num_cpus" (from 1, those of a machine shared by its actors) and "num_gpus".

    Raises:
        ClusterError: no machine has this number of GPUs, or it is neither whole nor a fraction of one.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if gpus is None:
        gpus = 1 if any(node.get("GPU", 0) >= 1 for node in alive) else 0
    if gpus > 1 and gpus != int(gpus):
        raise ClusterError(f"{gpus:g} GPUs for an actor: give a whole number, or less than 1")
    usable = [node for node in alive if node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= gpus]
    if not usable:
        raise ClusterError(f"no machine of the cluster has a CPU and {gpus:g} GPUs; change --gpus, or add one")
    slots = [int(node["GPU"] / gpus) if gpus else min(most_each, int(node["CPU"])) for node in usable]
    actors = actors or sum(slots)
    most = -(-actors // len(usable))  # on one machine, where they are spread evenly
    shared = [max(1, min(slot, most) if gpus else most) for slot in slots]
    cpus = max(1, min(int(node["CPU"]) // share for node, share in zip(usable, shared)))
    return actors, {"num_cpus": cpus, "num_gpus": gpus}


# ---------------------------------------------------------------------- on the machines of the cluster


def _describe(opening: Opening, plan: Plan, folder: str) -> dict[str, Any]:
    try:
        os.chdir(folder)
        judge = opening()
        try:
            require(judge, plan)
            return {"info": judge.info, "notices": list(judge.notices), "processes": suitable(judge)}
        finally:
            judge.backend.close()  # a server of its own would hold the GPU that an actor waits for
    except (DepictQAError, OSError) as error:
        return {"error": str(error)}


def _blocks(batch: dict[str, Any], plan: Plan, folder: str) -> Iterator[dict[str, list]]:
    """List the inputs: yields the place of the first image of each block, and its pickled items."""
    os.chdir(folder)
    start = int(batch["start"][0])
    try:
        for place, block in blocks(islice(plan.items(), start, None), start, plan.part_rows, plan.batch):
            yield {"place": [place], "items": [pickle.dumps(block)], "error": [""]}
    except (DepictQAError, OSError) as error:
        yield {"place": [start], "items": [b""], "error": [str(error)]}


class _Judging:
    """An actor: blocks are loaded while ``GROUPS_AT_ONCE`` others are judged.

    What goes wrong comes back as text where Ray would only try it again in vain.
    """

    def __init__(self, opening: Opening, plan: Plan, folder: str, cpus: int):
        self._plan, self._cpus = plan, cpus
        self._turns = threading.Semaphore(GROUPS_AT_ONCE)
        self._error = ""
        try:
            os.chdir(folder)
            self._judge = opened(opening, plan)
        except (DepictQAError, OSError) as error:
            self._error = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list]:
        place = int(batch["place"][0])
        error = str(batch["error"][0]) or self._error
        rows: list[Row] = []
        if not error:
            try:
                rows = self._rows(pickle.loads(batch["items"][0]), place)
            except (DepictQAError, OSError) as failed:
                error = str(failed)
        return {"place": [place], "rows": [json.dumps(rows)], "error": [error]}

    def _rows(self, items: list[Item], place: int) -> list[Row]:
        plan, rows = self._plan, []
        for group in batches(items, place, plan.part_rows, plan.batch, self._cpus):
            with self._turns:
                rows += judged(self._judge, plan, group)
        return rows


# ---------------------------------------------------------------------- Ray


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise PackageError("the engine ray needs Ray Data; run pip install 'ray[data]', or use local") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells how it executes every data set
    return ray


def _cause(error: Exception) -> Exception:
    """What a task raised, without the tracebacks that Ray puts before it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) and str(cause) else error


def _start(ray: Any) -> None:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers otherwise
    options: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"the Ray cluster does not answer ({quoted(error)}); check RAY_ADDRESS") from error
