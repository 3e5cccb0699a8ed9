"""Drafts: the records of one publish on their way to a commit, where the sequencer makes a batch of them."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratsvc.core.record import Batch
from ratsvc.core.run import cut

if TYPE_CHECKING:
    from ratsvc.core.journey import Journey
    from ratsvc.core.trace import Traced


@dataclass(slots=True, frozen=True)
class ProducerRef:
    """Who published, and which number the first record has: see `rat.v1.ProducerRef`."""

    id: str
    epoch: int
    sequence: int


class Draft:
    """The records of one publish, checked, without offsets.

    Args:
        records: each a serialised `rat.v1.Record`; None where there is their `run` alone, with their `sizes`.
        keys: one a record, "" where it has none; None when none has.
        events: as the keys.
        values: the decoded values, where a check made them anyway.
        flushed: whether it must be on disk before it is acknowledged, whatever the log's own durability.
        run: the records as they came, where they came as one run.
        size: bytes of all records, where they were counted.
        sizes: bytes of each record, where they are known.
    """

    __slots__ = (
        "_records", "_sizes", "events", "flushed", "journey", "keys", "producer", "run", "size", "stream", "trace",
        "values",
    )  # fmt: skip

    def __init__(
        self,
        stream: str,
        records: list[bytes] | None,
        keys: list[str] | None = None,
        events: list[str] | None = None,
        values: list[object] | None = None,
        producer: ProducerRef | None = None,
        *,
        flushed: bool = False,
        run: bytes | None = None,
        size: int | None = None,
        sizes: list[int] | array[int] | None = None,
    ) -> None:
        self.stream = stream
        self._records = records
        self.run = run
        self._sizes = sizes
        self.keys = keys
        self.events = events
        self.values = values
        self.producer = producer
        self.flushed = flushed
        self.size = sum(sizes or map(len, records or ())) if size is None else size
        self.journey: Journey | None = None
        """What is told of it, where its publisher asked."""
        self.trace: Traced | None = None
        """What of it is traced."""

    def __len__(self) -> int:
        known = self._sizes if self._records is None else self._records
        assert known is not None
        return len(known)

    @property
    def records(self) -> list[bytes]:
        """Each a serialised `rat.v1.Record`."""
        if self._records is None:
            assert self.run is not None
            assert self._sizes is not None
            self._records = cut(self.run, self._sizes)
        return self._records

    def rewrite(self, records: list[bytes]) -> None:
        """Puts these in the records' place, one for each: what was known of the bytes of those is forgotten."""
        self._records, self.run, self._sizes = records, None, None
        self.size = sum(map(len, records))

    def batch(self, offsets: range, time_ns: int, make: Callable[..., Batch] | None = None) -> Batch:
        """Its last records, as many as there are offsets, as a batch.

        Args:
            make: takes what `Batch` does.
        """
        make = Batch if make is None else make
        dropped = len(self) - len(offsets)
        if not dropped:
            return make(
                self.stream, offsets, time_ns, self._records, self.keys, self.events, self.values, self.size, self.run,
                self.trace, self._sizes,
            )  # fmt: skip
        return make(
            self.stream,
            offsets,
            time_ns,
            self.records[dropped:],
            self.keys[dropped:] if self.keys else None,
            self.events[dropped:] if self.events else None,
            self.values[dropped:] if self.values else None,
            trace=self.trace,
        )
