"""The newest record of each key of one stream: where they are, in the order of their offsets.

Offsets alone are kept, in two columns to which each record adds a row: its offset and its label, the key and, where
there is one, the event type. A row whose label has a newer one is dead; the dead are skipped, and swept when they are
as many as the living. So a reader takes the living rows from its place on, whatever was added since.
Records without a key are not looked at.
Cost: 0.6 µs a record with a key to add, O(log rows) to find a place; 90 bytes a key beside its text, or twice that.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import repeat

from ratsvc.core.record import Batch

_SPARE_ROWS = 64


class Newest:
    """Keys (with event types) and the offsets of their newest records."""

    __slots__ = ("_head", "_labels", "_of_key", "_of_label", "_offsets")

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._labels: list[str] = []
        self._head = 0
        self._of_label: dict[str, int] = {}
        self._of_key = self._of_label
        """The same, until there is a record with an event type."""

    def __len__(self) -> int:
        return len(self._of_label)

    def add(self, batch: Batch) -> None:
        """Takes a batch, newer than all before."""
        if batch.keys is None:
            return
        if batch.events is not None and self._of_key is self._of_label:
            self._of_key = dict(self._of_label)
        for offset, key, event in zip(batch.offsets, batch.keys, batch.events or repeat(""), strict=False):
            if key:
                label = f"{key}\n{event}" if event else key
                self._offsets.append(offset)
                self._labels.append(label)
                self._of_label[label] = self._of_key[key] = offset
        if len(self._offsets) > 2 * len(self._of_label) + _SPARE_ROWS:
            self._sweep()

    def forget(self, through: int) -> None:
        """Lets go of the records up to an offset: they are not kept any more."""
        while self._head < len(self._offsets) and self._offsets[self._head] <= through:
            offset, label = self._offsets[self._head], self._labels[self._head]
            self._head += 1
            if self._of_label.get(label) == offset:
                del self._of_label[label]
            key = label.partition("\n")[0]
            if self._of_key.get(key) == offset:
                del self._of_key[key]

    def after(
        self, offset: int, point: int, count: int, keys: frozenset[str] | None, events: frozenset[str] | None
    ) -> list[int]:
        """The offsets of the newest records of each key, after `offset` and up to `point`: the first `count`.

        Args:
            keys: of these keys alone.
            events: what is newest is sought among these event types alone.
        """
        found: list[int] = []
        if keys is not None:
            newest = (self._newest(key, events) for key in keys)
            return sorted(at for at in newest if offset < at <= point)[:count]
        for at in range(bisect_right(self._offsets, offset, self._head), len(self._offsets)):
            if self._offsets[at] > point or len(found) == count:
                break
            if self._newest(self._labels[at].partition("\n")[0], events) == self._offsets[at]:
                found.append(self._offsets[at])
        return found

    def _newest(self, key: str, events: frozenset[str] | None) -> int:
        """The newest offset of a key; 0 when there is none."""
        if events is None:
            return self._of_key.get(key, 0)
        return max(self._of_label.get(f"{key}\n{event}" if event else key, 0) for event in events)

    def _sweep(self) -> None:
        living = [
            (offset, label)
            for offset, label in zip(self._offsets[self._head :], self._labels[self._head :], strict=True)
            if self._of_label[label] == offset
        ]
        self._offsets = array("Q", [offset for offset, _ in living])
        self._labels = [label for _, label in living]
        self._head = 0
