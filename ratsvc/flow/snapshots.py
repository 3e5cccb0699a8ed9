"""Snapshots: the newest record of each key, before what comes.

Where those records are, an index of the stream says (`core.newest`): it is made by one look through the stream's
keys when a snapshot of it is first asked for, in slices between which others have their turn, and from then on kept
up with each commit. Indices that nobody has asked for in a while are forgotten, and so are the oldest asked for when
there are too many keys. While nobody asks for snapshots there are none, and nothing is done.

A snapshot has a *point*: the newest offset when it was begun. The newest record of each key up to the point is given
in the order of offsets, then everything after the point. A record that is followed by a newer one of its key before
it was given is left out: the newer one comes after the point. So the place within a snapshot is its offset and the
point, and a reader holds no more than a slice of offsets.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from ratsvc.core.items import Gap
from ratsvc.core.newest import Newest
from ratsvc.core.record import Batch, Told
from ratsvc.core.registry import StreamInfo
from ratsvc.errors import TooLarge
from ratsvc.logs.protocol import Log

IDLE_S = 600.0
"""After so long without a snapshot of it a stream's index is forgotten."""
AGAIN_S = 60.0
"""After so long it is tried again whether a stream has few enough keys."""
SLICE_BYTES = 256 * 1024
PLANNED = 1_000
"""Offsets that a reader holds at most."""
READS_A_STEP = 100
STREAMS_A_TURN = 500


class _Index:
    """A stream's index, and how far it was made."""

    __slots__ = ("asked_at", "info", "is_current", "lock", "newest", "refused_at", "through")

    def __init__(self, info: StreamInfo) -> None:
        self.info = info
        self.newest = Newest()
        self.through = max(info.first_offset - 1, 0)
        self.is_current = False
        """Whether it is up to date, and kept so."""
        self.asked_at = monotonic()
        self.refused_at: float | None = None
        self.lock = asyncio.Lock()


class Snapshots:
    """The indices of all streams.

    Args:
        read: what `Log.read` does, perhaps out of the tail.
        max_keys: in all indices together.
    """

    def __init__(
        self,
        log: Log,
        read: Callable[[Sequence[StreamInfo], int, int], Awaitable[Sequence[Batch | Gap]]],
        max_keys: int,
    ) -> None:
        self.log = log
        self.read = read
        self.keys = 0
        """In all indices, with their event types."""
        self._max = max_keys
        self._indices: dict[str, _Index] = {}

    async def ready(self, streams: Sequence[StreamInfo]) -> None:
        """Makes the indices of the streams where they are not there.

        Raises:
            TooLarge: the streams have too many keys.
        """
        for turn, info in enumerate(streams, 1):
            index = self._indices.get(info.name)
            if index is None or index.info is not info:
                self._forget(index)
                index = self._indices[info.name] = _Index(info)
            index.asked_at = monotonic()
            if not index.is_current:
                async with index.lock:
                    await self._make(index)
            if turn % STREAMS_A_TURN == 0:
                await asyncio.sleep(0)
        for info in streams:
            self._current(info)

    def committed(self, batches: Sequence[Batch]) -> None:
        """Takes up what was committed."""
        if not self._indices:
            return
        for batch in batches:
            index = self._indices.get(batch.stream)
            if index is not None and index.is_current:
                self._add(index, [batch])
        while self.keys > self._max and (oldest := self._oldest()):
            self._forget(oldest)

    def tend(self) -> None:
        """Forgets what nobody asked for in a while. Called often."""
        now = monotonic()
        for index in list(self._indices.values()):
            if not index.lock.locked() and (index.info.deleted or now - index.asked_at > IDLE_S):
                self._forget(index)

    def newest(
        self, info: StreamInfo, after: int, point: int, keys: frozenset[str] | None, events: frozenset[str] | None
    ) -> list[int]:
        """See `Newest.after`; for a stream whose index is `ready`. Raises TooLarge when it was forgotten since."""
        index = self._current(info)
        if index is None:
            return []
        self._add(index, [])
        return index.newest.after(after, point, PLANNED, keys, events)

    def _current(self, info: StreamInfo) -> _Index | None:
        """The index of a stream, which was made before; None when the stream was deleted since."""
        index = self._indices.get(info.name)
        if index is not None and index.info is info and index.is_current:
            return index
        if info.deleted:
            return None
        raise self._too_many(info)

    async def _make(self, index: _Index) -> None:
        info = index.info
        if index.refused_at is not None and monotonic() - index.refused_at < AGAIN_S:
            raise self._too_many(info)
        index.refused_at = None
        while not index.is_current:
            if info.deleted or not info.records or info.last_offset <= index.through:
                index.is_current = True  # what is committed from this step on is added
                return
            found = await self.read([info], index.through, SLICE_BYTES)
            self._add(index, [batch for batch in found if isinstance(batch, Batch)])
            last = found[-1] if found else None
            reached = last.last if isinstance(last, Batch) else last.to if last else info.last_offset
            index.through = max(reached, index.through + 1)
            if self._indices.get(info.name) is index:
                self._make_room(index)
            await asyncio.sleep(0)

    def _add(self, index: _Index, batches: Sequence[Batch]) -> None:
        before = len(index.newest)
        for batch in batches:
            index.newest.add(batch)
        index.newest.forget(index.info.evicted_through)
        if self._indices.get(index.info.name) is index:
            self.keys += len(index.newest) - before

    def _make_room(self, index: _Index) -> None:
        """Forgets other indices for this one's sake. Raises TooLarge when that is not enough."""
        while self.keys > self._max:
            oldest = self._oldest()
            if len(index.newest) > self._max or oldest is None:
                self.keys -= len(index.newest)
                index.newest, index.through = Newest(), max(index.info.first_offset - 1, 0)
                index.refused_at = monotonic()
                raise self._too_many(index.info)
            self._forget(oldest)

    def _oldest(self) -> _Index | None:
        """The index, with something in it, that was not asked for longest."""
        made = (one for one in self._indices.values() if one.is_current and len(one.newest))
        return min(made, key=lambda one: one.asked_at, default=None)

    def _forget(self, index: _Index | None) -> None:
        if index is not None and self._indices.get(index.info.name) is index:
            del self._indices[index.info.name]
            self.keys -= len(index.newest)

    def _too_many(self, info: StreamInfo) -> TooLarge:
        return TooLarge(
            f"stream {info.name!r} has too many keys for a snapshot: over {self._max} in all (limits.snapshot_keys)",
            field="snapshot",
        )


