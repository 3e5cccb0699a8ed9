"""What an engine must do. `tests/unit/logs/contract.py` holds every engine to it.

The sequencer is the only one that calls what writes, one call at a time; reads may come at any time. The caller
gives offsets that increase over the whole log and one time per batch that never goes back. An engine keeps each
`StreamInfo` of its registry true; what a write changes there, and in `last_offset`, shows only in the loop step in
which it returns, so that nothing is read before it may be. What an append has returned from is kept as the engine
promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention


class Log(Protocol):
    """Keeps records in offset order."""

    epoch: str
    """Names this incarnation: 1 to 32 of [a-z0-9]."""
    durable: bool
    """Whether records outlive the process."""
    last_offset: int
    """The newest offset ever given; 0 at first."""
    last_time_ns: int
    """The time of the newest batch."""
    registry: Registry
    dedupe: Dedupe
    bytes: int
    """Of all records kept."""

    async def append(self, batches: Sequence[Batch]) -> None:
        """Keeps the batches, all or none, and applies each stream's retention. Their streams exist."""

    async def read(self, streams: Sequence[StreamInfo], after: int, max_bytes: int) -> list[Batch]:
        """The records of `streams` after offset `after`, in offset order: whole batches (cut at `after` and at
        retention) until `max_bytes` are reached, at least one where there is one."""

    async def after_time(self, streams: Sequence[StreamInfo], time_ns: int) -> int:
        """The offset after which the first record committed at or after `time_ns` comes."""

    async def after_last(self, streams: Sequence[StreamInfo], count: int) -> int:
        """The offset after which the newest `count` records of `streams` together come."""

    async def create(self, info: StreamInfo) -> None:
        """Makes a stream."""

    async def update(self, info: StreamInfo, asked: Retention, retention: Retention) -> None:
        """Changes what is kept, at once."""

    async def end(self, info: StreamInfo) -> None:
        """Marks the stream as ended."""

    async def purge(self, info: StreamInfo) -> None:
        """Removes all records of the stream."""

    async def delete(self, info: StreamInfo) -> None:
        """Removes the stream and its records."""

    async def expire(self, now_ns: int) -> None:
        """Removes what is too old, for a bounded part of the streams a call."""

    async def close(self) -> None:
        """Gives everything back."""
