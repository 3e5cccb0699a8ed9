"""The history: stretches of the log that readers who catch up share, each encoded at most once per format for all.

A stretch is what one read of the log gave for a set of streams: all that they have after one offset up to another. It
serves any reader of these streams whose place is within it, who then goes on at its end: so readers who began at
different places soon read the same stretches. Offsets are never given twice and a batch never changes, so a stretch
stays true; it is told as long as nothing of it was removed, by retention, a purge or a deletion.

A place is noted at first, and kept when it is read a second time: what only one reader reads costs a note, and drives
out nothing. Over the bound, which counts encodings as they are made, the least recently used goes first; so does what
nobody has asked for in a while (`tend`).
Cost: 2 µs to find a stretch or to note one; 2 µs a batch to keep it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from sys import getsizeof
from time import monotonic

from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo

IDLE_S = 60.0
"""After so long without a reader a stretch is let go."""
MAX_STRETCHES = 4_096
"""Notes included."""
DROPPED_A_CALL = 500
STRETCH_BYTES = 600
"""What a stretch, or a note of one, takes by itself."""
BATCH_BYTES = 1_000
"""What a batch takes beside its records, their sizes and labels."""

_AFTER = attrgetter("after")
_LAST = attrgetter("last")


class _Stretch:
    """What some streams have in (after, through]; without batches it is a note."""

    __slots__ = ("after", "batches", "firsts", "names", "size", "through", "used_at")

    def __init__(self, names: tuple[str, ...], after: int, through: int) -> None:
        self.names = names
        self.after = after
        self.through = through
        self.batches: list[Batch] = []
        self.firsts: dict[str, tuple[StreamInfo, int]] = {}
        """The streams of its batches, and the first offset of each."""
        self.size = STRETCH_BYTES + getsizeof(names) + sum(map(getsizeof, names))
        self.used_at = monotonic()

    def is_whole(self) -> bool:
        """Whether nothing of it was removed."""
        return all(not info.deleted and info.evicted_through < first for info, first in self.firsts.values())

    def since(self, after: int) -> list[Batch]:
        """What comes after an offset that lies in it."""
        if after == self.after:
            return self.batches
        found = self.batches[bisect_right(self.batches, after, key=_LAST) :]
        found[0] = found[0].part(bisect_right(found[0].offsets, after), len(found[0]))
        return found


class History:
    """Stretches of a log.

    Args:
        registry: the log's.
        max_bytes: of all that is kept; 0: nothing is.
    """

    def __init__(self, registry: Registry, max_bytes: int) -> None:
        self._registry = registry
        self._max = max_bytes
        self._of_names: dict[tuple[str, ...], list[_Stretch]] = {}
        """By place."""
        self._used: OrderedDict[_Stretch, None] = OrderedDict()
        """The least recently used first."""
        self.bytes = 0
        self.hits = 0
        """Reads that were answered from here."""
        self.misses = 0
        """Reads that the log answered."""

    def __len__(self) -> int:
        return len(self._used)

    def read(self, names: tuple[str, ...], after: int) -> list[Batch] | None:
        """What comes next after an offset, of the streams that names and patterns cover; None when that is not here."""
        stretch = self._around(names, after)
        if stretch is None or not stretch.batches:
            self.misses += 1
            return None
        self.hits += 1
        return stretch.since(after)

    def take(self, names: tuple[str, ...], after: int, found: Sequence[Batch | Gap]) -> Sequence[Batch | Gap]:
        """Takes what the log gave instead.

        Returns:
            The same, to be told: what is made of it is kept where others may want it.
        """
        last = found[-1] if found else None
        if not self._max or not isinstance(last, Batch):
            return found
        noted = self._around(names, after)
        stretch = _Stretch(names, after, last.last)
        if noted is not None:
            if noted.batches or not self._keep(stretch, found):
                return found
            if noted.after == after:
                self._drop(noted)
        stretches = self._of_names.setdefault(names, [])
        stretches.insert(bisect_left(stretches, after, key=_AFTER), stretch)
        self._used[stretch] = None
        self.bytes += stretch.size
        self._make_room()
        return stretch.batches or found

    def tend(self) -> None:
        """Lets go of what nobody has asked for in a while, a bounded part of it a call. Called often."""
        idle = monotonic() - IDLE_S
        for _ in range(DROPPED_A_CALL):
            oldest = next(iter(self._used), None)
            if oldest is None or oldest.used_at > idle:
                break
            self._drop(oldest)

    def _around(self, names: tuple[str, ...], after: int) -> _Stretch | None:
        """The stretch, or the note, in which an offset lies."""
        stretches = self._of_names.get(names, ())
        at = bisect_right(stretches, after, key=_AFTER)
        if not at or (found := stretches[at - 1]).through <= after:
            return None
        if not found.is_whole():
            self._drop(found)
            return None
        found.used_at = monotonic()
        self._used.move_to_end(found)
        return found

    def _keep(self, stretch: _Stretch, found: Sequence[Batch | Gap]) -> bool:
        """Puts batches into a stretch; False when one of their streams is not there any more, or some are damaged."""
        grew, firsts = partial(self._grew, stretch), stretch.firsts
        for batch in found:
            if isinstance(batch, Gap):
                return False
            if batch.stream not in firsts:
                info = self._registry.find(batch.stream)
                if info is None:
                    return False
                firsts[batch.stream] = info, batch.first
            stretch.batches.append(batch.again(grew))
            stretch.size += BATCH_BYTES + batch.size + 4 * len(batch)
            for labels in (batch.keys, batch.events):
                if labels:
                    stretch.size += getsizeof(labels) + sum(map(getsizeof, labels))
        return True

    def _grew(self, stretch: _Stretch, size: int) -> None:
        stretch.size += size
        self.bytes += size
        self._make_room()

    def _make_room(self) -> None:
        while self.bytes > self._max or len(self._used) > MAX_STRETCHES:
            self._drop(next(iter(self._used)))

    def _drop(self, stretch: _Stretch) -> None:
        del self._used[stretch]
        stretches = self._of_names[stretch.names]
        del stretches[bisect_left(stretches, stretch.after, key=_AFTER)]
        if not stretches:
            del self._of_names[stretch.names]
        self.bytes -= stretch.size
        for batch in stretch.batches:
            batch.cool()
