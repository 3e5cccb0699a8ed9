"""Producers of a stopped log: what its database says of them, and what its journal adds.

What is damaged is told and left out: a producer's row, or of its publishes those before a damaged place, since which
one that was is not known. Memory: one producer, and the journal's claims.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ratsvc.core.dedupe import REMEMBERED, Claim, Dedupe, Producer
from ratsvc.logs.lmdb.leftover import groups_left
from ratsvc.logs.lmdb.producers import SLOT, KeptProducer, kept_of, place_of
from ratsvc.logs.lmdb.rows import Damaged
from ratsvc.logs.lmdb.stopped import StoppedLog


def producers(log: StoppedLog) -> Iterator[tuple[str, Producer]]:
    """All of them by their ids, each with how long it was idle as `used_ns`: 0 is now, less is before."""
    uptime = log.meta.uptime_ns if log.meta else 0
    journal: dict[str, list[Claim]] = defaultdict(list)
    for group in groups_left(log.journal, log.report):
        if group.is_after(log.last_offset):
            for claim in group.claims:
                journal[claim.id].append(claim.claim())
    for key, value in log.pages.items(b"producers"):
        try:
            kept = kept_of(key, value)
        except Damaged as error:
            log.report(str(error))
            continue
        known = Producer(kept.epoch, kept.expected, min(0, kept.used_ns - uptime), *_publishes(log, kept))
        yield kept.id, _with(kept.id, known, journal.pop(kept.id, []))
    for id_, claims in journal.items():
        yield id_, _with(id_, None, claims)


def _with(id_: str, known: Producer | None, claims: list[Claim]) -> Producer:
    """A producer with what the journal adds."""
    dedupe = Dedupe(1, 0)
    table = dedupe.table(id_)
    if known is not None:
        table[id_] = known
    for claim in claims:
        dedupe.claim(claim, 0)
    found = table[id_]
    del found.sequences[:-REMEMBERED], found.offsets[:-REMEMBERED]
    return found


def _publishes(log: StoppedLog, kept: KeptProducer) -> tuple[list[int], list[int]]:
    """The first sequence numbers and offsets of a producer's newest publishes."""
    places = {}
    for key, value in log.pages.items(b"places", SLOT.pack(kept.number, 0)):
        if key[:4] != kept.number.to_bytes(4, "big"):
            break
        try:
            places[key] = place_of(key, value, repr(kept.id))
        except Damaged as error:
            log.report(str(error))
    found: list[tuple[int, int]] = []
    for publish in range(kept.publishes - 1, max(0, kept.publishes - REMEMBERED) - 1, -1):
        epoch, sequence, offset = places.get(SLOT.pack(kept.number, publish % REMEMBERED), (None, 0, 0))
        if epoch != kept.epoch or not offset:  # 0: an import that knew none
            break
        found.append((sequence, offset))
    found.reverse()
    return [sequence for sequence, _ in found], [offset for _, offset in found]
