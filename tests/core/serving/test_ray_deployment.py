"""The application on Ray Serve: with a stand-in for it, and with Ray Serve itself where it is installed."""

import json
import socket
import sys
import types
import urllib.request

import pytest
from served import png, serving, url_of

from depictqa_core.errors import DepictQAError
from depictqa_core.serving.limits import Limits
from depictqa_core.serving.ray_deployment import deployment

KEY = "a-key-of-this-test-0123456789"


def test_a_key_is_needed(monkeypatch):
    monkeypatch.delenv("DEPICTQA_SERVER_KEY", raising=False)
    with pytest.raises(DepictQAError, match="set DEPICTQA_SERVER_KEY"):
        deployment()


def test_every_replica_builds_the_same_application(checkpoint, monkeypatch):
    asked = {}

    class Bound:
        def bind(self):
            return self

    def deploy(**options):
        asked.update(options)
        return lambda ingress: Bound()

    def ingress(build):
        asked["build"] = build
        return lambda: object

    ray = types.ModuleType("ray")
    ray.serve = types.SimpleNamespace(ingress=ingress, deployment=deploy)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("DEPICTQA_SERVER_KEY", KEY)
    limits = Limits(waiting_images=40)
    assert isinstance(deployment(str(checkpoint), replicas=2, num_gpus=1, limits=limits, device="cpu"), Bound)
    assert asked["num_replicas"] == 2 and asked["max_ongoing_requests"] == 40
    assert asked["ray_actor_options"] == {"num_cpus": 1, "num_gpus": 1}
    with serving(None, app=asked["build"]()) as server:
        assert server.send("GET", "/v1/models")[0] == 401
        status, found = server.post("/v1/score", {"images": [url_of(png())]}, Authorization=f"Bearer {KEY}")
        assert status == 200 and found["checkpoint"] == "tiny-cnn"


@pytest.mark.slow
def test_it_runs_on_ray_serve(checkpoint, monkeypatch):
    serve = pytest.importorskip("ray.serve", exc_type=ImportError)
    import ray

    monkeypatch.setenv("DEPICTQA_SERVER_KEY", KEY)
    monkeypatch.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")  # on a busy machine it starts slowly
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 would wait for other processes
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=1, include_dashboard=False)
    try:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        serve.start(http_options={"port": port, "host": "127.0.0.1"})
        serve.run(deployment(str(checkpoint), device="cpu"))
        body = json.dumps({"images": [url_of(png())]}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/score", body, headers)
        with urllib.request.urlopen(request, timeout=120) as response:
            assert json.load(response)["checkpoint"] == "tiny-cnn"
    finally:
        serve.shutdown()
        ray.shutdown()
