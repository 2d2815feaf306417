"""What Prometheus reads: ports by state and site, the revision, agents, switches, and how long requests took."""

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The metrics of one server process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "weft_request_seconds",
            "Seconds until an answer was ready.",
            ["method", "path", "status"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}
        """Found once: looking one up by its labels costs as much as all else here."""
        self.ports = Gauge("weft_ports", "Ports by site and state.", ["site", "state"], registry=self._registry)
        self.switches = Gauge(
            "weft_switches", "Switches by site and state.", ["site", "state"], registry=self._registry
        )
        self.revision = Gauge("weft_revision", "The last committed revision.", registry=self._registry)
        self.agents = Gauge("weft_agents_connected", "Nodes whose agent is connected.", registry=self._registry)

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one request."""
        series = self._series.get((method, path, status))
        if series is None:
            series = self._series[method, path, status] = self._requests.labels(method, path, status)
        series.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
