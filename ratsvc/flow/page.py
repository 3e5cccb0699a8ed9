"""A page: what there is at a reader's place, read at once.

A page ends when nothing more is there, at the request's limit, or when it has little over its bytes; while it is empty
it may wait for a first record.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, perf_counter

from ratsvc.core.cursor import Cursor
from ratsvc.core.items import End, Gap, Reconnect
from ratsvc.core.record import Batch
from ratsvc.flow.follow import Subscription


@dataclass(slots=True, frozen=True)
class Page:
    """Records read at once: `next` is the cursor to read on from."""

    batches: list[Batch]
    gaps: list[Gap]
    next: Cursor
    ended: bool


async def page_of(subscription: Subscription, wait_s: float, max_bytes: int) -> Page:
    """The next page of a subscription, little over `max_bytes`, after waiting at most `wait_s` for a first record."""
    batches: list[Batch] = []
    gaps: list[Gap] = []
    subscription.format = subscription.reason = "page"
    began = perf_counter()
    deadline = monotonic() + wait_s
    while True:
        items = await subscription.poll()
        batches += [item for item in items or () if isinstance(item, Batch)]
        gaps += [item for item in items or () if isinstance(item, Gap)]
        ended = any(isinstance(item, End) and item.reason == "ended" for item in items or ())
        over = items is None or any(isinstance(item, End | Reconnect) for item in items)
        over = over or sum(batch.size for batch in batches) >= max_bytes
        if over or (not items and (batches or gaps or monotonic() >= deadline)):
            break
        if not items:
            await subscription.wait(deadline - monotonic())
    if subscription.tracing is not None:
        subscription.tracing.delivered(batches, "page", sum(batch.size for batch in batches), began)
    return Page(batches, gaps, subscription.cursor, ended)
