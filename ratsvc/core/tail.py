"""The tail: the newest batches of all streams, each encoded at most once per format for all its readers.

Readers that are a little behind read from here, so that they share batches and encodings whatever the engine.
It is bounded in bytes, what was made of the batches included. A batch that leaves the tail cools: it lets go of
its encodings, and from then on nothing made of it is kept.
Cost: O(1) a batch to add; O(batches after the place) to read.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo


class Tail:
    """The newest batches, oldest first.

    Args:
        max_bytes: of records and encodings; the newest batch is always kept.
        floor: the newest offset of the log: what comes after it will be here.
    """

    def __init__(self, max_bytes: int, floor: int = 0) -> None:
        self._max = max_bytes
        self.batches: deque[Batch] = deque()
        """Oldest first."""
        self._of_stream: dict[str, deque[Batch]] = {}
        self.floor = floor
        """Everything after this offset is here."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.batches)

    def add(self, batch: Batch) -> None:
        """Takes a batch that was committed and delivered: with the encodings that its readers needed."""
        self.batches.append(batch)
        self._of_stream.setdefault(batch.stream, deque()).append(batch)
        batch.count(self._grew)
        self._grew(batch.size + batch.encoded_size)

    def _grew(self, size: int) -> None:
        self.bytes += size
        while self.bytes > self._max and len(self.batches) > 1:
            old = self.batches.popleft()
            of_stream = self._of_stream[old.stream]
            of_stream.popleft()
            if not of_stream:
                del self._of_stream[old.stream]
            self.bytes -= old.size + old.encoded_size
            old.cool()
            self.floor = old.last

    def read(self, streams: Sequence[StreamInfo], after: int, max_bytes: int) -> list[Batch]:
        """What `Log.read` gives, for an `after` that is not below `floor`."""
        parts = [self._since(info, after) for info in streams if info.records and info.last_offset > after]
        return merged(parts, max_bytes)

    def _since(self, info: StreamInfo, after: int) -> list[Batch]:
        after = max(after, info.evicted_through)
        found: list[Batch] = []
        for batch in reversed(self._of_stream.get(info.name, ())):
            if batch.last <= after:
                break
            found.append(batch if batch.first > after else batch.part(after + 1 - batch.first, len(batch)))
        found.reverse()
        return found


def merged(parts: Sequence[Iterable[Batch]], max_bytes: int) -> list[Batch]:
    """The first batches of several streams in one order, until they have `max_bytes`."""
    found: list[Batch] = []
    size = 0
    for batch in parts[0] if len(parts) == 1 else heapq.merge(*parts, key=lambda batch: batch.first):
        found.append(batch)
        size += batch.size
        if size >= max_bytes:
            break
    return found
