"""What went wrong so far in this process, in numbers that `get_streaming_stats` tells."""

from __future__ import annotations

from threading import Lock
from typing import Final


class Count:
    """A number that only grows, from any thread."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = Lock()

    def add(self, more: int = 1) -> int:
        """Returns the number after `more` were added."""
        with self._lock:
            self.value += more
            return self.value


forgotten_streams: Final = Count()
"""Streams that were dropped without `end_stream`, and ended for it."""
skipped_chunks: Final = Count()
"""Items that `chunked_from_mapping` skipped."""
