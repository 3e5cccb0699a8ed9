"""For those who run the service: health, readiness, metrics, and what problem types mean.

Metrics are read from the broker when they are asked for, so they cost nothing in between. Each name in
`broker.stats()` has its line in `METRICS`; a name without one is a mistake, and fails the test of this module.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from time import time

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from quart import Quart, Response, request
from quart_schema import hide

from ratsvc.core.record import Batch
from ratsvc.errors import Unavailable
from ratsvc.flow.broker import Broker
from ratsvc.http_api.problem import explanation
from ratsvc.http_api.query import Query

METRICS = {
    "streams": "Streams that exist.",
    "log_bytes": "Bytes of records in the log.",
    "log_records": "Records in the log.",
    "log_evicted_records_total": "Records that retention or a purge has removed.",
    "log_first_offset": "The oldest offset kept; 0 when nothing is.",
    "log_last_offset": "The newest offset.",
    "log_oldest_age_seconds": "Time since the oldest record kept was committed.",
    "log_newest_age_seconds": "Time since the newest record was committed.",
    "tail_bytes": "Bytes of records and encodings in the tail.",
    "history_bytes": "Bytes of records and encodings kept for readers who catch up.",
    "history_hits_total": "Reads of readers who catch up that were answered from what is kept for them.",
    "history_misses_total": "Reads of readers who catch up that the log answered.",
    "queue_records": "Records that wait for their commit.",
    "queue_bytes": "Bytes of records that wait for their commit.",
    "subscriptions": "Readers now.",
    "snapshot_keys": "Keys whose newest records are remembered for snapshots.",
    "delta_bytes": "Bytes of documents and patches remembered for readers of deltas.",
    "producers": "Idempotent producers remembered.",
    "publish_requests_total": "Publishes taken.",
    "records_total": "Records committed.",
    "bytes_total": "Bytes of records committed.",
    "commits_total": "Commits to the log.",
    "encoding_seconds_total": "Time spent encoding batches.",
    "compression_seconds_total": "Time spent compressing.",
    "compression_declined_total": "Responses left plain because of `compression.cpu_percent`.",
    "http_connections_refused_total": "HTTP connections turned away because there were too many.",
    "trace_spans_total": "Spans made, where tracing is on.",
    "trace_spans_refused_total": "Spans not made because there were too many in a second.",
}
"""By name, without `ratsvc_`: figures that are one number."""
COUNTERS = {
    "publish_refused_total": ("Publishes refused, by reason.", "reason"),
    "delivered_records_total": ("Records written to readers, once for each, by format.", "format"),
    "delivered_bytes_total": ("Bytes written to readers, by format.", "format"),
    "gaps_total": ("Gaps told to readers that catch up, by reason.", "reason"),
    "disconnects_total": ("Subscriptions ended, by reason.", "reason"),
    "encodings_total": ("Batches encoded, by format.", "format"),
    "encoding_hits_total": ("Batches sent as they had been encoded for another reader, by format.", "format"),
    "compression_blocks_total": (
        "Blocks of streams made, each for all who read it, by kind (over_budget: left as it is).",
        "kind",
    ),
    "compressed_source_bytes_total": ("Bytes written to readers compressed, before that, by format.", "format"),
    "compressed_bytes_total": ("Bytes written to readers compressed, after that, by format.", "format"),
}
HISTOGRAMS = {
    "queue_seconds": "A publish, from its push to its commit.",
    "commit_seconds": "A commit to the log.",
    "commit_records": "Records of a commit.",
    "delivery_seconds": "A publish, from its push until it was written to all live readers.",
}


class BrokerMetrics:
    """The broker's figures as Prometheus metrics, `ratsvc_` before their names.

    No label holds a stream's name, but for the `top_streams` that have the most bytes.
    """

    def __init__(self, broker: Broker, top_streams: int) -> None:
        self._broker = broker
        self._top = top_streams
        self._oldest = (0, 0)
        """The oldest offset kept, and when it was committed (Unix, nanoseconds)."""

    async def look(self) -> None:
        """Finds out when the oldest record was committed: reads it where it is another than the last time."""
        kept = [info for info in self._broker.log.registry if info.records]
        oldest = min(kept, key=lambda info: info.first_offset, default=None)
        if oldest is None:
            self._oldest = (0, 0)
        elif oldest.first_offset != self._oldest[0]:
            offset = oldest.first_offset
            found = await self._broker.read([oldest], offset - 1, 1)
            self._oldest = (offset, next((one.time_ns for one in found if isinstance(one, Batch)), 0))

    def collect(self) -> Iterator[Metric]:
        """The figures now."""
        figures = self._broker.figures
        offset, time_ns = self._oldest
        oldest = {
            "log_first_offset": offset,
            "log_oldest_age_seconds": max(0.0, time() - time_ns / 1e9) if time_ns else 0,
        }
        for name, value in (self._broker.stats() | oldest).items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(f"ratsvc_{name}", METRICS[name], value=value)
        counted = (
            figures.refused, figures.delivered_records, figures.delivered_bytes, figures.gaps, figures.disconnects,
            figures.encodings, figures.encoding_hits, figures.compressions, figures.compressed_from,
            figures.compressed_to,
        )  # fmt: skip
        for (name, (text, label)), counts in zip(COUNTERS.items(), counted, strict=True):
            counter = CounterMetricFamily(f"ratsvc_{name}", text, labels=[label])
            for labelled, count in counts.items():
                counter.add_metric([labelled], count)
            yield counter
        observed = (figures.queue_seconds, figures.commit_seconds, figures.commit_records, figures.delivery_seconds)
        for (name, text), histogram in zip(HISTOGRAMS.items(), observed, strict=True):
            family = HistogramMetricFamily(f"ratsvc_{name}", text)
            family.add_metric([], histogram.cumulative(), histogram.total)
            yield family
        yield from self._calls()
        yield from self._readers()
        yield from self._streams()

    def _calls(self) -> Iterator[Metric]:
        figures = self._broker.figures
        idle = len(figures.http_open) - figures.http_active
        states = GaugeMetricFamily("ratsvc_http_connections", "Open HTTP connections, by state.", labels=["state"])
        states.add_metric(["active"], figures.http_active)
        states.add_metric(["idle"], max(0, idle))
        under_way = GaugeMetricFamily("ratsvc_grpc_calls_open", "gRPC calls under way.", labels=["method"])
        for method, count in figures.open_calls.items():
            under_way.add_metric([method], count)
        text = "gRPC calls ended; unknown is any method that is not here."
        calls = CounterMetricFamily("ratsvc_grpc_calls_total", text, labels=["method", "code"])
        for (method, code), count in figures.calls.items():
            calls.add_metric([method, code], count)
        requests = CounterMetricFamily("ratsvc_http_requests_total", "Requests ended.", labels=["route", "status"])
        for (route, status), count in figures.http_requests.items():
            requests.add_metric([route, str(status)], count)
        took = HistogramMetricFamily("ratsvc_grpc_call_seconds", "A gRPC call, to its end.", labels=["method"])
        for method, histogram in figures.call_seconds.items():
            took.add_metric([method], histogram.cumulative(), histogram.total)
        served = HistogramMetricFamily("ratsvc_http_request_seconds", "A request, to its end.", labels=["route"])
        for route, histogram in figures.http_seconds.items():
            served.add_metric([route], histogram.cumulative(), histogram.total)
        yield from (states, under_way, calls, took, requests, served)

    def _readers(self) -> Iterator[Metric]:
        counts = Counter((one.format, one.state) for one in self._broker.subscriptions)
        lag: dict[str, int] = {}
        for one in self._broker.subscriptions:
            lag[one.format] = max(lag.get(one.format, 0), one.lag)
        readers = GaugeMetricFamily("ratsvc_readers", "Readers, by format and state.", labels=["format", "state"])
        for (fmt, state), count in counts.items():
            readers.add_metric([fmt, state], count)
        behind = GaugeMetricFamily(
            "ratsvc_reader_lag_offsets_max", "Offsets that the slowest reader is behind.", labels=["format"]
        )
        for fmt, offsets in lag.items():
            behind.add_metric([fmt], offsets)
        yield from (readers, behind)

    def _streams(self) -> Iterator[Metric]:
        if not self._top:
            return
        top = heapq.nlargest(self._top, self._broker.log.registry, key=lambda info: info.bytes)
        for name, text, values in (
            ("stream_bytes", "Bytes of a stream's records.", [info.bytes for info in top]),
            ("stream_records", "Records of a stream.", [info.records for info in top]),
            ("stream_readers", "Readers of a stream.", [info.readers for info in top]),
        ):
            family = GaugeMetricFamily(f"ratsvc_{name}", text, labels=["stream"])
            for info, value in zip(top, values, strict=True):
                family.add_metric([info.name], value)
            yield family


class Operations:
    """The routes for operators."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._registry = CollectorRegistry()
        self._metrics = BrokerMetrics(broker, broker.settings.metrics_top_streams)
        self._registry.register(self._metrics)
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
        Query(request.query_string, ())
        await self._metrics.look()
        return Response(generate_latest(self._registry), 200, {"Content-Type": CONTENT_TYPE_LATEST})

    @hide
    async def problem_type(self, slug: str) -> Response:
        """Says what a problem type means."""
        return Response(explanation(slug).encode(), 200, {"Content-Type": "text/plain; charset=utf-8"})
