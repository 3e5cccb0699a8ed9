"""Which records go: each stream's retention, and the bound on the whole log.

Both are worked out on changes, so that what a failed write would have removed is still there. The rows themselves are
swept by later commits.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from functools import partial

import structlog

from ratsvc.core.registry import StreamInfo
from ratsvc.logs.lmdb.evict import drop_row, evict, trim
from ratsvc.logs.lmdb.finding import rows_of
from ratsvc.logs.lmdb.kept import Change
from ratsvc.logs.lmdb.places import Place, Reader, entries
from ratsvc.logs.lmdb.rows import Damaged, Entry
from ratsvc.logs.lmdb.store import Store

_log = structlog.get_logger()

DROPPED_A_CALL = 2_000


class Retaining:
    """The streams by their oldest record: each is queued once, with what was its oldest then.

    Args:
        places: of all streams, by their names.
    """

    def __init__(self, store: Store, reader: Reader, places: Mapping[str, Place]) -> None:
        self._store = store
        self._reader = reader
        self._places = places
        self._heap: list[tuple[int, str]] = []
        self._queued: set[str] = set()

    def push(self, info: StreamInfo) -> None:
        """Queues a stream that has records."""
        if info.records and info.name not in self._queued:
            heapq.heappush(self._heap, (info.first_offset, info.name))
            self._queued.add(info.name)

    def trim(self, change: Change, uptime_ns: int) -> bool:
        """Applies a stream's retention. Whether anything went."""
        before = change.info.records
        try:
            trim(change.info, partial(self._entries, change), partial(self._body, change), uptime_ns)
        except Damaged as error:
            _log.error("log_damaged", stream=change.info.name, error=str(error))
        return change.info.records < before

    def keep_within(self, max_bytes: int, log_bytes: int, changes: dict[str, Change]) -> None:
        """Evicts the oldest rows of all while the log is over `max_bytes` (0: no bound), up to 2,000 a call.

        Args:
            log_bytes: of all records, before `changes`.
        """
        for _ in range(DROPPED_A_CALL):
            now = log_bytes + sum(change.info.bytes - change.place.info.bytes for change in changes.values())
            if not max_bytes or now <= max_bytes or not self._drop_oldest(changes):
                return

    def _drop_oldest(self, changes: dict[str, Change]) -> bool:
        """Evicts the oldest row of all streams. False when there is none."""
        while self._heap:
            first, name = heapq.heappop(self._heap)
            self._queued.discard(name)
            place = self._places.get(name)
            if place is None or not place.info.records:
                continue
            change = Change.within(changes, place)
            info, is_oldest = change.info, change.info.first_offset == first
            if is_oldest:
                rows = rows_of(self._store, place, first)
                entry, following = next(rows, None), next(rows, None)
                if entry is None:
                    empty(change)
                else:
                    drop_row(info, entry, following.first if following else 0, partial(self._body, change))
            if info.records:
                self.push(info)
            if is_oldest:
                return True
        return False

    def _entries(self, change: Change) -> Iterable[Entry]:
        return entries(self._store, change.place.sid, change.info.first_offset, [*change.place.recent, *change.rows])

    def _body(self, change: Change, entry: Entry) -> bytes | None:
        recent = [*change.place.recent, *change.rows]
        if recent and entry.first >= recent[0].entry.first:
            return next(row.body for row in recent if row.entry.first == entry.first)
        return self._reader.body(entry)


def empty(change: Change) -> None:
    """Removes all records of a stream."""
    info = change.info
    if info.records:
        evict(info, info.last_offset, info.records, info.bytes, info.updated_ns, 0)
    info.purged_through = info.evicted_through
