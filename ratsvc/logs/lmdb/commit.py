"""What a commit does to the tables, in its transaction: it gives way to others after every MiB or so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import lmdb

from ratsvc.core.registry import MAX_TOMBSTONES, Registry
from ratsvc.logs.lmdb.places import Place
from ratsvc.logs.lmdb.rows import INDEX_KEY, ROW_KEY, Row, entry_of
from ratsvc.logs.lmdb.store import MIB, Store

_STEP = 500


async def put_rows(store: Store, transaction: lmdb.Transaction, rows: Sequence[Row]) -> None:
    """Writes rows and their index."""
    table, index = store[b"rows"], store[b"index"]
    size = 0
    for row in rows:
        entry = row.entry
        transaction.put(ROW_KEY.pack(entry.first, entry.crc), row.body, db=table, append=True)
        transaction.put(INDEX_KEY.pack(row.sid, entry.first), entry.packed(), db=index)
        size += len(row.body)
        if size > MIB:
            size = 0
            await asyncio.sleep(0)


def bury(store: Store, transaction: lmdb.Transaction, registry: Registry, removed: Place) -> None:
    """Replaces a stream by its tombstone; its rows are left to `sweep`."""
    name, tombstones = removed.info.name.encode(), store[b"tombstones"]
    transaction.delete(name, db=store[b"streams"])
    if removed.info.last_offset:
        last = removed.info.last_offset.to_bytes(8, "big")
        if len(registry.tombstones) >= MAX_TOMBSTONES:
            transaction.delete(next(iter(registry.tombstones)).encode(), db=tombstones)
        transaction.put(name, last, db=tombstones)
        transaction.put(removed.sid.to_bytes(4, "big"), last, db=store[b"trash"])


async def sweep(store: Store, transaction: lmdb.Transaction, trash: dict[int, int], budget: int) -> dict[int, int]:
    """Removes up to `budget` rows that nobody may read any more; returns what is left to do.

    Args:
        trash: up to which offset that is so, by the number of a stream.
    """
    left = dict(trash)
    rows, steps = store[b"rows"], 0
    for sid, through in trash.items():
        with transaction.cursor(store[b"index"]) as cursor:
            cursor.set_range(INDEX_KEY.pack(sid, 0))
            while steps < budget and (key := cursor.key()):
                if INDEX_KEY.unpack(key)[0] != sid:
                    break
                entry = entry_of(key, cursor.value())
                if entry.last > through:
                    break
                transaction.delete(ROW_KEY.pack(entry.first, entry.crc), db=rows)
                cursor.delete()
                steps += 1
                if steps % _STEP == 0:
                    await asyncio.sleep(0)
        if steps >= budget:
            break
        del left[sid]
        transaction.delete(sid.to_bytes(4, "big"), db=store[b"trash"])
    return left
