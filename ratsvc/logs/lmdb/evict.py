"""Retention of a stream, worked out on its figures; the rows themselves are swept later.

Exact to the record by count and by bytes; by age a row goes as a whole. The newest record stays, whatever its size.
Cost: nothing within the bounds; over them 5 µs and one row read where one is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ratsvc.core.registry import StreamInfo
from ratsvc.logs.lmdb.rows import Damaged, Entry, sizes_of

Body = Callable[[Entry], bytes | None]


def trim(info: StreamInfo, entries: Callable[[], Iterable[Entry]], body: Body, uptime_ns: int) -> None:
    """Applies `info.retention` to `info`.

    Args:
        entries: the stream's rows from the oldest record on.
        body: of a row.
        uptime_ns: the log's age now.

    Raises:
        Damaged: the index cannot be read.
    """
    policy = info.retention
    over = (policy.max_records and info.records > policy.max_records) or (
        policy.max_bytes and info.bytes > policy.max_bytes
    )
    if not info.records or not (over or policy.max_age_s):
        return
    left = iter(entries())
    entry = next(left, None)
    while entry is not None:
        skip = max(0, info.first_offset - entry.first)
        count = _count_over(info, entry, skip, body, uptime_ns)
        if not count:
            return
        if count < entry.count - skip:
            last = entry.first + skip + count - 1
            evict(info, last, count, _size(entry, skip, skip + count, body), entry.time_ns, last + 1)
            return
        following = next(left, None)
        drop_row(info, entry, following.first if following else 0, body)
        entry = following


def drop_row(info: StreamInfo, entry: Entry, following: int, body: Body) -> None:
    """Evicts the oldest row; `following` is the first offset of the next one, 0 when there is none."""
    if not following:  # whatever the rows were, nothing is left
        evict(info, entry.last, info.records, info.bytes, entry.time_ns, 0)
        return
    skip = max(0, info.first_offset - entry.first)
    size = _size(entry, skip, entry.count, body) if skip else entry.size
    evict(info, entry.last, entry.count - skip, size, entry.time_ns, following)


def evict(info: StreamInfo, last: int, records: int, size: int, time_ns: int, first: int) -> None:
    """Takes records, the last of them at offset `last` and committed at `time_ns`, out of the figures; `first` is
    the oldest offset then, 0 when there is none."""
    info.records -= records
    info.bytes -= size
    info.evicted_through = last
    info.evicted_time_ns = time_ns
    info.first_offset = first


def _count_over(info: StreamInfo, entry: Entry, skip: int, body: Body, uptime_ns: int) -> int:
    """How many of the oldest row's records must go."""
    policy, left = info.retention, entry.count - skip
    if policy.max_age_s and uptime_ns - entry.uptime_ns > policy.max_age_s * 1e9:
        return left
    count = max(0, info.records - policy.max_records) if policy.max_records else 0
    surplus = info.bytes - policy.max_bytes if policy.max_bytes else 0
    if surplus > 0:
        most = min(left, info.records - 1)
        if not skip and most == left and entry.size <= surplus:
            return left
        sizes = _sizes(entry, body)
        by_bytes = 0
        while surplus > 0 and by_bytes < most:
            surplus -= sizes[skip + by_bytes]
            by_bytes += 1
        count = max(count, by_bytes)
    return min(count, left)


def _size(entry: Entry, start: int, stop: int, body: Body) -> int:
    return sum(_sizes(entry, body)[start:stop])


def _sizes(entry: Entry, body: Body) -> list[int]:
    """The sizes of a row's records; where it is damaged, what they are on average."""
    data = body(entry)
    try:
        if data is not None:
            return list(sizes_of(entry, data))
    except Damaged:
        pass  # readers are told when they come to it
    return [entry.size // entry.count] * entry.count
