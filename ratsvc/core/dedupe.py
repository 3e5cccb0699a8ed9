"""Idempotent producers: which records of a publish are new.

A producer numbers its records 1, 2, 3… per epoch. What is below the next expected number is a duplicate and is
acknowledged with the offset it was given; a number above it is refused, and so is an older epoch (a zombie).
For each producer the places of its newest `REMEMBERED` publishes are kept, so that a duplicate's offset is known
for every publish that can still be in flight.

An idempotency key (of one HTTP request) and the id of an upload are producers for one purpose: their ids begin with
`~`, which no producer's may. Of these the newest are remembered, and the oldest forgotten.

What the publishes of a commit change is taken back by `rollback` when the commit fails, and final with `commit`.
Cost: O(log REMEMBERED) a publish; nothing per record.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from ratsvc.core.draft import ProducerRef
from ratsvc.errors import Busy, OutOfSequence, ProducerFenced

REMEMBERED = 1_024
KEY_PREFIX = "~"
EXPIRED_A_CALL = 100


@dataclass(slots=True, frozen=True)
class Claim:
    """New records of a producer: `count` of them, numbered from `sequence` on, stored from `offset` on."""

    ref: ProducerRef
    sequence: int
    count: int
    offset: int


@dataclass(slots=True)
class Producer:
    """What is remembered of one producer."""

    epoch: int
    expected: int = 1
    used_ns: int = 0
    sequences: list[int] = field(default_factory=list)
    """The first sequence numbers of its newest publishes, ascending."""
    offsets: list[int] = field(default_factory=list)
    """The offsets that those were given."""

    def offset_of(self, sequence: int) -> int:
        """The offset given to `sequence`, or 0 when that is no longer known."""
        at = bisect_right(self.sequences, sequence) - 1
        return self.offsets[at] + sequence - self.sequences[at] if at >= 0 else 0


class Dedupe:
    """All producers.

    Args:
        max_producers: how many are remembered; beyond it new ones are refused, and a live one is never forgotten.
        idle_ns: after so long without a record a producer may be forgotten.
        max_keys: how many idempotency keys are remembered.
    """

    def __init__(self, max_producers: int, idle_ns: int, max_keys: int = 10_000) -> None:
        self._max = max_producers
        self._max_keys = max_keys
        self._idle_ns = idle_ns
        self._undo: dict[str, tuple[Producer | None, int, int, int]] = {}
        self.producers: dict[str, Producer] = {}
        self.keys: dict[str, Producer] = {}
        self.forgotten: list[str] = []
        """Ids that were forgotten; whoever keeps them elsewhere takes them from here. Bounded by the two limits."""

    def duplicates(self, ref: ProducerRef, count: int, now_ns: int) -> tuple[int, int]:
        """How many of `count` records from `ref.sequence` on were stored before, and the first one's offset then.

        Raises:
            ProducerFenced: a newer epoch of this producer was seen.
            OutOfSequence: numbers before `ref.sequence` are missing.
            Busy: too many producers are remembered.
        """
        known = self.table(ref.id).get(ref.id)
        if known is None:
            self._make_room(ref, now_ns)
        elif ref.epoch < known.epoch:
            raise ProducerFenced(
                f"producer {ref.id} has epoch {known.epoch} by now; {ref.epoch} is shut out", field="producer.epoch"
            )
        expected = known.expected if known is not None and known.epoch == ref.epoch else 1
        if ref.sequence > expected:
            raise OutOfSequence(
                f"producer {ref.id} sent sequence {ref.sequence}, expected {expected}", field="producer.sequence"
            )
        if ref.sequence == expected or known is None:
            return 0, 0
        return min(count, expected - ref.sequence), known.offset_of(ref.sequence)

    def claim(self, claim: Claim, now_ns: int) -> None:
        """Remembers that records are being stored."""
        ref = claim.ref
        table = self.table(ref.id)
        known = table.get(ref.id)
        if ref.id not in self._undo:
            before = (known.expected, known.used_ns, len(known.sequences)) if known else (0, 0, 0)
            self._undo[ref.id] = (known, *before)
        if known is None or known.epoch != ref.epoch:
            known = Producer(ref.epoch)
        table.pop(ref.id, None)
        table[ref.id] = known  # the last: the first is the one that was idle for longest
        known.expected = claim.sequence + claim.count
        known.used_ns = now_ns
        known.sequences.append(claim.sequence)
        known.offsets.append(claim.offset)

    def commit(self) -> None:
        """Makes final what was claimed."""
        for id_ in self._undo:
            known = self.table(id_).get(id_)
            if known is not None and len(known.sequences) > 2 * REMEMBERED:
                del known.sequences[:-REMEMBERED], known.offsets[:-REMEMBERED]
        self._undo.clear()

    def rollback(self) -> None:
        """Takes back what was claimed."""
        for id_, (known, expected, used_ns, count) in self._undo.items():
            if known is None:
                self.table(id_).pop(id_, None)
                continue
            self.table(id_)[id_] = known
            known.expected, known.used_ns = expected, used_ns
            del known.sequences[count:], known.offsets[count:]
        self._undo.clear()

    def table(self, id_: str) -> dict[str, Producer]:
        """Where a producer of that id is remembered."""
        return self.keys if id_.startswith(KEY_PREFIX) else self.producers

    def _make_room(self, ref: ProducerRef, now_ns: int) -> None:
        if ref.id.startswith(KEY_PREFIX):
            while len(self.keys) >= self._max_keys:
                self._forget(next(iter(self.keys)))
            return
        if len(self.producers) < self._max:
            return
        if not self._is_idle(self.producers, now_ns):
            raise Busy(f"{self._max} producers are remembered and all were in use lately", retry_after_s=60)
        self._forget(next(iter(self.producers)))

    def expire(self, now_ns: int) -> None:
        """Forgets producers that were idle for too long, a bounded number a call."""
        for table in (self.producers, self.keys):
            for _ in range(EXPIRED_A_CALL):
                if not self._is_idle(table, now_ns):
                    break
                self._forget(next(iter(table)))

    def _is_idle(self, table: dict[str, Producer], now_ns: int) -> bool:
        """Whether the first of `table`, the longest idle, may be forgotten."""
        first = next(iter(table.values()), None)
        return first is not None and now_ns - first.used_ns >= self._idle_ns

    def _forget(self, id_: str) -> None:
        del self.table(id_)[id_]
        self._undo.pop(id_, None)
        self.forgotten.append(id_)
