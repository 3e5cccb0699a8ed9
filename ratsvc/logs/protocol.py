"""What an engine must do. `tests/unit/logs/contract.py` holds every engine to it.

The sequencer is the only one that calls what writes, one call at a time (and `tend` beside them); reads may come at
any time. The caller
gives offsets that increase over the whole log and one time per batch that never goes back. An engine keeps each
`StreamInfo` of its registry true; what a write changes there, and in `last_offset`, shows only in the loop step in
which it returns, so that nothing is read before it may be. What an append has returned from is kept as the engine
promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ratsvc.core.dedupe import Claim, Dedupe
from ratsvc.core.items import Gap
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
    evicted: int
    """Records that retention has removed, or a purge, since the log was opened."""

    @property
    def uptime_ns(self) -> int:
        """Nanoseconds that this log was open, in all its runs: what ages are measured by."""

    async def append(self, batches: Sequence[Batch], claims: Sequence[Claim] = (), *, flushed: bool = False) -> None:
        """Keeps the batches, and what producers claimed on `dedupe` for them, all or none, and applies each stream's
        retention. Their streams exist.

        Args:
            flushed: they must be on disk when this returns, whatever the log's own durability.

        Raises:
            RatError: nothing was kept; it may be tried again.
            Exception: the log is broken.
        """

    async def flush(self) -> None:
        """Returns when everything so far is kept as well as the engine can."""

    async def read(self, streams: Sequence[StreamInfo], after: int, max_bytes: int) -> list[Batch | Gap]:
        """The records of `streams` after offset `after`, in offset order: whole batches (cut at `after` and at
        retention) until `max_bytes` are reached, at least one where there is one.

        Where records of a stream are damaged, a gap from where they begin: batches of other streams that lie within
        it may follow, and a read from within it may tell the rest again."""

    async def after_time(self, streams: Sequence[StreamInfo], time_ns: int) -> int:
        """The offset after which the first record committed at or after `time_ns` comes."""

    async def after_last(self, streams: Sequence[StreamInfo], count: int) -> int:
        """The offset after which the newest `count` records of `streams` together come."""

    async def create(self, info: StreamInfo) -> None:
        """Makes a stream; it is kept with the next append or flush."""

    async def update(self, info: StreamInfo, asked: Retention, retention: Retention) -> None:
        """Changes what is kept, at once."""

    async def end(self, info: StreamInfo) -> None:
        """Marks the stream as ended."""

    async def purge(self, info: StreamInfo) -> None:
        """Removes all records of the stream."""

    async def delete(self, info: StreamInfo) -> None:
        """Removes the stream and its records."""

    async def tend(self) -> None:
        """Does what is due: removes what is too old, for a bounded part of the streams a call. Called often."""

    async def close(self) -> None:
        """Gives everything back."""
