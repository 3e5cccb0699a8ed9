"""Finds places in streams: by time, and counted from the end. Damage in the index is said in the service's own log."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from ratsvc.logs.lmdb.places import Place, entries, newest_first
from ratsvc.logs.lmdb.rows import Damaged, Entry
from ratsvc.logs.lmdb.store import Store

_log = structlog.get_logger()


def first_since(store: Store, place: Place, time_ns: int) -> Entry | None:
    """The first row of a stream that was committed at or after `time_ns`: times never go back."""
    info = place.info
    low, high = info.first_offset, info.last_offset + 1
    if not info.records or info.updated_ns < time_ns:
        return None
    found = None
    while low < high:
        middle = (low + high) // 2
        entry = next(iter(rows_of(store, place, middle)), None)
        if entry is None or entry.time_ns >= time_ns:
            found = entry or found
            high = min(middle, entry.first) if entry and entry.first > low else low if entry else middle
        else:
            low = entry.last + 1
    return found


def newest(store: Store, place: Place, count: int) -> list[int]:
    """The newest `count` offsets of a stream, newest first."""
    offsets: list[int] = []
    try:
        for entry in newest_first(store, place):
            first = max(entry.first, place.info.first_offset)
            if first > entry.last or not place.info.records:
                break
            offsets += range(entry.last, first - 1, -1)
            if len(offsets) >= count:
                break
    except Damaged as error:
        _log.error("log_damaged", stream=place.info.name, error=str(error))
    return offsets


def rows_of(store: Store, place: Place, offset: int) -> Iterator[Entry]:
    """The rows of a stream from the one that holds `offset`, or the first after it."""
    try:
        yield from entries(store, place.sid, offset, place.recent)
    except Damaged as error:
        _log.error("log_damaged", stream=place.info.name, error=str(error))
