"""Where in a log a reader starts."""

from __future__ import annotations

from collections.abc import Sequence

from ratsvc.core.cursor import Cursor, Earliest, LastN, Latest, SinceTime, Start
from ratsvc.core.items import Gap, GapReason
from ratsvc.core.registry import StreamInfo
from ratsvc.logs.protocol import Log


async def start_of(start: Start, log: Log, streams: Sequence[StreamInfo]) -> tuple[int, Gap | None]:
    """The offset after which a reader of `streams` gets records, and what it has missed."""
    match start:
        case Latest():
            return log.last_offset, None
        case Earliest():
            return _oldest(log, streams), None
        case LastN(count):
            return await log.after_last(streams, count), None
        case SinceTime(time_ns):
            after = await log.after_time(streams, time_ns)
            lost = max((i.evicted_through for i in streams if i.evicted_time_ns >= time_ns), default=0)
            return after, Gap(0, lost, GapReason.RETENTION) if lost else None
        case Cursor(epoch, offset):
            if epoch == log.epoch and max(offset, start.point) <= log.last_offset:
                return offset, None
            oldest = _oldest(log, streams)
            return oldest, Gap(offset, oldest, GapReason.EPOCH, from_epoch=epoch)


def _oldest(log: Log, streams: Sequence[StreamInfo]) -> int:
    """The offset before everything that is kept."""
    kept = [info.first_offset - 1 for info in streams if info.records]
    return max(min(kept, default=log.last_offset), 0)
