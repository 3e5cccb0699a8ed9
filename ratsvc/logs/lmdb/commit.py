"""A commit: rows, index, streams, producers and the log's own record in one transaction, then the mark beside it.

So that they agree whenever the process or the machine stops. It gives way to others after every MiB or so. When its
outcome is not known, nothing may be written after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import lmdb

from ratsvc.core.dedupe import Claim
from ratsvc.core.registry import MAX_TOMBSTONES, Registry
from ratsvc.logs.lmdb.directory import Directory, Mark
from ratsvc.logs.lmdb.kept import META, Change, Meta
from ratsvc.logs.lmdb.places import Place
from ratsvc.logs.lmdb.producers import Producers
from ratsvc.logs.lmdb.rows import INDEX_KEY, ROW_KEY, Row, entry_of, sealed
from ratsvc.logs.lmdb.store import MIB, Store

SWEPT_A_COMMIT = 2_000
_STEP = 500


class Commits:
    """Makes them.

    Args:
        trash: up to which offset nobody may read rows any more, by the number of a stream.
    """

    def __init__(
        self, store: Store, directory: Directory, registry: Registry, producers: Producers, trash: dict[int, int]
    ) -> None:
        self._store = store
        self._directory = directory
        self._registry = registry
        self._producers = producers
        self.trash = trash
        self.is_broken = False
        """Whether nothing may be written any more."""

    async def make(
        self,
        meta: Meta,
        rows: Sequence[Row],
        claims: Sequence[Claim],
        changes: Mapping[str, Change],
        removed: Place | None,
    ) -> None:
        """Makes one.

        Raises:
            DiskFull: nothing was written; it may be tried again.
            lmdb.Error: what is on the disk is not known.
        """

        async def fill(transaction: lmdb.Transaction) -> dict[int, int]:
            await put_rows(self._store, transaction, rows)
            self._producers.put(transaction, claims)
            trash = dict(self.trash)
            for name, change in changes.items():
                if change.info.evicted_through:
                    trash[change.place.sid] = change.info.evicted_through
                transaction.put(name.encode(), change.sealed(), db=self._store[b"streams"])
                transaction.delete(name.encode(), db=self._store[b"tombstones"])
            if removed is not None:
                bury(self._store, transaction, self._registry, removed)
            left = await sweep(self._store, transaction, trash, SWEPT_A_COMMIT + 4 * len(rows))
            transaction.put(META, sealed(meta), db=self._store[b"meta"])
            return left

        try:
            self.trash = await self._store.write(fill, sum(len(row.body) for row in rows), meta.longest)
        except lmdb.Error:
            self.is_broken = True
            raise
        self._directory.set_mark(Mark(meta.epoch, meta.commits, meta.last_offset, meta.chain))
        self._producers.written()


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
