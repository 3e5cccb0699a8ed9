"""The `memory` engine: records live in this process and go with it.

Each stream is a list of its batches with a head that moves: finding a place costs O(log batches), the same for
the oldest record as for the newest; retention removes whole batches and counts off the rest of the oldest one.
Over the bound on the whole log, the globally oldest records go first: a heap holds each stream's head once.
"""

from __future__ import annotations

import heapq
import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import islice
from time import monotonic_ns

from ratsvc.core.dedupe import Claim, Dedupe
from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.core.tail import merged

OVERHEAD_BYTES = 24
"""What CPython keeps beside the bytes of a record."""
EXPIRED_A_CALL = 2_000


class _Kept:
    """One stream's batches. `skip` records of the oldest are gone already."""

    __slots__ = ("ages", "batches", "head", "info", "lasts", "skip")

    def __init__(self, info: StreamInfo) -> None:
        self.info = info
        self.batches: list[Batch] = []
        self.lasts: list[int] = []
        self.ages: list[int] = []
        self.head = 0
        self.skip = 0

    def add(self, batch: Batch, uptime_ns: int) -> None:
        info = self.info
        if not info.records:
            info.first_offset = batch.first
        self.batches.append(batch)
        self.lasts.append(batch.last)
        self.ages.append(uptime_ns)
        info.records += len(batch)
        info.bytes += batch.size
        info.last_offset = batch.last
        info.updated_ns = batch.time_ns

    @property
    def oldest(self) -> Batch | None:
        return self.batches[self.head] if self.head < len(self.batches) else None

    def drop(self, count: int) -> tuple[int, int]:
        """Removes records from the front: the oldest batch's, at most `count`. Returns (records, bytes)."""
        batch, info = self.batches[self.head], self.info
        count = min(count, len(batch) - self.skip)
        whole = self.skip == 0 and count == len(batch)
        freed = batch.size if whole else sum(batch.kept.sizes[self.skip : self.skip + count])
        self.skip += count
        info.records -= count
        info.bytes -= freed
        info.evicted_through = batch.offsets[self.skip - 1]
        info.evicted_time_ns = batch.time_ns
        if self.skip == len(batch):
            self._advance()
        oldest = self.oldest
        info.first_offset = oldest.offsets[self.skip] if oldest else 0
        return count, freed

    def _advance(self) -> None:
        self.batches[self.head] = None  # type: ignore[call-overload]
        self.head += 1
        self.skip = 0
        if self.head > 256 and self.head * 2 > len(self.batches):
            del self.batches[: self.head], self.lasts[: self.head], self.ages[: self.head]
            self.head = 0

    def from_offset(self, after: int, max_bytes: int) -> list[Batch]:
        found: list[Batch] = []
        taken = 0
        for at in range(bisect_right(self.lasts, after, self.head), len(self.batches)):
            batch = self.batches[at]
            start = self.skip if at == self.head else 0
            if batch.first <= after:
                start = max(start, bisect_right(batch.offsets, after))
            found.append(batch.part(start, len(batch)))
            taken += found[-1].size
            if taken >= max_bytes:
                break
        return found


