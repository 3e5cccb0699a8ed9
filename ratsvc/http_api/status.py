"""What the dashboard shows of the service: its figures now (`/v1/status`), and who is connected (`/v1/connections`).

Figures are sums since the process began, as in `/metrics`: rates and quantiles come from two samples, so that whoever
watches pays for it and the service keeps no history. A sample costs 0.1 ms, and 5 ms with 100,000 streams.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Annotated, Literal, cast

import msgspec
import psutil
from msgspec import Meta
from quart import Quart, Response, request
from quart_schema import document_querystring, document_response

import ratsvc
from ratsvc.core.figures import Histogram
from ratsvc.flow.broker import Broker
from ratsvc.flow.connections import Connection, Role
from ratsvc.flow.follow import ReaderState, Subscription
from ratsvc.formats.jsonview import rfc3339
from ratsvc.http_api.problem import NotShown
from ratsvc.http_api.query import Query
from ratsvc.http_api.response import json_response
from ratsvc.names import check_name

MAX_PAGE = 1_000
SHOWN_STREAMS = 8


class HistogramView(msgspec.Struct):
    """Observations since the process began: how many were at most each bound (seconds), and last how many were more."""

    bounds: list[float]
    counts: list[int]
    total: float

    @classmethod
    def of(cls, histogram: Histogram) -> HistogramView:
        """A histogram as it is now."""
        return cls(list(histogram.bounds), histogram.counts, histogram.total)


class Delivered(msgspec.Struct):
    """What readers of a format were sent since the process began; a record counts once for each reader."""

    records: int
    bytes: int


class Readers(msgspec.Struct):
    """How many readers a format has."""

    live: int = 0
    catching_up: int = 0


class Memory(msgspec.Struct):
    """Where memory is, in bytes. `log_bytes` is on disk when `durable`."""

    resident: int
    log_bytes: int
    tail_bytes: int
    queue_bytes: int
    durable: bool


class Status(msgspec.Struct):
    """The service now."""

    time: float
    version: str
    epoch: str
    started: str
    cpu_seconds: float
    draining: bool
    connections_shown: bool
    connections: int
    figures: dict[str, float]
    delivered: dict[str, Delivered]
    encodings: dict[str, int]
    encoding_hits: dict[str, int]
    refused: dict[str, int]
    gaps: dict[str, int]
    disconnects: dict[str, int]
    readers: dict[str, Readers]
    latency: dict[str, HistogramView]
    memory: Memory


class ConnectionView(msgspec.Struct):
    """A reader or a producer. `lag` is in offsets; `bytes` were sent to a reader, or came from a producer; of more
    than eight streams the first are shown."""

    number: int
    role: Literal["reader", "producer"]
    protocol: Literal["http", "grpc"]
    address: str
    agent: str
    format: str
    streams: list[str]
    more_streams: int
    state: ReaderState | Literal["publishing"]
    cursor: str | None
    lag: int
    bytes: int
    since: str


class ConnectionPage(msgspec.Struct):
    """Connections, the oldest first; `next` is the `after` of the next page, null on the last; `total` counts all."""

    connections: list[ConnectionView]
    next: int | None
    total: int


class ConnectionParameters(msgspec.Struct):
    """The query of a list of connections, as `/openapi.json` shows it."""

    role: Annotated[Literal["", "reader", "producer"], Meta(description="Only these")] = ""
    stream: Annotated[str, Meta(description="Only those of this stream")] = ""
    after: Annotated[int, Meta(description="Those after this number", ge=0)] = 0
    limit: Annotated[int, Meta(description="How many at most", ge=1, le=MAX_PAGE)] = 100


class StatusRoutes:
    """The routes."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._process = psutil.Process(os.getpid())
        self._started = _to_the_millisecond(int(self._process.create_time() * 1e9))

    def add_to(self, app: Quart) -> None:
        """Adds the routes."""
        app.add_url_rule("/v1/status", "status", self.status, methods=["GET"])
        app.add_url_rule("/v1/connections", "connections", self.connections, methods=["GET"])

    @document_response(Status)
    async def status(self) -> Response:
        """Shows the service's figures now."""
        Query(request.query_string, ())
        broker, figures = self._broker, self._broker.figures
        stats = broker.stats()
        cpu = self._process.cpu_times()
        latency = {
            "queue": figures.queue_seconds,
            "commit": figures.commit_seconds,
            "delivery": figures.delivery_seconds,
        }
        return json_response(
            Status(
                time=time.time(),
                version=ratsvc.__version__,
                epoch=broker.epoch,
                started=self._started,
                cpu_seconds=cpu.user + cpu.system,
                draining=broker.draining,
                connections_shown=broker.settings.connections_are_shown,
                connections=len(broker.connections),
                figures=stats,
                delivered={
                    name: Delivered(records, figures.delivered_bytes[name])
                    for name, records in figures.delivered_records.items()
                },
                encodings=figures.encodings,
                encoding_hits=figures.encoding_hits,
                refused=figures.refused,
                gaps=figures.gaps,
                disconnects=figures.disconnects,
                readers=self._readers(),
                latency={name: HistogramView.of(histogram) for name, histogram in latency.items()},
                memory=Memory(
                    resident=self._process.memory_info().rss,
                    log_bytes=broker.log.bytes,
                    tail_bytes=broker.tail.bytes,
                    queue_bytes=int(stats["queue_bytes"]),
                    durable=broker.durable,
                ),
            )
        )

    @document_querystring(ConnectionParameters)
    @document_response(ConnectionPage)
    async def connections(self) -> Response:
        """Lists who reads and who publishes over a connection now. See the setting `show_connections`."""
        query = Query(request.query_string, ConnectionParameters.__struct_fields__)
        if not self._broker.settings.connections_are_shown:
            raise NotShown("this service does not tell who is connected: see the setting show_connections")
        role = cast(Role | None, query.choice("role", ("", "reader", "producer"), "") or None)
        stream = query.one("stream")
        after = query.integer("after", 0, 2**63 - 1) or 0
        limit = query.integer("limit", 1, MAX_PAGE) or 100
        open_now = self._broker.connections
        found = open_now.page(after, limit, role, check_name(stream) if stream else None)
        following = found[-1].number if len(found) == limit else None
        return json_response(ConnectionPage([self._view(one) for one in found], following, len(open_now)))

    def _view(self, one: Connection) -> ConnectionView:
        place = one.place
        if isinstance(place, Subscription):
            lag, size, streams = place.lag, place.sender.sent, one.streams
            state: ReaderState | Literal["publishing"] = place.state
            cursor: str | None = str(place.cursor)
        else:
            lag, size, streams = 0, place.received, (place.stream,) if place.stream else ()
            state, cursor = "publishing", None
        return ConnectionView(
            number=one.number,
            role=one.role,
            protocol=one.peer.protocol,
            address=one.peer.address,
            agent=one.peer.agent,
            format=one.format,
            streams=list(streams[:SHOWN_STREAMS]),
            more_streams=max(0, len(streams) - SHOWN_STREAMS),
            state=state,
            cursor=cursor,
            lag=lag,
            bytes=size,
            since=_to_the_millisecond(one.since_ns),
        )

    def _readers(self) -> dict[str, Readers]:
        found: dict[str, Readers] = {}
        counts = Counter((one.format, one.state) for one in self._broker.subscriptions)
        for (name, state), count in counts.items():
            readers = found.setdefault(name, Readers())
            if state == "live":
                readers.live += count
            else:
                readers.catching_up += count
        return found


def _to_the_millisecond(time_ns: int) -> str:
    return f"{rfc3339(time_ns)[:23]}Z"
