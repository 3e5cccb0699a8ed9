"""Buffers for large encodings, used again: a large document then needs no memory that grows step by step.

A pool keeps a few buffers by size class and makes one when none is free; buffers over the largest size are let go.
From any thread; the lock is held for a few list operations, which is nothing beside what the buffers are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

SMALL_BYTES = 64 * 1024
MEDIUM_BYTES = 1024 * 1024
LARGE_BYTES = 16 * 1024 * 1024
KEPT = 4
"""Buffers of each class."""


@dataclass(slots=True, frozen=True)
class PoolStats:
    """What a pool holds now, and what it did."""

    small_buffers: int
    """Up to 64 KiB."""
    medium_buffers: int
    """Up to 1 MiB."""
    large_buffers: int
    """Up to 16 MiB."""
    total_buffers: int
    made: int
    """Buffers made since the start."""
    reused: int
    """Encodings that found a buffer."""


class BufferPool:
    """Buffers of three classes."""

    def __init__(self) -> None:
        self._free: tuple[list[bytearray], ...] = ([], [], [])
        self._made = self._reused = 0
        self._lock = Lock()

    def take(self, size: int) -> bytearray:
        """A buffer for about `size` bytes, of that class or a larger one; its content is of no meaning."""
        with self._lock:
            for free in self._free[_class(size) :]:
                if free:
                    self._reused += 1
                    return free.pop()
            self._made += 1
        return bytearray()

    def give(self, buffer: bytearray, size: int) -> None:
        """Takes a buffer back that held `size` bytes."""
        with self._lock:
            if size <= LARGE_BYTES and len(free := self._free[_class(size)]) < KEPT:
                free.append(buffer)

    def stats(self) -> PoolStats:
        """True figures."""
        with self._lock:
            small, medium, large = map(len, self._free)
            return PoolStats(small, medium, large, small + medium + large, self._made, self._reused)


def _class(size: int) -> int:
    return 0 if size <= SMALL_BYTES else 1 if size <= MEDIUM_BYTES else 2
