"""A subscription's course: what its reader gets, from where it starts to where it stops.

Each step gives the next of: the records of its snapshot, when it asked for one; what it can no longer get, said as a
gap; the records after its place that pass its filters, of little over `limits.reader_bytes` of the log; and, last, why
there are no more: its limit, its `until`, the end of its streams, or that it is to come back later. It knows the place
that a reader comes back to (`cursor`) after each. It holds no records of its own.

It waits for nothing but what it reads: when a step is made, and what becomes of a reader that has caught up, is
`follow`'s.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING

from ratsvc.core.cursor import Cursor, Start
from ratsvc.core.items import End, Gap, GapReason, Heartbeat, Item, Reconnect
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.errors import InvalidArgument, StreamNotFound, TooLarge
from ratsvc.flow.deltas import Since
from ratsvc.flow.hub import Selection
from ratsvc.flow.places import start_of
from ratsvc.flow.request import LATEST, Overflow, ReadRequest
from ratsvc.flow.skipping import newest
from ratsvc.flow.snapshots import Snapshot
from ratsvc.names import is_pattern

if TYPE_CHECKING:
    from ratsvc.flow.broker import Broker


class Course:
    """One reader's way through the log."""

    __slots__ = (
        "_broker", "_damaged", "_left", "_request", "_selection", "_snapshot", "_told", "_until", "ending",
        "is_current", "position", "queued", "since",
    )  # fmt: skip

    def __init__(self, broker: Broker, request: ReadRequest, selection: Selection) -> None:
        self._broker = broker
        self._request = request
        self._selection = selection
        self._left = request.limit
        self._until: int | None = None
        self._told = 0
        self._damaged = 0
        self._snapshot: Snapshot | None = None
        self.position = 0
        """Everything up to this offset was given, or is not wanted."""
        self.since = Since(0)
        """Which documents the reader has: see `deltas`."""
        self.queued: list[Item] = []
        """What is to be given before the next step."""
        self.is_current = False
        """Whether it has caught up, once at least."""
        self.ending: End | Reconnect | None = None
        """What it ended with; None as long as it goes on."""

    async def open(self) -> Gap | None:
        """Finds the places to start and to stop at.

        Returns:
            What is missing before the start.

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
        self.position, gap = await start_of(request.start, log, self._streams())
        self._told = gap.to if gap else self.position
        if request.snapshot:
            await self._begin_snapshot(LATEST if gap else request.start)
        if gap:
            self.queued += [gap, *self._place_in_snapshot()]
        self.since = Since(self.position)
        return gap

    @property
    def cursor(self) -> Cursor:
        """Where a reader who comes back goes on."""
        if self._snapshot is not None and self._snapshot.point:
            return Cursor(self._broker.epoch, self._snapshot.at, self._snapshot.point)
        return Cursor(self._broker.epoch, self.position)

    async def step(self) -> list[Item]:
        """What comes next: empty when the reader has caught up. For one that has not ended, and with nothing queued."""
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
        if self.has_ended():
            return self._finish(End(self.position, "ended"))
        self.is_current = True
        return []

    def beat(self) -> Heartbeat:
        """A sign of life for a reader that has caught up, whose place it moves."""
        self.position = max(self.position, self._broker.log.last_offset)
        return Heartbeat(self.position)

    def send_away(self, reason: str) -> list[Item]:
        """Ends it: the reader is to come back later, to its place."""
        place = self.cursor
        return self._finish(Reconnect(place.offset, self._broker.leaving.retry_ms(), reason, place.point))

    def is_at_end(self) -> bool:
        """Whether there is nothing left to read."""
        return self._snapshot is None and all(
            info.last_offset <= self.position for info in self._selection.streams.values()
        )

    def has_ended(self) -> bool:
        """Whether there is nothing left to read and nothing to come: all streams were ended."""
        streams = self._selection.streams
        return (
            not self._selection.wild
            and all(name in streams for name in self._request.streams)
            and all(info.ended for info in streams.values())
            and self.is_at_end()
        )

    def _finish(self, last: End | Reconnect) -> list[Item]:
        self.ending = last
        return [last]

    def _streams(self) -> list[StreamInfo]:
        return list(self._selection.streams.values())

    async def _begin_snapshot(self, start: Start = LATEST) -> None:
        """Begins a snapshot, or goes on with the one that `start` lies in; a reader that has read on from one, and
        whose place is still there, needs none. Raises TooLarge."""
        request, snapshots = self._request, self._broker.snapshots
        at = point = 0
        if isinstance(start, Cursor):
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
            return self.send_away("overload")
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
            found = await self._broker.catch_up(self._selection.patterns, streams, self.position, limit)
            if not found:
                self.position = max(self.position, end)
                return items
            patient = not self.is_current or self._request.overflow is Overflow.CATCH_UP
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

    async def _too_slow(self, end: int) -> list[Item]:
        if self._request.overflow is Overflow.DISCONNECT:
            return self.send_away("slow")
        limit = self._broker.settings.limits.reader_bytes
        kept, skipped = await newest(self._broker.read, self._selection, self.position, end, limit)
        gap = Gap(self.position, end, GapReason.SLOW, skipped=skipped)
        self.position, self._told = end, max(self._told, end)
        return [gap, *kept]
