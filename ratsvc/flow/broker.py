"""The broker: the façade that both edges use. Everything is called in the event loop's thread.

It owns the queue, the sequencer, the log, the tail and the hub, and puts them together; it takes publishes and changes
of streams, in one order, and gives subscriptions. It waits only where its methods are `async`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, time_ns
from types import TracebackType
from typing import Self

from ratsvc.core.draft import Draft
from ratsvc.core.figures import Figures
from ratsvc.core.history import History
from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.core.segqueue import SegQueue
from ratsvc.core.tail import Tail
from ratsvc.errors import Busy, Unavailable
from ratsvc.flow.connections import Connections
from ratsvc.flow.deltas import Deltas
from ratsvc.flow.follow import Subscription
from ratsvc.flow.hub import Hub
from ratsvc.flow.keeping import defaults_of, log_of
from ratsvc.flow.leaving import Leaving
from ratsvc.flow.page import Page, page_of
from ratsvc.flow.request import Overflow, ReadRequest
from ratsvc.flow.sequencer import Ack, Result, Sequencer
from ratsvc.flow.snapshots import Snapshots
from ratsvc.flow.streams import Streams
from ratsvc.flow.turns import Turns
from ratsvc.flow.upload import Uploads
from ratsvc.logs.protocol import Log
from ratsvc.observability import open_tracing
from ratsvc.settings import Settings

__all__ = ["Ack", "Broker", "Overflow", "Page", "ReadRequest", "Subscription"]

TICK_S = 0.5


class Broker:
    """The service between its edges; used as an async context manager."""

    log: Log

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        limits = settings.limits
        self.tracing = open_tracing(settings)
        defaults = defaults_of(settings)
        self.log = log_of(settings, defaults)
        self.figures = Figures()
        self.hub = Hub(self.log.registry, self.figures)
        self.tail = Tail(limits.tail_bytes, self.log.last_offset)
        self.history = History(self.log.registry, limits.history_bytes)
        self.snapshots = Snapshots(self.log, self.read, limits.snapshot_keys)
        self.deltas = Deltas(limits.delta_bytes)
        self.turns = Turns()
        self.subscriptions: dict[Subscription, None] = {}
        self.connections = Connections()
        self.uploads = Uploads(self)
        self.leaving = Leaving(settings)
        self.drain_event = self.leaving.drain_event
        self._emptied = asyncio.Event()
        self._queue: SegQueue = SegQueue(limits.queue_bytes, limits.queue_records)  # type: ignore[type-arg]
        self._streams = Streams(self.log, self.hub, defaults, settings.create_on_publish)
        self._sequencer = Sequencer(
            self.log, self.hub, self._queue, self._streams.publishable, self._committed, self.figures, self.tracing
        )
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._sequencer.run()), loop.create_task(self._tick())]
        for task in self._tasks:
            task.add_done_callback(self._stopped)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sequencer.close()
        await asyncio.gather(self._tasks[0], return_exceptions=True)
        self._stopping.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.log.close()
        if self.tracing is not None:
            await self.tracing.close()
        self._failure.cancel()

    @property
    def epoch(self) -> str:
        """The log's epoch."""
        return self.log.epoch

    @property
    def durable(self) -> bool:
        """Whether records outlive the process."""
        return self.log.durable

    @property
    def draining(self) -> bool:
        """Whether the service is about to stop."""
        return self.drain_event.is_set()

    @property
    def has_room(self) -> bool:
        """Whether producers may go on; else `wait_for_room` before reading more."""
        return self._sequencer.has_room

    async def wait_for_room(self) -> None:
        """Returns when producers may go on."""
        await self._sequencer.wait_for_room()

    def submit(self, draft: Draft) -> asyncio.Future[Ack]:
        """Queues a publish, and never waits.

        Returns:
            A future of its acknowledgement. It raises StreamNotFound, StreamEnded, OutOfSequence, ProducerFenced
            or Busy when the publish is refused: then nothing of it is stored.

        Raises:
            Unavailable: the service has stopped.
        """
        if not self._tasks or self._tasks[0].done():
            raise Unavailable("the service is not taking records", retry_after_s=1)
        if self.tracing is None:
            return self._sequencer.publish(draft)
        ended = self.tracing.admit(draft)
        done = self._sequencer.publish(draft)
        if ended is not None:
            done.add_done_callback(ended)
        return done

    async def produced(self, producer_id: str) -> tuple[int, int, int] | None:
        """What is stored of a producer, after all that was submitted before: its epoch, its newest sequence number,
        and the offset of that; None when it is not known."""

        async def run() -> tuple[int, int, int] | None:
            known = self.log.dedupe.table(producer_id).get(producer_id)
            if known is None:
                return None
            return known.epoch, known.expected - 1, known.offset_of(known.expected - 1)

        return await self._operate(run)

    def info(self, name: str) -> StreamInfo:
        """The stream. Raises StreamNotFound."""
        return self.log.registry.get(name)

    def list(self, pattern: str = ">", after: str = "", limit: int = 100) -> list[StreamInfo]:
        """Up to `limit` streams that `pattern` covers, by name, after the name `after`."""
        return self.log.registry.page(pattern, after, limit)

    async def create(self, name: str, retention: Retention | None = None) -> StreamInfo:
        """Makes a stream; one that exists with the same retention is returned.

        Raises:
            StreamExists: it exists with another retention.
            Busy: there are too many streams.
        """
        return await self._operate(lambda: self._streams.create(name, retention))

    async def update(self, name: str, retention: Retention) -> StreamInfo:
        """Changes a stream's retention; 0 means the default. Raises StreamNotFound."""
        return await self._operate(lambda: self._streams.update(name, retention))

    async def end(self, name: str) -> StreamInfo:
        """Ends a stream: it takes no more records and its readers are told. Raises StreamNotFound."""
        return await self._operate(lambda: self._streams.end(name))

    async def purge(self, name: str) -> StreamInfo:
        """Removes a stream's records. Raises StreamNotFound."""
        return await self._operate(lambda: self._streams.purge(name))

    async def delete(self, name: str) -> None:
        """Removes a stream. Raises StreamNotFound."""
        await self._operate(lambda: self._streams.delete(name))

    async def subscribe(self, request: ReadRequest) -> Subscription:
        """Opens a subscription: `with await broker.subscribe(request) as subscription`.

        Raises:
            StreamNotFound: `must_exist`, and a stream does not.
            Busy: there are too many subscriptions.
            Unavailable: the service is draining.
        """
        if self.draining:
            raise Unavailable("the service is draining", retry_after_s=1)
        if len(self.subscriptions) >= self.settings.limits.subscriptions:
            raise Busy(f"there are {len(self.subscriptions)} subscriptions: no more are taken", retry_after_s=5)
        subscription = Subscription(self, request)
        self.subscriptions[subscription] = None
        try:
            return await subscription.open()
        except BaseException:
            subscription.close()
            raise

    def unsubscribe(self, subscription: Subscription) -> bool:
        """Forgets a subscription; False when it was forgotten before."""
        known = subscription in self.subscriptions
        self.subscriptions.pop(subscription, None)
        if not self.subscriptions:
            self._emptied.set()
        return known

    async def fetch(self, request: ReadRequest, wait_s: float = 0.0) -> Page:
        """Reads one page: what is there, at most `request.limit` records and little over `limits.request_bytes`,
        after waiting at most `wait_s` seconds for a first one.

        Raises:
            StreamNotFound: `must_exist`, and a stream does not.
        """
        with await self.subscribe(request) as subscription:
            return await page_of(subscription, wait_s, self.settings.limits.request_bytes)

    async def read(self, streams: Sequence[StreamInfo], after: int, max_bytes: int) -> Sequence[Batch | Gap]:
        """What comes after `after`: from the tail where it is all there, else from the log. See `Log.read`."""
        if after >= self.tail.floor:
            return self.tail.read(streams, after, max_bytes)
        return await self.log.read(streams, after, max_bytes)

    async def catch_up(
        self, patterns: tuple[str, ...], streams: Sequence[StreamInfo], after: int, max_bytes: int
    ) -> Sequence[Batch | Gap]:
        """`read`, for one of the readers of `patterns`, which cover `streams`: they share what the log gave."""
        if after >= self.tail.floor:
            return await self.read(streams, after, max_bytes)
        if (known := self.history.read(patterns, after)) is not None:
            return known
        return self.history.take(patterns, after, await self.log.read(streams, after, max_bytes))

    async def failed(self) -> None:
        """Waits until the writer breaks; raises what broke it. Until then it never returns."""
        await asyncio.shield(self._failure)

    async def drain(self, spread_s: float) -> None:
        """Tells producers to go and readers to reconnect, spread over `spread_s` seconds; returns when all did."""
        self.leaving.drain(list(self.subscriptions), spread_s)
        self._emptied.clear()
        if self.subscriptions:
            await self._emptied.wait()

    def stats(self) -> dict[str, float]:
        """The figures now, by metric name."""
        return {
            "streams": len(self.log.registry),
            "log_bytes": self.log.bytes,
            "log_records": sum(info.records for info in self.log.registry),
            "log_last_offset": self.log.last_offset,
            "log_newest_age_seconds": max(0.0, (time_ns() - self.log.last_time_ns) / 1e9)
            if self.log.last_offset
            else 0,
            "tail_bytes": self.tail.bytes,
            "history_bytes": self.history.bytes,
            "history_hits_total": self.history.hits,
            "history_misses_total": self.history.misses,
            "queue_records": self._queue.pending_items,
            "queue_bytes": self._queue.pending_bytes,
            "subscriptions": len(self.subscriptions),
            "snapshot_keys": self.snapshots.keys,
            "delta_bytes": self.deltas.bytes,
            "producers": len(self.log.dedupe.producers),
            "log_evicted_records_total": self.log.evicted,
            "publish_requests_total": self.figures.requests,
            "records_total": self.figures.records,
            "bytes_total": self.figures.bytes,
            "commits_total": self.figures.commits,
            "encoding_seconds_total": self.figures.encoding_seconds,
            "compression_seconds_total": self.figures.compression_seconds,
            "compression_declined_total": self.figures.compression_declined,
            "http_connections_refused_total": self.figures.http_connections_refused,
            "trace_spans_total": self.tracing.spans if self.tracing else 0,
            "trace_spans_refused_total": self.tracing.refused if self.tracing else 0,
        }

    async def _operate(self, run: Callable[[], Awaitable[Result]]) -> Result:
        if not self._tasks or self._tasks[0].done():
            raise Unavailable("the service is not taking requests", retry_after_s=1)
        return await self._sequencer.operate(run)

    def _committed(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.tail.add(batch)
            self.figures.records += len(batch)
            self.figures.bytes += batch.size
            if info := self.log.registry.find(batch.stream):
                info.total_records += len(batch)
                info.total_bytes += batch.size
        self.snapshots.committed(batches)

    async def _tick(self) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), TICK_S)
            except TimeoutError:
                self.hub.tick(monotonic(), self.log.last_offset)
                self.snapshots.tend()
                self.history.tend()
                await self.log.tend()

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self._failure.done():
            self._failure.set_exception(error)
