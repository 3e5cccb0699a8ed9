"""The streams: their state now, and which of them a pattern covers.

A deleted stream leaves a tombstone, so that a reader who comes back is told what it missed; the oldest
tombstones are merged into one floor.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ratsvc.core.items import Gap, GapReason
from ratsvc.core.retention import Retention
from ratsvc.errors import Busy, StreamNotFound
from ratsvc.names import is_pattern, matches

MAX_TOMBSTONES = 10_000


@dataclass(slots=True)
class StreamInfo:
    """A stream as it is now: kept up to date in place."""

    name: str
    retention: Retention
    """The policy in force."""
    created_ns: int
    asked: Retention = field(default_factory=Retention)
    """What was asked for when the stream was made or changed."""
    updated_ns: int = 0
    records: int = 0
    bytes: int = 0
    first_offset: int = 0
    """Of the oldest record kept; 0 when there is none."""
    last_offset: int = 0
    """Of the newest record ever."""
    ended: bool = False
    deleted: bool = False
    evicted_through: int = 0
    """The newest offset that is no longer kept; 0 when none was lost."""
    evicted_time_ns: int = 0
    """When that record was committed."""
    purged_through: int = 0
    """`evicted_through` when the stream was last purged or deleted."""
    readers: int = 0
    total_records: int = 0
    """Committed since the service began."""
    total_bytes: int = 0
    """Of those records."""


class Registry:
    """All streams by name.

    Args:
        max_streams: beyond it, making one is refused.
    """

    def __init__(self, max_streams: int) -> None:
        self._max = max_streams
        self._streams: dict[str, StreamInfo] = {}
        self._sorted: list[str] = []
        self.tombstones: dict[str, int] = {}
        """The newest offset of each deleted stream, by name, oldest first."""
        self.floor = 0
        """Up to which offset there were deleted streams that have no tombstone any more."""
        self.version = 0
        """Changes whenever a stream comes or goes."""

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[StreamInfo]:
        return iter(list(self._streams.values()))

    def find(self, name: str) -> StreamInfo | None:
        """The stream, or None."""
        return self._streams.get(name)

    def get(self, name: str) -> StreamInfo:
        """The stream. Raises StreamNotFound."""
        info = self._streams.get(name)
        if info is None:
            raise StreamNotFound(f"there is no stream {name!r}", field="stream")
        return info

    def add(self, info: StreamInfo) -> None:
        """Adds a stream that does not exist yet. Raises Busy over the limit."""
        if len(self._streams) >= self._max:
            raise Busy(f"there are {self._max} streams: no more can be made")
        gone = self.tombstones.pop(info.name, 0)
        if gone > info.evicted_through:
            info.evicted_through = info.purged_through = gone
        self._streams[info.name] = info
        insort(self._sorted, info.name)
        self.version += 1

    def restore(self, tombstones: Mapping[str, int], floor: int) -> None:
        """Takes over what an earlier run knew of deleted streams: their newest offsets by name, oldest first."""
        self.tombstones.update(tombstones)
        self.floor = floor

    def remove(self, info: StreamInfo) -> None:
        """Takes a stream out and leaves its tombstone."""
        del self._streams[info.name]
        self._sorted.remove(info.name)
        info.deleted = True
        if info.last_offset:
            self.tombstones[info.name] = info.last_offset
        while len(self.tombstones) > MAX_TOMBSTONES:
            self.floor = max(self.floor, self.tombstones.pop(next(iter(self.tombstones))))
        self.version += 1

    def matching(self, patterns: tuple[str, ...]) -> list[StreamInfo]:
        """The streams that any of the checked names or patterns covers."""
        if not any(map(is_pattern, patterns)):
            return [info for name in dict.fromkeys(patterns) if (info := self._streams.get(name))]
        if ">" in patterns:
            return list(self._streams.values())
        return [info for info in self._streams.values() if any(matches(p, info.name) for p in patterns)]

    def page(self, pattern: str, after: str, limit: int) -> list[StreamInfo]:
        """Up to `limit` matching streams whose names come after `after`, by name."""
        found: list[StreamInfo] = []
        for at in range(bisect_right(self._sorted, after), len(self._sorted)):
            name = self._sorted[at]
            if matches(pattern, name):
                found.append(self._streams[name])
                if len(found) == limit:
                    break
        return found

    def gap(self, patterns: tuple[str, ...], streams: list[StreamInfo], after: int) -> Gap | None:
        """What a reader of `patterns` (that cover `streams`) at offset `after` can no longer get, if anything."""
        to, reason = 0, GapReason.RETENTION
        for info in streams:
            if info.evicted_through > to:
                to = info.evicted_through
                reason = GapReason.PURGED if info.purged_through == to else GapReason.RETENTION
        for name, through in self.tombstones.items():
            if through > max(to, after) and any(matches(p, name) for p in patterns):
                to, reason = through, GapReason.PURGED
        if self.floor > to and any(map(is_pattern, patterns)):
            to, reason = self.floor, GapReason.PURGED
        return Gap(after, to, reason) if to > after else None
