"""What Prometheus reads: ports by state and site, the revision, agents, switches, shards, how long requests took."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class _Durations(Collector):
    """A histogram for one thread: the library's own takes two locks for each observation, and ten times as long."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...]) -> None:
        self._family = (name, documentation, labels)
        self._series: dict[tuple[str, ...], list[float]] = {}
        """By labels: how many fell into each bucket, and their sum."""

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Count one duration."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = [0.0] * (len(_SECONDS) + 2)
        series[bisect_left(_SECONDS, seconds)] += 1
        series[-1] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the histogram of now."""
        name, documentation, labels = self._family
        family = HistogramMetricFamily(name, documentation, labels=labels)
        bounds = [*map(str, _SECONDS), "+Inf"]
        for values, series in self._series.items():
            counts = accumulate(series[:-1])
            family.add_metric(values, buckets=list(zip(bounds, counts, strict=True)), sum_value=series[-1])
        yield family


class Metrics:
    """The metrics of one server process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = _Durations(
            "weft_request_seconds", "Seconds until an answer was ready.", ("method", "path", "status")
        )
        self._registry.register(self._requests)
        self.ports = Gauge("weft_ports", "Ports by site and state.", ["site", "state"], registry=self._registry)
        self.switches = Gauge(
            "weft_switches", "Switches by site and state.", ["site", "state"], registry=self._registry
        )
        self.revision = Gauge("weft_revision", "The last committed revision.", registry=self._registry)
        self.agents = Gauge("weft_agents_connected", "Nodes whose agent is connected.", registry=self._registry)
        self.shard_led = Gauge(
            "weft_shard_led",
            "Whether a process leads this shard of the controllers.",
            ["shard"],
            registry=self._registry,
        )
        self.shard_term = Gauge(
            "weft_shard_term", "Its term of leadership; grows when it moves.", ["shard"], registry=self._registry
        )

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.observe((method, path, str(status)), seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
