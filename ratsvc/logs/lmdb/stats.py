"""`ratsvc log stats`: what a log holds, from its figures; no record is read.

Cost: a few page reads a stream, and the journal.
"""

from __future__ import annotations

from dataclasses import dataclass

from ratsvc.logs.lmdb.rows import Damaged
from ratsvc.logs.lmdb.stopped import StoppedLog, Stored


@dataclass(slots=True)
class StreamStats:
    """One stream, with what the journal adds."""

    name: str
    records: int
    bytes: int
    first_offset: int
    last_offset: int
    oldest_ns: int
    """When the oldest record was committed; 0 when there is none."""
    newest_ns: int
    ended: bool


@dataclass(slots=True)
class LogStats:
    """A log."""

    epoch: str
    format: int
    commits: int
    last_offset: int
    records: int
    bytes: int
    journal_records: int
    producers: int
    file_bytes: int
    page_bytes: int
    pages: int
    free_pages: int
    streams: list[StreamStats]


def stats(log: StoppedLog) -> LogStats:
    """The figures of a log."""
    streams = {sid: _stream(log, sid) for sid, known in log.streams.items() if known.kept is not None}
    journalled = 0
    last = log.last_offset
    for row in log.journal_rows():
        if isinstance(row, Stored) and row.head.sid in streams:
            one, batch = streams[row.head.sid], row.batch
            one.records += len(batch)
            one.bytes += batch.size
            one.first_offset = one.first_offset or batch.first
            one.last_offset = last = batch.last
            one.oldest_ns = one.oldest_ns or batch.time_ns
            one.newest_ns = batch.time_ns
            journalled += len(batch)
    pages, meta = log.pages, log.meta
    producers = pages.tables.get(b"producers")
    found = sorted(streams.values(), key=lambda one: one.name)
    return LogStats(
        log.epoch,
        meta.format if meta else 0,
        meta.commits if meta else 0,
        last,
        sum(one.records for one in found),
        sum(one.bytes for one in found),
        journalled,
        producers.entries if producers else 0,
        pages.size,
        pages.page_bytes,
        pages.last_page + 1 if pages.page_bytes else 0,
        pages.free_pages(),
        found,
    )


def _stream(log: StoppedLog, sid: int) -> StreamStats:
    known = log.streams[sid]
    kept = known.kept
    assert kept is not None
    oldest = 0
    if kept.records:
        try:
            oldest = next((entry.time_ns for entry in log.entries(sid) if entry.last >= kept.first_offset), 0)
        except Damaged as error:
            log.report(f"stream {known.name}: {error}")
    return StreamStats(
        known.name, kept.records, kept.bytes, kept.first_offset, kept.last_offset, oldest,
        kept.updated_ns if kept.records else 0, kept.ended,
    )  # fmt: skip
