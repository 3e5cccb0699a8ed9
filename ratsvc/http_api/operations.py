"""For those who run the service: health, readiness, metrics, and what problem types mean.

Metrics are read from the broker when they are asked for, so they cost nothing in between. Each name in
`broker.stats()` has its line in `METRICS`; a name without one is a mistake, and fails the test of this module.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from quart import Quart, Response, request
from quart_schema import hide

from ratsvc.errors import Unavailable
from ratsvc.flow.broker import Broker
from ratsvc.http_api.problem import explanation
from ratsvc.http_api.query import Query

METRICS = {
    "streams": "Streams that exist.",
    "log_bytes": "Bytes of records in the log.",
    "tail_bytes": "Bytes of records and encodings in the tail.",
    "queue_records": "Records that wait for their commit.",
    "queue_bytes": "Bytes of records that wait for their commit.",
    "subscriptions": "Readers now.",
    "producers": "Idempotent producers remembered.",
    "records_total": "Records committed.",
    "bytes_total": "Bytes of records committed.",
    "commits_total": "Commits to the log.",
}


class BrokerMetrics:
    """The broker's figures as Prometheus metrics, `ratsvc_` before their names."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        """The figures now."""
        for name, value in self._broker.stats().items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(f"ratsvc_{name}", METRICS[name], value=value)


class Operations:
    """The routes for operators."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._registry = CollectorRegistry()
        self._registry.register(BrokerMetrics(broker))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def add_to(self, app: Quart) -> None:
        """Adds the routes."""
        app.add_url_rule("/healthz", "healthz", self.healthz, methods=["GET"])
        app.add_url_rule("/readyz", "readyz", self.readyz, methods=["GET"])
        app.add_url_rule("/metrics", "metrics", self.metrics, methods=["GET"])
        app.add_url_rule("/problems/<slug>", "problem_type", self.problem_type, methods=["GET"])

    async def healthz(self) -> Response:
        """Answers 200 while the process serves."""
        Query(request.query_string, ())
        return Response(b'{"status":"ok"}\n', 200, {"Content-Type": "application/json"})

    async def readyz(self) -> Response:
        """Answers 200 when the service can take and give records, 503 when it is draining."""
        Query(request.query_string, ())
        if self._broker.draining:
            raise Unavailable("the service is draining", retry_after_s=1)
        return Response(b'{"status":"ready"}\n', 200, {"Content-Type": "application/json"})

    async def metrics(self) -> Response:
        """The service's figures, in Prometheus' text format."""
        return Response(generate_latest(self._registry), 200, {"Content-Type": CONTENT_TYPE_LATEST})

    @hide
    async def problem_type(self, slug: str) -> Response:
        """Says what a problem type means."""
        return Response(explanation(slug).encode(), 200, {"Content-Type": "text/plain; charset=utf-8"})
