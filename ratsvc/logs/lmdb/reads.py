"""One read: what comes next of some streams, in offset order, until it is enough.

A few streams are merged, each read by its index. Many are found by a look through all rows from the place on, in
steps that give way to others. What these commit meanwhile is left to the next read: it may be of streams that this one
does not look for, and must not be passed over.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Sequence

from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.logs.lmdb.places import Place, Reader, order

MERGED = 32
ROWS_A_READ = 500
LOOKS_A_READ = 2_000


async def read(reader: Reader, wanted: Sequence[Place], after: int, max_bytes: int, end: int) -> list[Batch | Gap]:
    """See `ratsvc.logs.protocol.Log.read`; `end` is the log's last offset."""
    if len(wanted) <= MERGED:
        parts = [reader.one(place, after) for place in wanted]
        return _taken(parts[0] if len(parts) == 1 else heapq.merge(*parts, key=order), max_bytes)
    by_number = {place.sid: place for place in wanted}
    position: int | None = after
    while position is not None and position < end:
        found, position = reader.many(by_number, position, LOOKS_A_READ, max_bytes)
        if known := [item for item in found if order(item) <= end]:
            return _taken(known, max_bytes)
        await asyncio.sleep(0)
    return []


def _taken(items: Iterable[Batch | Gap], max_bytes: int) -> list[Batch | Gap]:
    """The first of them, until `max_bytes` or enough rows are reached."""
    found: list[Batch | Gap] = []
    size = 0
    for item in items:
        found.append(item)
        if isinstance(item, Gap):
            continue  # never the last one: what lies within it is not read yet
        size += item.size
        if size >= max_bytes or len(found) >= ROWS_A_READ:
            break
    return found