class MemoryLog:
    """See `ratsvc.logs.protocol.Log`.

    Args:
        max_bytes: of the whole log, with what each record costs beside its bytes.
        clock: nanoseconds that never go back.
    """

    durable = False

    def __init__(
        self, registry: Registry, dedupe: Dedupe, max_bytes: int, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self.epoch = secrets.token_hex(4)
        self.registry = registry
        self.dedupe = dedupe
        self.last_offset = 0
        self.last_time_ns = 0
        self.bytes = 0
        self.evicted = 0
        self._cost = 0
        self._max = max_bytes
        self._clock = clock
        self._opened = clock()
        self._kept: dict[str, _Kept] = {}
        self._oldest: list[tuple[int, str]] = []
        self._queued: set[str] = set()
        self._expire_from = ""

    @property
    def uptime_ns(self) -> int:
        return self._clock() - self._opened

    async def append(self, batches: Sequence[Batch], claims: Sequence[Claim] = (), *, flushed: bool = False) -> None:
        touched, uptime = {}, self.uptime_ns
        for batch in batches:
            kept = self._kept[batch.stream]
            if batch.stream not in self._queued:
                self._queue(batch.first, batch.stream)
            kept.add(batch, uptime)
            self.bytes += batch.size
            self._cost += batch.size + OVERHEAD_BYTES * len(batch)
            self.last_offset = batch.last
            self.last_time_ns = batch.time_ns
            touched[batch.stream] = kept
        for kept in touched.values():
            self._trim(kept)
        while self._cost > self._max and self._drop_oldest():
            pass

    async def read(self, streams: Sequence[StreamInfo], after: int, max_bytes: int) -> list[Batch | Gap]:
        wanted = [self._kept[info.name] for info in streams if info.last_offset > after and info.records]
        return list[Batch | Gap](merged([kept.from_offset(after, max_bytes) for kept in wanted], max_bytes))

    async def after_time(self, streams: Sequence[StreamInfo], time_ns: int) -> int:
        starts = [self.last_offset]
        for info in streams:
            kept = self._kept[info.name]
            at = bisect_left(kept.batches, time_ns, kept.head, key=lambda batch: batch.time_ns)
            if at < len(kept.batches):
                starts.append(max(kept.batches[at].first, info.first_offset) - 1)
        return min(starts)

    async def after_last(self, streams: Sequence[StreamInfo], count: int) -> int:
        newest = heapq.merge(
            *(self._newest_first(self._kept[info.name], count) for info in streams), key=lambda offset: -offset
        )
        return min(islice(newest, count), default=self.last_offset + 1) - 1

    @staticmethod
    def _newest_first(kept: _Kept, count: int) -> list[int]:
        offsets: list[int] = []
        for at in range(len(kept.batches) - 1, kept.head - 1, -1):
            batch = kept.batches[at]
            offsets += list(batch.offsets[kept.skip if at == kept.head else 0 :])[::-1]
            if len(offsets) >= count:
                break
        return offsets

    async def create(self, info: StreamInfo) -> None:
        self.registry.add(info)
        self._kept[info.name] = _Kept(info)

    async def update(self, info: StreamInfo, asked: Retention, retention: Retention) -> None:
        info.asked, info.retention = asked, retention
        kept = self._kept[info.name]
        self._trim(kept)
        self._expire(kept, self.uptime_ns)

    async def end(self, info: StreamInfo) -> None:
        info.ended = True

    async def purge(self, info: StreamInfo) -> None:
        kept = self._kept[info.name]
        while kept.oldest is not None:
            self._drop(kept, len(kept.oldest))
        info.purged_through = info.evicted_through

    async def delete(self, info: StreamInfo) -> None:
        await self.purge(info)
        self.registry.remove(info)
        del self._kept[info.name]

    async def flush(self) -> None:
        pass

    async def tend(self) -> None:
        uptime = self.uptime_ns
        self.dedupe.expire(uptime)
        self.dedupe.forgotten.clear()
        page = self.registry.page(">", self._expire_from, EXPIRED_A_CALL)
        for info in page:
            self._expire(self._kept[info.name], uptime)
        self._expire_from = page[-1].name if len(page) == EXPIRED_A_CALL else ""

    async def close(self) -> None:
        self._kept.clear()

    def _trim(self, kept: _Kept) -> None:
        info, policy = kept.info, kept.info.retention
        while policy.max_records and info.records > policy.max_records:
            self._drop(kept, info.records - policy.max_records)
        while policy.max_bytes and info.bytes > policy.max_bytes and info.records > 1:
            self._drop(kept, self._count_over(kept, info.bytes - policy.max_bytes))

    @staticmethod
    def _count_over(kept: _Kept, surplus: int) -> int:
        """How many records of the oldest batch to drop for `surplus` bytes, but never the newest record."""
        batch = kept.oldest
        assert batch is not None
        left = min(len(batch) - kept.skip, kept.info.records - 1)
        if kept.skip == 0 and left == len(batch) and batch.size <= surplus:
            return left
        count = 0
        while surplus > 0 and count < left:
            surplus -= batch.kept.sizes[kept.skip + count]
            count += 1
        return count

    def _expire(self, kept: _Kept, uptime_ns: int) -> None:
        age_s = kept.info.retention.max_age_s
        while age_s and (batch := kept.oldest) and uptime_ns - kept.ages[kept.head] > age_s * 1e9:
            self._drop(kept, len(batch))

    def _drop(self, kept: _Kept, count: int) -> None:
        records, freed = kept.drop(count)
        self.bytes -= freed
        self.evicted += records
        self._cost -= freed + OVERHEAD_BYTES * records

    def _queue(self, first: int, name: str) -> None:
        heapq.heappush(self._oldest, (first, name))
        self._queued.add(name)

    def _drop_oldest(self) -> bool:
        """Removes the oldest batch of all. False when there is nothing that may go."""
        while self._oldest:
            first, name = heapq.heappop(self._oldest)
            self._queued.discard(name)
            kept = self._kept.get(name)
            batch = kept.oldest if kept else None
            if kept is None or batch is None:
                continue
            current = batch.first == first
            if current:
                self._drop(kept, len(batch))
                batch = kept.oldest
            if batch is not None:
                self._queue(batch.first, name)
            if current:
                return True
        return False
