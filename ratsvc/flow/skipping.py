"""What a reader that is too slow gets of what it skips: the newest record of each key, and the newest without one.

It costs as much reading as the catching up that it replaces, and sends far less. It holds a place for each key, of
at most MAX_SKIPPED_KEYS.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence

from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.flow.hub import Selection

MAX_SKIPPED_KEYS = 10_000

Read = Callable[[Sequence[StreamInfo], int, int], Awaitable[Sequence[Batch | Gap]]]


async def newest(read: Read, selection: Selection, after: int, end: int, max_bytes: int) -> tuple[list[Batch], int]:
    """The newest record of each stream and key in (after, end], the oldest first, and how many others there are.

    Args:
        read: gives what comes after an offset, at most so many bytes.
        selection: what the reader wants.
    """
    found: dict[tuple[str, str], tuple[Batch, int]] = {}
    seen = 0
    while after < end:
        batches = await read(list(selection.streams.values()), after, max_bytes)
        for batch in batches:
            if isinstance(batch, Gap):
                continue
            after = batch.last
            kept = selection.filtered(batch.part(0, bisect_right(batch.offsets, end)))
            if kept is None:
                continue
            seen += len(kept)
            for at, key in enumerate(kept.keys or [""] * len(kept)):
                found.pop((kept.stream, key), None)
                found[kept.stream, key] = (kept, at)
            while len(found) > MAX_SKIPPED_KEYS:
                del found[next(iter(found))]
        if not batches or isinstance(batches[-1], Gap):
            break
        await asyncio.sleep(0)
    return [batch.part(at, at + 1) for batch, at in found.values()], seen - len(found)
