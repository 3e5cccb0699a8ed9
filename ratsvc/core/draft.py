"""Drafts: the records of one publish on their way to a commit, where the sequencer makes a batch of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratsvc.core.kept import Kept
from ratsvc.core.record import Batch

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
        records: serialised `rat.v1.Record` messages, as a list or as they are kept.
        keys: one a record, "" where it has none; None when none has.
        events: as the keys.
        values: the decoded values, where a check made them anyway.
        flushed: whether it must be on disk before it is acknowledged, whatever the log's own durability.
    """

    __slots__ = ("events", "flushed", "journey", "kept", "keys", "producer", "stream", "trace", "values")

    def __init__(
        self,
        stream: str,
        records: Kept | list[bytes],
        keys: list[str] | None = None,
        events: list[str] | None = None,
        values: list[object] | None = None,
        producer: ProducerRef | None = None,
        *,
        flushed: bool = False,
    ) -> None:
        self.stream = stream
        self.kept = records if isinstance(records, Kept) else Kept(records)
        self.keys = keys
        self.events = events
        self.values = values
        self.producer = producer
        self.flushed = flushed
        self.journey: Journey | None = None
        """What is told of it, where its publisher asked."""
        self.trace: Traced | None = None
        """What of it is traced."""

    def __len__(self) -> int:
        return len(self.kept)

    def batch(self, offsets: range, time_ns: int, make: Callable[..., Batch] | None = None) -> Batch:
        """Its last records, as many as there are offsets, as a batch.

        Args:
            make: takes what `Batch` does.
        """
        make = Batch if make is None else make
        dropped = len(self) - len(offsets)
        if not dropped:
            return make(self.stream, offsets, time_ns, self.kept, self.keys, self.events, self.values, self.trace)
        return make(
            self.stream,
            offsets,
            time_ns,
            self.kept.each[dropped:],
            self.keys[dropped:] if self.keys else None,
            self.events[dropped:] if self.events else None,
            self.values[dropped:] if self.values else None,
            self.trace,
        )
