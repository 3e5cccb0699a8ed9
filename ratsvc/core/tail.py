"""The tail: the newest batches of all streams, each encoded at most once per format for all its readers.

It is bounded in bytes, what was made of the batches included. A batch that leaves the tail cools: it lets go of
its encodings, and from then on nothing made of it is kept.
Cost: O(1) a batch.
"""

from __future__ import annotations

from collections import deque

from ratsvc.core.record import Batch


class Tail:
    """The newest batches, oldest first.

    Args:
        max_bytes: of records and encodings; the newest batch is always kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._batches: deque[tuple[Batch, int]] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, batch: Batch) -> None:
        """Takes a batch that was committed and delivered: with the encodings that its readers needed."""
        cost = batch.size + batch.encoded_size
        self._batches.append((batch, cost))
        self.bytes += cost
        while self.bytes > self._max and len(self._batches) > 1:
            old, cost = self._batches.popleft()
            old.cool()
            self.bytes -= cost