class Snapshot:
    """One reader's way through a snapshot.

    Args:
        at: up to this offset it was given before.
        point: where it ends; 0: at the newest offset of now.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        streams: Callable[[], Sequence[StreamInfo]],
        keys: frozenset[str] | None,
        events: frozenset[str] | None,
        at: int = 0,
        point: int = 0,
    ) -> None:
        self._snapshots = snapshots
        self._streams = streams
        self._keys = keys
        self._events = events
        self._looked = 0
        self._plan: deque[tuple[int, StreamInfo]] = deque()
        self.at = at
        """Up to this offset it was given."""
        self.point = point or snapshots.log.last_offset
        self.is_over = False
        self.is_whole = at == 0
        """Whether all of it was given here."""

    async def next(self, max_bytes: int) -> list[Batch]:
        """The next records: what is found in little over `max_bytes` of the log. It `is_over` once there are no more.

        Raises:
            TooLarge: there are too many keys, by now.
        """
        found: list[Batch] = []
        self._looked = 0
        for _ in range(READS_A_STEP):
            if not self._plan and not await self._look():
                self.is_over = True
                self.at = self.point
                break
            batch = await self._read()
            if batch is not None:
                found.append(batch)
            if self._looked >= max_bytes:
                break
        await asyncio.sleep(0)
        return found

    async def _look(self) -> bool:
        """Plans what comes next; False when there is nothing more."""
        streams = [info for info in self._streams() if info.last_offset > self.at]
        await self._snapshots.ready(streams)
        found: list[tuple[int, StreamInfo]] = []
        for turn, info in enumerate(streams, 1):
            offsets = self._snapshots.newest(info, self.at, self.point, self._keys, self._events)
            found += [(offset, info) for offset in offsets]
            if len(found) > 2 * PLANNED:
                found = sorted(found, key=_offset)[:PLANNED]
            if turn % STREAMS_A_TURN == 0:
                await asyncio.sleep(0)
        self._plan.extend(sorted(found, key=_offset)[:PLANNED])
        return bool(self._plan)

    async def _read(self) -> Batch | None:
        """The planned records of the next batch in the log; None when they are not kept any more."""
        offset, info = self._plan.popleft()
        found = [] if info.deleted else await self._snapshots.read([info], offset - 1, 1)
        batch = next((one for one in found if isinstance(one, Batch)), None)
        self.at = offset
        self._looked += batch.size if batch is not None else 0
        if batch is None or batch.first != offset:
            self.is_whole = False
            return None
        wanted = [0]
        while self._plan and self._plan[0][1] is info and self._plan[0][0] <= batch.last:
            self.at = self._plan.popleft()[0]
            at = bisect_right(batch.offsets, self.at) - 1
            if batch.offsets[at] == self.at:
                wanted.append(at)
            else:
                self.is_whole = False
        picked = batch.picked(wanted)
        return Told(picked, self.point) if picked is not None else None


def _offset(planned: tuple[int, StreamInfo]) -> int:
    return planned[0]
