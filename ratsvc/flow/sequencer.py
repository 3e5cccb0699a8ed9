"""The sequencer: the only writer. It empties the queue, gives offsets, commits once for all that waited, hands the
batches to the tail and the readers, then acknowledges.

A submission is a publish (`Draft`) or an operation on a stream; both keep their order. A refused one changes
nothing and does not hold up the others.
Cost beside the engine's own: about 8 µs a publish, nothing per record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from ratsvc.core.dedupe import Claim
from ratsvc.core.draft import Draft
from ratsvc.core.figures import Figures
from ratsvc.core.journey import FollowedBatch
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.core.segqueue import SegQueue
from ratsvc.errors import RatError, StreamEnded, Unavailable
from ratsvc.flow.hub import Hub
from ratsvc.logs.protocol import Log

if TYPE_CHECKING:
    from ratsvc.observability.tracing import Tracing

_log = structlog.get_logger()
Result = TypeVar("Result")


@dataclass(slots=True, frozen=True)
class Ack:
    """What became of a publish: offsets of its first and last record, how many were stored, how many dropped."""

    first: int
    last: int
    stored: int
    duplicates: int


@dataclass(slots=True)
class _Publish:
    draft: Draft
    done: asyncio.Future[Ack]
    at: float


@dataclass(slots=True)
class _Operation:
    run: Callable[[], Awaitable[Any]]
    done: asyncio.Future[Any]


class Sequencer:
    """Owns the way from the queue to the readers.

    Args:
        stream_for: the stream to publish to, made when the settings let it; raises StreamNotFound or Busy.
        committed: called with the batches of each commit, after delivery.
        tracing: None where it is off.
    """

    def __init__(
        self,
        log: Log,
        hub: Hub,
        queue: SegQueue[_Publish | _Operation],
        stream_for: Callable[[str], Awaitable[StreamInfo]],
        committed: Callable[[Sequence[Batch]], None],
        figures: Figures,
        tracing: Tracing | None = None,
    ) -> None:
        self._log = log
        self._hub = hub
        self._queue = queue
        self._stream_for = stream_for
        self._committed = committed
        self._figures = figures
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        self._wake: asyncio.Future[None] | None = None
        self._room: list[asyncio.Future[None]] = []
        self._closing = False

    def publish(self, draft: Draft) -> asyncio.Future[Ack]:
        """Queues a publish. Never waits."""
        done: asyncio.Future[Ack] = self._loop.create_future()
        self._queue.push(_Publish(draft, done, perf_counter()), draft.kept.size, len(draft))
        self._rouse()
        return done

    def operate(self, run: Callable[[], Awaitable[Result]]) -> asyncio.Future[Result]:
        """Queues an operation. Never waits."""
        done: asyncio.Future[Result] = self._loop.create_future()
        self._queue.push(_Operation(run, done))
        self._rouse()
        return done

    @property
    def has_room(self) -> bool:
        """Whether producers may go on."""
        return not self._queue.is_full

    async def wait_for_room(self) -> None:
        """Returns when producers may go on."""
        while self._queue.is_full:
            room = self._loop.create_future()
            self._room.append(room)
            await room

    async def run(self) -> None:
        """Works until `close`, and until the queue is empty then."""
        while True:
            waiting = self._queue.drain()
            if waiting:
                await self._commit_all(waiting)
                continue
            if self._closing:
                return
            self._wake = self._loop.create_future()
            await self._wake
            self._wake = None

    def close(self) -> None:
        """Makes `run` return once everything queued is done."""
        self._closing = True
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _commit_all(self, waiting: list[_Publish | _Operation]) -> None:
        """One commit for each run of publishes between two operations."""
        publishes: list[_Publish] = []
        for submission in waiting:
            if isinstance(submission, _Publish):
                publishes.append(submission)
                continue
            await self._commit(publishes)
            publishes = []
            await self._operate(submission)
        await self._commit(publishes)
        if self._room and not self._queue.is_full:
            room, self._room = self._room, []
            for future in room:
                if not future.done():
                    future.set_result(None)

    async def _operate(self, operation: _Operation) -> None:
        try:
            result = await operation.run()
        except Exception as error:  # told to the one who asked: the writer itself must go on
            _refuse(operation.done, error)
        else:
            if not operation.done.done():
                operation.done.set_result(result)

    async def _commit(self, publishes: list[_Publish]) -> None:
        if not publishes:
            return
        batches: list[Batch] = []
        claims: list[Claim] = []
        acks: list[tuple[_Publish, Ack]] = []
        log, dedupe = self._log, self._log.dedupe
        offset = log.last_offset
        now, uptime = max(time_ns(), log.last_time_ns), log.uptime_ns
        for publish in publishes:
            try:
                ack, batch = await self._place(publish.draft, offset + 1, now, uptime, claims)
            except RatError as error:
                self._figures.refused[error.slug] += 1
                _refuse(publish.done, error)
                continue
            acks.append((publish, ack))
            if batch is not None:
                batches.append(batch)
                offset = batch.last
        began = perf_counter()
        try:
            if batches:
                await log.append(batches, claims, flushed=any(publish.draft.flushed for publish, _ in acks))
        except RatError as error:
            dedupe.rollback()
            self._figures.refused[error.slug] += len(acks)
            for publish, _ in acks:
                _refuse(publish.done, error.again())
            return
        except Exception:
            _log.exception("commit_failed", records=sum(map(len, batches)))
            for publish, _ in acks:
                _refuse(publish.done, Unavailable("the log could not store the records"))
            raise
        dedupe.commit()
        ended = perf_counter()
        self._count(acks, batches, began, ended)
        if batches:
            self._hub.publish(batches)
            for batch in batches:
                batch.settle()
            self._committed(batches)
        delivered = perf_counter()
        if self._tracing is not None:
            self._tracing.committed(batches, began, ended, delivered, self._hub.live_readers)
        for publish, ack in acks:
            self._figures.delivery_seconds.observe(delivered - publish.at)
            if publish.draft.journey is not None:
                self._tell(publish, acks, (began, ended, delivered))
            if not publish.done.done():
                publish.done.set_result(ack)

    def _count(self, acks: list[tuple[_Publish, Ack]], batches: list[Batch], began: float, ended: float) -> None:
        figures = self._figures
        figures.requests += len(acks)
        for publish, _ in acks:
            figures.queue_seconds.observe(began - publish.at)
        if batches:
            figures.commits += 1
            figures.commit_seconds.observe(ended - began)
            figures.commit_records.observe(sum(map(len, batches)))

    def _tell(self, publish: _Publish, acks: list[tuple[_Publish, Ack]], times: tuple[float, float, float]) -> None:
        """Tells a publish's journey of its commit: when it began, when it ended, and when it was delivered."""
        journey = publish.draft.journey
        assert journey is not None
        journey.steps |= zip(("queued", "commit_began", "committed", "delivered"), (publish.at, *times), strict=True)
        journey.readers, journey.others = self._hub.readers(publish.draft.stream)
        journey.commit_publishes, journey.commit_records = len(acks), sum(ack.stored for _, ack in acks)

    async def _place(
        self, draft: Draft, offset: int, now: int, uptime: int, claims: list[Claim]
    ) -> tuple[Ack, Batch | None]:
        """Where a publish goes: its acknowledgement, and the batch of its new records if there are any."""
        dedupe, count, ref = self._log.dedupe, len(draft), draft.producer
        dropped, first = dedupe.duplicates(ref, count, uptime) if ref else (0, 0)
        if dropped == count:
            return Ack(first, first + count - 1 if first else 0, 0, count), None
        info = await self._stream_for(draft.stream)
        if info.ended:
            raise StreamEnded(f"stream {draft.stream!r} was ended and takes no more records", field="stream")
        last = offset + count - dropped - 1
        make = None if draft.journey is None else partial(FollowedBatch, draft.journey)
        batch = draft.batch(range(offset, last + 1), now, make)
        if ref is not None:
            claims.append(Claim(ref, ref.sequence + dropped, count - dropped, offset))
            dedupe.claim(claims[-1], uptime)
        return Ack(first if dropped else offset, last, count - dropped, dropped), batch


def _refuse(done: asyncio.Future[Any], error: Exception) -> None:
    """Tells whoever asked; that nobody may be there any more is no news for the log."""
    if not done.done():
        done.set_exception(error)
        done.exception()
