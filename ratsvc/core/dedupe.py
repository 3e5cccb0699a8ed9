"""Idempotent producers: which records of a publish are new.

A producer numbers its records 1, 2, 3… per epoch. What is below the next expected number is a duplicate and is
acknowledged with the offset it was given; a number above it is refused, and so is an older epoch (a zombie).
For each producer the places of its newest `REMEMBERED` publishes are kept, so that a duplicate's offset is known
for every publish that can still be in flight.

An idempotency key (of one HTTP request) is a producer of one publish: its id begins with `~`, which no producer's
may. Of these the newest are remembered, and the oldest forgotten.

Cost: O(log REMEMBERED) a publish; nothing per record.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from ratsvc.core.record import ProducerRef
from ratsvc.errors import Busy, OutOfSequence, ProducerFenced

REMEMBERED = 1_024
KEY_PREFIX = "~"


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
        self.producers: dict[str, Producer] = {}
        self.keys: dict[str, Producer] = {}

    def duplicates(self, ref: ProducerRef, count: int, now_ns: int) -> tuple[int, int]:
        """How many of `count` records from `ref.sequence` on were stored before, and the first one's offset then.

        Raises:
            ProducerFenced: a newer epoch of this producer was seen.
            OutOfSequence: numbers before `ref.sequence` are missing.
            Busy: too many producers are remembered.
        """
        known = self._table(ref).get(ref.id)
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

    def stored(self, ref: ProducerRef, sequence: int, count: int, offset: int, now_ns: int) -> None:
        """Remembers that `count` records from `sequence` on were stored from `offset` on."""
        table = self._table(ref)
        known = table.get(ref.id)
        if known is None or known.epoch != ref.epoch:
            known = table[ref.id] = Producer(ref.epoch)
        known.expected = sequence + count
        known.used_ns = now_ns
        known.sequences.append(sequence)
        known.offsets.append(offset)
        if len(known.sequences) > 2 * REMEMBERED:
            del known.sequences[:-REMEMBERED], known.offsets[:-REMEMBERED]

    def _table(self, ref: ProducerRef) -> dict[str, Producer]:
        return self.keys if ref.id.startswith(KEY_PREFIX) else self.producers

    def _make_room(self, ref: ProducerRef, now_ns: int) -> None:
        if ref.id.startswith(KEY_PREFIX):
            while len(self.keys) >= self._max_keys:
                del self.keys[next(iter(self.keys))]
            return
        if len(self.producers) < self._max:
            return
        oldest = min(self.producers.items(), key=lambda item: item[1].used_ns)
        if now_ns - oldest[1].used_ns < self._idle_ns:
            raise Busy(f"{self._max} producers are remembered and all were in use lately", retry_after_s=60)
        del self.producers[oldest[0]]
