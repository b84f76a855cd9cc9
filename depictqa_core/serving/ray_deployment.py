"""The same application on Ray Serve: several replicas, each with a judge of its own.

# judge_app.py, started with: serve run judge_app:app
from depictqa_core.serving.ray_deployment import deployment

app = deployment(replicas=2, device="cuda", num_gpus=1)
"""

import os
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette

from ..errors import DepictQAError, PackageError
from ..judge import load_judge
from .access import KEY, key_of
from .app import build_app
from .limits import Limits


def app_builder(
    checkpoint: str | None, limits: Limits, key: str | None, options: dict[str, Any]
) -> Callable[[], Starlette]:
    """Return a function without arguments that loads a judge and builds its application, in whatever process calls it.

    Args:
        checkpoint, options: as in ``load_judge``.
        limits, key: as in ``build_app``.
    """

    def build() -> Starlette:
        return build_app(load_judge(checkpoint, **options), limits, key)

    return build


def deployment(
    checkpoint: str | None = None,
    *,
    replicas: int = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    limits: Limits | None = None,
    **options: Any,
) -> Any:
    """Return a Ray Serve application, for ``serve.run`` or ``serve run MODULE:NAME``.

    Ray decides where it listens, so clients always need the key in ``DEPICTQA_SERVER_KEY`` of this process.

    Args:
        checkpoint: as in ``load_judge``.
        replicas: number of processes that hold a judge.
        num_cpus, num_gpus: resources of each.
        limits: of each replica.
        options: further arguments of ``load_judge``, such as ``device``.

    Raises:
        DepictQAError: there is no key.
        PackageError: Ray Serve is missing.
    """
    key = key_of(os.environ)
    if key is None:
        raise DepictQAError(f"set {KEY}: Ray Serve may be reached from other machines, so clients need a key")
    try:
        from ray import serve
    except ImportError as error:
        raise PackageError(f'Ray Serve is missing: pip install "ray[serve]" ({error})') from error
    limits = limits or Limits()
    ingress = serve.ingress(app_builder(checkpoint, limits, key, options))()
    resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}
    made = serve.deployment(
        name="depictqa",
        num_replicas=replicas,
        max_ongoing_requests=limits.waiting_images,  # Ray's usual 5 would make no batches
        ray_actor_options=resources,
    )
    return made(ingress).bind()
