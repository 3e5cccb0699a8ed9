"""Idempotent producers in the database: what `Dedupe` knows, in the transaction that stores their records.

A producer has one row (its epoch, what it is expected to send, when it was used) and a ring of the places of its
newest publishes, so that a publish costs two small puts.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import lmdb

from ratsvc.core.dedupe import REMEMBERED, Claim, Dedupe, Producer
from ratsvc.logs.lmdb.rows import Damaged, checksum, sealed, text_of, unsealed
from ratsvc.logs.lmdb.store import Store

SLOT = struct.Struct(">IH")
"""Number of the producer, place in its ring."""
_PLACE = struct.Struct(">QQQI")


class KeptProducer(NamedTuple):
    """A producer's row."""

    id: str
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
        self._changed: dict[str, _Ring] = {}
        kept: list[tuple[str, KeptProducer]] = []
        with store.cursor(b"producers") as cursor:
            for key, value in cursor:
                one = kept_of(key, value)
                kept.append((one.id, one))
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
        forgotten = set(self._dedupe.forgotten)
        changed: dict[str, _Ring] = {}
        self._changed = changed
        for claim in claims:
            id_ = claim.ref.id
            one = self._dedupe.table(id_).get(id_)
            if one is None or claim.ref.epoch != one.epoch or claim.sequence < one.sequences[0]:
                continue  # forgotten since, or another epoch began
            ring = changed.get(id_)
            if ring is None:
                known = None if id_ in forgotten else self._rings.get(id_)
                ring = changed[id_] = copy.copy(known) if known else _Ring(self._next, 0)
                self._next += known is None
            place = SLOT.pack(ring.number, ring.publishes % REMEMBERED)
            found = (claim.ref.epoch, claim.sequence, claim.offset)
            transaction.put(place, _PLACE.pack(*found, _check(place, found)), db=places)
            ring.publishes += 1
        for id_, ring in changed.items():
            one = self._dedupe.table(id_)[id_]
            row = KeptProducer(id_, ring.number, one.epoch, one.expected, one.used_ns, ring.publishes)
            transaction.put(id_.encode(), sealed(row), db=producers)

    def written(self) -> None:
        """The transaction is on the disk."""
        for id_ in self._dedupe.forgotten[: self._forgotten]:
            self._rings.pop(id_, None)
        self._rings.update(self._changed)
        del self._dedupe.forgotten[: self._forgotten]

    def _places(self, kept: KeptProducer) -> list[tuple[int, int]]:
        found = []
        with self._store.cursor(b"places") as cursor:
            more = cursor.set_range(SLOT.pack(kept.number, 0))
            while more and cursor.key()[:4] == kept.number.to_bytes(4, "big"):
                epoch, sequence, offset = place_of(bytes(cursor.key()), bytes(cursor.value()), repr(kept.id))
                if epoch == kept.epoch:
                    found.append((sequence, offset))
                more = cursor.next()
        return found


def kept_of(key: bytes | memoryview, value: bytes | memoryview) -> KeptProducer:
    """A producer's row. Raises Damaged."""
    id_ = text_of(key, "a producer")
    kept = unsealed(value, KeptProducer, f"producer {id_!r}")
    if kept.id != id_:
        raise Damaged(f"producer {id_!r} is kept in the place of {kept.id!r}")
    return kept


def place_of(key: bytes, value: bytes, whose: str) -> tuple[int, int, int]:
    """Epoch, sequence and offset of a place in a ring. Raises Damaged, which names the producer as `whose`."""
    if len(value) != _PLACE.size:
        raise Damaged(f"a place of producer {whose} has a wrong size")
    epoch, sequence, offset, check = _PLACE.unpack(value)
    if check != _check(key, (epoch, sequence, offset)):
        raise Damaged(f"a place of producer {whose} does not match its checksum")
    return epoch, sequence, offset


def _check(key: bytes, place: tuple[int, int, int]) -> int:
    """The checksum of a place in a ring."""
    return checksum(key + b"%d %d %d" % place)
