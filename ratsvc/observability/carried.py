"""The trace contexts that records carry in their headers: found, and given.

Records are searched for the header's name as bytes before any is parsed: what carries none costs one search of its
run, 1 µs for 256 records of 90 bytes that have no byte like the one before the name (its length), else up to 60 µs.
"""

from __future__ import annotations

from collections.abc import Iterable

from ratsvc.core.draft import Draft
from ratsvc.core.kept import Kept
from ratsvc.core.record import Batch
from ratsvc.core.trace import TRACEPARENT, TRACESTATE, TraceContext, trace_context
from ratsvc.quickmem import wire

_LENGTH = bytes([len(TRACEPARENT)])
#: The name in a serialised record: after its length.
_MARK = _LENGTH + TRACEPARENT.encode()
#: Records over this size are not searched: their headers are read, which are after their value.
_LARGE = 4096


def own_contexts(draft: Draft, most: int) -> tuple[list[TraceContext], bool]:
    """The contexts that records came with, at most `most` different ones; and whether all came with one."""
    if draft.kept.run is not None and not _named(draft.kept.run):
        return [], False
    found: dict[TraceContext, None] = {}
    having = 0
    for record in draft.kept.each:
        context = _of(record)
        if context is not None:
            having += 1
            if len(found) < most:
                found[context] = None
    return list(found), having == len(draft)


def sampled_contexts(batch: Batch) -> Iterable[TraceContext]:
    """The contexts under which a batch's records are delivered, as far as they are sampled."""
    if batch.trace is not None:
        return batch.trace.records
    if batch.size <= _LARGE * len(batch) and not any(map(_named, batch.kept.pieces)):
        return ()
    return (context for record in batch.records if (context := _of(record)) is not None and context.sampled)


def carry(draft: Draft, context: TraceContext, max_bytes: int) -> None:
    """Gives the records of a publish their context as headers: those that have none, and room for it.

    Args:
        max_bytes: of a record.
    """
    draft.kept = Kept(wire.with_headers(draft.kept.each, context.headers, max_bytes))


def _named(data: bytes) -> bool:
    """Whether the name is in serialised records; one byte is found much faster than several."""
    return _LENGTH in data and _MARK in data


def _of(record: bytes) -> TraceContext | None:
    if len(record) <= _LARGE and not _named(record):
        return None
    headers = wire.headers(record)
    return trace_context(headers.get(TRACEPARENT), headers.get(TRACESTATE))
