"""What the server tells Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Monitor:
    """Counts requests and batches, in a registry of its own.

    Args:
        admitted: returns the number of images that are being decoded, wait, or are being judged.
        waiting: returns the number of those that no batch has taken yet.
    """

    def __init__(self, admitted: Callable[[], float], waiting: Callable[[], float]):
        self._registry = registry = CollectorRegistry()
        labels = ["route", "status"]
        self._requests = Counter("depictqa_requests", "Answered requests.", labels, registry=registry)
        self._seconds = Histogram(
            "depictqa_request_seconds", "Time of a request.", ["route"], buckets=SECONDS, registry=registry
        )
        self._batches = Histogram("depictqa_batch_images", "Images of a batch.", buckets=SIZES, registry=registry)
        self._busy = Counter("depictqa_judge_seconds", "Time in which the judge worked.", registry=registry)
        gauges = {
            "admitted": (admitted, "Images in the server."),
            "waiting": (waiting, "Images that wait for a batch."),
        }
        for name, (count, about) in gauges.items():
            Gauge(f"depictqa_{name}_images", about, registry=registry).set_function(count)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, items: int, seconds: float) -> None:
        """Count a batch."""
        self._batches.observe(items)
        self._busy.inc(seconds)

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)
