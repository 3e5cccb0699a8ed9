"""Idempotent producers in the database: what `Dedupe` knows, in the transaction that stores their records.

A producer has one row (its epoch, what it is expected to send, when it was used) and a ring of the places of its
newest publishes, so that a publish costs two small puts.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import lmdb

from ratsvc.core.dedupe import REMEMBERED, Claim, Dedupe, Producer
from ratsvc.logs.lmdb.rows import Damaged, sealed, unsealed
from ratsvc.logs.lmdb.store import Store

SLOT = struct.Struct(">IH")
PLACE = struct.Struct(">QQQ")


class KeptProducer(NamedTuple):
    """A producer's row."""

    number: int
    epoch: int
    expected: int
    used_ns: int
    publishes: int
    """How many were ever put into the ring."""


@dataclass(slots=True)
class _Ring:
    number: int
    publishes: int


class Producers:
    """All producers that the database knows.

    Raises:
        Damaged: they cannot be read.
    """

    def __init__(self, store: Store, dedupe: Dedupe) -> None:
        self._store = store
        self._dedupe = dedupe
        self._rings: dict[str, _Ring] = {}
        self._next = 1
        self._forgotten = 0
        kept: list[tuple[str, KeptProducer]] = []
        with store.cursor(b"producers") as cursor:
            for key, value in cursor:
                id_ = bytes(key).decode()
                kept.append((id_, unsealed(value, KeptProducer, f"producer {id_}")))
        for id_, one in sorted(kept, key=lambda item: item[1].used_ns):
            self._rings[id_] = _Ring(one.number, one.publishes)
            self._next = max(self._next, one.number + 1)
            places = sorted(self._places(one))
            dedupe.table(id_)[id_] = Producer(
                one.epoch, one.expected, one.used_ns, [s for s, _ in places], [o for _, o in places]
            )

    def put(self, transaction: lmdb.Transaction, claims: Sequence[Claim]) -> None:
        """Writes down claims that were made on the dedupe, and removes what it has forgotten."""
        producers, places = self._store[b"producers"], self._store[b"places"]
        self._forgotten = len(self._dedupe.forgotten)
        for id_ in self._dedupe.forgotten:
            ring = self._rings.get(id_)
            if ring is not None:
                transaction.delete(id_.encode(), db=producers)
                for slot in range(min(ring.publishes, REMEMBERED)):
                    transaction.delete(SLOT.pack(ring.number, slot), db=places)
        touched = set()
        for claim in claims:
            id_ = claim.ref.id
            ring = self._rings.get(id_)
            if ring is None or id_ in self._dedupe.forgotten[: self._forgotten]:
                ring = self._rings[id_] = _Ring(self._next, 0)
                self._next += 1
            place = SLOT.pack(ring.number, ring.publishes % REMEMBERED)
            transaction.put(place, PLACE.pack(claim.ref.epoch, claim.sequence, claim.offset), db=places)
            ring.publishes += 1
            touched.add(id_)
        for id_ in touched:
            known = self._dedupe.table(id_).get(id_)
            if known is not None:
                ring = self._rings[id_]
                row = KeptProducer(ring.number, known.epoch, known.expected, known.used_ns, ring.publishes)
                transaction.put(id_.encode(), sealed(row), db=producers)

    def written(self) -> None:
        """The transaction is on the disk."""
        for id_ in self._dedupe.forgotten[: self._forgotten]:
            if id_ not in self._dedupe.table(id_):
                self._rings.pop(id_, None)
        del self._dedupe.forgotten[: self._forgotten]

    def _places(self, kept: KeptProducer) -> list[tuple[int, int]]:
        found = []
        with self._store.cursor(b"places") as cursor:
            more = cursor.set_range(SLOT.pack(kept.number, 0))
            while more and cursor.key()[:4] == kept.number.to_bytes(4, "big"):
                try:
                    epoch, sequence, offset = PLACE.unpack(cursor.value())
                except struct.error:
                    raise Damaged("a place of a producer has a wrong size") from None
                if epoch == kept.epoch:
                    found.append((sequence, offset))
                more = cursor.next()
        return found
