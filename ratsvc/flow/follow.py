"""A subscription: one reader's place, from the log through the tail to live.

It is pulled (`next`), or, once it has caught up, put into a lane of the hub, which writes to it as commits come
(`live`). A reader that cannot keep up falls out of its lane and reads on from the log at its own pace; what it can
no longer get is said as a gap. It holds no records of its own: its memory is a few hundred bytes.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from ratsvc.core.cursor import Cursor, Start
from ratsvc.core.figures import Figures
from ratsvc.core.record import Batch, Encoding, End, Gap, GapReason, Heartbeat, Item, Reconnect
from ratsvc.core.registry import StreamInfo
from ratsvc.errors import InvalidArgument, StreamNotFound, TooLarge
from ratsvc.flow.deltas import DeltaLane, Since, in_turns
from ratsvc.flow.hub import Encoder, Lane
from ratsvc.flow.places import start_of
from ratsvc.flow.request import LATEST, Overflow, ReadRequest
from ratsvc.flow.skipping import newest
from ratsvc.flow.snapshots import Snapshot
from ratsvc.flow.wire import Sender, Sent, Wire
from ratsvc.names import is_pattern

if TYPE_CHECKING:
    from ratsvc.flow.broker import Broker
    from ratsvc.observability.tracing import Tracing

ReaderState = Literal["live", "catching-up"]


class Subscription:
    """Made by `Broker.subscribe`; used as a context manager. Read by one task."""

    def __init__(self, broker: Broker, request: ReadRequest) -> None:
        self._broker = broker
        self._request = request
        self._selection = broker.hub.select(request.streams, request.keys, request.events)
        self._heartbeat_s = request.heartbeat_s or broker.settings.heartbeat_s
        self._left = request.limit
        self._until: int | None = None
        self._queued: list[Item] = []
        self._finished = False
        self._current = False
        self._told = 0
        self._damaged = 0
        self._leave = ""
        self._documents = broker.deltas.reader() if request.delta else None
        self.since = Since(0)
        """Which documents it has: see `deltas`."""
        self._snapshot: Snapshot | None = None
        self._deadline: float | None = None
        self.position = 0
        """Everything up to this offset was given, or is not wanted."""
        self.start = Cursor(broker.epoch, 0)
        """Where it starts."""
        self.start_gap: Gap | None = None
        self.at_end = False
        self.format = "opening"
        """The name of the format that it is read in, once its response has begun."""
        self.sender: Sender = Sent()
        """What writes to the reader."""
        self.is_live = False
        """Whether it is in a lane."""
        self.reason = "client"
        """Why it ended, once it has: by itself or the client."""

    async def open(self) -> Self:
        """Finds the places to start and to stop at.

        Raises:
            StreamNotFound: `must_exist`, and a stream does not.
            InvalidArgument: `until` is a cursor of another epoch; a snapshot is asked for with a start or end that
                contradict it.
            TooLarge: the streams have too many keys for a snapshot.
        """
        request, log = self._request, self._broker.log
        if request.must_exist:
            for name in request.streams:
                if not is_pattern(name) and name not in self._selection.streams:
                    raise StreamNotFound(f"there is no stream {name!r}", field="stream")
        request.check()
        match request.until:
            case "now":
                self._until = log.last_offset
            case Cursor(epoch, offset):
                if epoch != log.epoch:
                    raise InvalidArgument("until must be a cursor of the log's present epoch", field="until")
                self._until = offset
        self.position, self.start_gap = await start_of(request.start, log, self._streams())
        self._told = self.start_gap.to if self.start_gap else self.position
        if request.snapshot:
            await self._begin_snapshot(request.start)
        if self.start_gap:
            self._queued += [self.start_gap, *self._place_in_snapshot()]
        self.start = self.cursor
        self.since = Since(self.position)
        self.at_end = not self._snapshot and self._all_ended() and self._is_at_end()
        lifetime = self._broker.settings.subscription_lifetime_s
        self._deadline = monotonic() + lifetime * random.uniform(0.9, 1.1) if lifetime else None
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the place back; idempotent."""
        if self._broker.unsubscribe(self):
            self._broker.figures.disconnects[self.reason] += 1
            self._broker.hub.release(self._selection)
            if self._documents is not None:
                self._broker.deltas.left(self._documents)

    @property
    def cursor(self) -> Cursor:
        """Where a reader who comes back goes on."""
        if self._snapshot is not None and self._snapshot.point:
            return Cursor(self._broker.epoch, self._snapshot.at, self._snapshot.point)
        return Cursor(self._broker.epoch, self.position)

    @property
    def figures(self) -> Figures:
        """Where what is delivered is counted."""
        return self._broker.figures

    @property
    def lag(self) -> int:
        """How many offsets the newest record that may be for this reader is ahead of it; of all streams with a
        pattern."""
        log, selection = self._broker.log, self._selection
        if self.is_live:
            return 0
        newest = log.last_offset
        if not selection.wild:
            newest = max((info.last_offset for info in selection.streams.values()), default=0)
        return max(0, newest - self.position)

    @property
    def state(self) -> ReaderState:
        """How it is told to those who watch: live once it has caught up and while nothing is ahead of it, in a lane or
        not (a reader with a limit waits outside of them)."""
        return "live" if self._current and not self.lag else "catching-up"

    def reads(self, stream: str) -> bool:
        """Whether a stream is among those that it reads."""
        return stream in self._selection.streams

    @property
    def tracing(self) -> Tracing | None:
        """What makes spans; None where tracing is off."""
        return self._broker.tracing

    def leave(self, reason: str) -> None:
        """Asks the reader to come back later: the subscription ends with a Reconnect."""
        self._leave = self._leave or reason
        self._selection.look_again()

    async def next(self) -> list[Item]:
        """What comes next: waits for it, heartbeats included. Empty when it is over."""
        while True:
            items = await self.poll()
            if items or items is None:
                return items or []
            if not await self.wait(self._heartbeat_s):
                return [self._beat()]

    async def poll(self) -> list[Item] | None:
        """What is there now: empty when the reader has caught up, None when it is over."""
        items = await self._poll()
        if self._documents is None or not items:
            return items
        found: list[Item] = []
        for item in items:
            if isinstance(item, Batch):
                found += await in_turns(item, self._documents)
                continue
            if isinstance(item, Gap):
                self._documents.clear()
                self.since = Since(max(self.since.offset, item.to))
            found.append(item)
        return found

    async def _poll(self) -> list[Item] | None:
        if self._finished:
            return None
        if self._queued:
            items, self._queued = self._queued, []
            return items
        if self._snapshot is not None or not self._is_at_end():
            await self._broker.turns.next()
        if self._leave or (self._deadline is not None and monotonic() >= self._deadline):
            return self._finish(self._reconnect(self._leave or "lifetime"))
        streams = self._streams()
        gap = self._broker.log.registry.gap(self._request.streams, streams, max(self.position, self._told))
        if gap is not None and (self._until is None or gap.after < self._until):
            self._told = gap.to
            return [gap, *await self._begin_again()]
        if self._snapshot is not None:
            return await self._go_on(self._snapshot)
        items = await self._read(streams)
        if self._left == 0:
            return [*items, *self._finish(End(self.position, "limit"))]
        if items:
            return items
        if self._until is not None and self._until <= self._broker.log.last_offset:
            self.position = max(self.position, self._until)
            return self._finish(End(self.position, "until"))
        if self._all_ended() and self._is_at_end():
            return self._finish(End(self.position, "ended"))
        self._current = True
        return []

    async def wait(self, seconds: float) -> bool:
        """Waits for news, at most `seconds`; False when there were none in that time."""
        future = asyncio.get_running_loop().create_future()
        self._selection.waiting.add(future)
        if self._deadline is not None:
            seconds = min(seconds, max(0.0, self._deadline - monotonic()))
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return self._deadline is not None and monotonic() >= self._deadline
        finally:
            self._selection.waiting.discard(future)
        return True

    async def live(self, encoder: Encoder, wire: Wire) -> None:
        """Puts the reader, which has caught up, into its lane; returns when it has to `poll` again.

        While it is there `wire.push` gets the bytes. A reader with a limit or an end never goes live.
        """
        if self._leave or any(i.last_offset > self.position for i in self._selection.streams.values()):
            return
        if self._left is not None or self._until is not None:
            if not await self.wait(self._heartbeat_s):
                self._queued.append(self._beat())
            return
        framing, coding = wire.framing(), wire.coding
        kind = Lane if self._documents is None else DeltaLane
        identity = (kind, encoder.key, self._heartbeat_s, framing, coding and coding.name)
        lane = self._selection.lanes.get(identity)
        if lane is None:
            lane = self._selection.lanes[identity] = kind(
                self._selection, encoder, self._heartbeat_s, framing, self._broker.figures, coding
            )
        member = _Live(self, wire)
        if self._documents is not None:
            DeltaLane.join(self._selection, self._documents)
        lane.enter(member, coding)
        self.is_live = True
        try:
            await asyncio.wait_for(member.left, None if self._deadline is None else self._deadline - monotonic())
        except TimeoutError:
            pass
        finally:
            self.is_live = False
            lane.forget(member)
            if self._documents is not None:
                DeltaLane.left(self._selection)

    def _streams(self) -> list[StreamInfo]:
        return list(self._selection.streams.values())

    def _all_ended(self) -> bool:
        streams = self._selection.streams
        return (
            not self._selection.wild
            and all(name in streams for name in self._request.streams)
            and all(info.ended for info in streams.values())
        )

    def _is_at_end(self) -> bool:
        return all(info.last_offset <= self.position for info in self._selection.streams.values())

    def _finish(self, last: End | Reconnect) -> list[Item]:
        self._finished = True
        self.reason = last.reason
        return [last]

    def _beat(self) -> Heartbeat:
        self.position = max(self.position, self._broker.log.last_offset)
        return Heartbeat(self.position)

    async def _begin_snapshot(self, start: Start = LATEST) -> None:
        """Begins a snapshot, or goes on with the one that `start` lies in; a reader that has read on from one, and
        whose place is still there, needs none. Raises TooLarge."""
        request, snapshots = self._request, self._broker.snapshots
        at = point = 0
        if isinstance(start, Cursor) and not self.start_gap:
            if not start.point:
                return
            at, point = start.offset, start.point
        await snapshots.ready(self._streams())
        self._snapshot = Snapshot(snapshots, self._streams, request.keys, request.events, at, point)
        self.position = self._told = self._snapshot.point
        if not self._snapshot.point:
            self._snapshot = None

    async def _begin_again(self) -> list[Item]:
        """After a gap: the state anew, for a reader of snapshots. What it would have been given instead is in it."""
        if not self._request.snapshot:
            return []
        try:
            await self._begin_snapshot()
        except TooLarge:
            return []  # then it gets all that is kept, one by one
        return self._place_in_snapshot()

    def _place_in_snapshot(self) -> list[Item]:
        """Moves the reader's place to where the snapshot is, after a gap."""
        place = self.cursor
        return [Heartbeat(place.offset, place.point)] if place.point else []

    async def _go_on(self, snapshot: Snapshot) -> list[Item]:
        """The next records of the snapshot; a heartbeat when it is over."""
        items: list[Batch] = []
        try:
            while not items and not snapshot.is_over:
                items += await snapshot.next(self._broker.settings.limits.reader_bytes)
        except TooLarge:
            return self._finish(self._reconnect("overload"))
        if self._left is not None:
            for at, batch in enumerate(items):
                items[at] = kept = batch.part(0, self._left)
                self._left -= len(kept)
                if not self._left:
                    snapshot.at = kept.last
                    return [*items[: at + 1], *self._finish(End(kept.last, "limit", snapshot.point))]
        if snapshot.is_over:
            self._snapshot = None
            floor = max((info.evicted_through for info in self._streams()), default=0)
            self.since = Since(max(self.since.offset, snapshot.point), snapshot.is_whole, floor)
            if self._request.until == "now":
                self._until = self._broker.log.last_offset  # what was replaced while it was sent comes after it
            return [*items, Heartbeat(self.position)]
        return [*items]

    async def _read(self, streams: list[StreamInfo]) -> list[Item]:
        """The next records, filtered; moves the position."""
        limit = self._broker.settings.limits.reader_bytes
        items: list[Item] = []
        while not items:
            end = self._broker.log.last_offset
            if not any(info.last_offset > self.position for info in streams):
                return items
            found = await self._broker.read(streams, self.position, limit)
            if not found:
                self.position = max(self.position, end)
                return items
            patient = not self._current or self._request.overflow is Overflow.CATCH_UP
            if not patient and sum(batch.size for batch in found if isinstance(batch, Batch)) >= limit:
                return await self._too_slow(end)
            for batch in found:
                if isinstance(batch, Gap):
                    if batch.to > self._damaged:
                        items.append(batch)
                        self._damaged = batch.to
                    continue
                kept = self._take(batch)
                self.position = batch.last if self._until is None else min(batch.last, self._until)
                if kept is not None:
                    items.append(kept)
                if kept is not None and self._left == 0:
                    self.position = kept.last
                    return items
                if self._until is not None and self.position >= self._until:
                    return items
            if isinstance(found[-1], Gap):  # nothing is left before where the damage ends
                self.position = max(self.position, min(self._damaged, end))
            if not items:  # none of them passed the filters: let others have their turn
                await asyncio.sleep(0)
        return items

    def _take(self, batch: Batch) -> Batch | None:
        """What of a batch this reader gets."""
        if self._until is not None and batch.last > self._until:
            batch = batch.part(0, bisect_right(batch.offsets, self._until))
            if not len(batch):
                return None
        kept = self._selection.filtered(batch)
        if kept is not None and self._left is not None:
            kept = kept.part(0, self._left)
            self._left -= len(kept)
        return kept

    def _reconnect(self, reason: str) -> Reconnect:
        place = self.cursor
        return Reconnect(place.offset, self._broker.retry_ms(), reason, place.point)

    async def _too_slow(self, end: int) -> list[Item]:
        if self._request.overflow is Overflow.DISCONNECT:
            return self._finish(self._reconnect("slow"))
        limit = self._broker.settings.limits.reader_bytes
        kept, skipped = await newest(self._broker.read, self._selection, self.position, end, limit)
        gap = Gap(self.position, end, GapReason.SLOW, skipped=skipped)
        self.position, self._told = end, max(self._told, end)
        return [gap, *kept]


class _Live:
    """A subscription in a lane."""

    __slots__ = ("left", "subscription", "wire")

    def __init__(self, subscription: Subscription, wire: Wire) -> None:
        self.subscription = subscription
        self.wire = wire
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def since(self) -> Since:
        return self.subscription.since

    def push(self, data: Encoding, offset: int) -> bool:
        if not self.wire.push(data, offset):
            return False
        self.subscription.position = offset
        return True

    def leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)
