"""From a stopped log to an archive, and from an archive to a new log: one pass, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from ratsvc.core.record import Batch, Gap
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument, LogRefused
from ratsvc.formats.archive import FrameWriter, Head, LineWriter, StreamSettings, Summary, Writer, read_archive
from ratsvc.logs.lmdb.contents import contents
from ratsvc.logs.lmdb.remake import NewLog
from ratsvc.logs.lmdb.stopped import Known, StoppedLog
from ratsvc.names import matches

UNKNOWN = "unknown"
"""Stands for an epoch that cannot be read."""


class Form(StrEnum):
    """How an archive is written."""

    NDJSON = "ndjson"
    BINARY = "binary"


@dataclass(slots=True)
class Imported:
    """What an import did."""

    summary: Summary
    epoch: str


class Export:
    """Writes an archive of a log.

    Args:
        patterns: of which streams; all when there are none.
        write: takes the bytes.
    """

    def __init__(self, log: StoppedLog, patterns: list[str], form: Form, write: Callable[[bytes], object]) -> None:
        self._log = log
        self._patterns = patterns
        self._put = write
        self._writer: Writer = LineWriter() if form is Form.NDJSON else FrameWriter(log.epoch or UNKNOWN)
        self._streams: set[str] = set()
        self._crc = 0
        self._records = self._bytes = self._gaps = 0

    def run(self) -> Summary:
        """Writes it all, and returns what was written."""
        log = self._log
        self._write(self._writer.head(Head(log.epoch or UNKNOWN, log.last_offset)))
        for known in sorted(log.streams.values(), key=lambda known: known.name):
            if self._is_wanted(known.name):
                self._write_stream(known)
        for item in contents(log, self._is_wanted):
            if isinstance(item, Gap):
                self._gaps += 1
                self._write(self._writer.gap(item))
            else:
                self._write_batch(item)
        summary = Summary(len(self._streams), self._records, self._bytes, self._gaps, self._crc)
        self._put(self._writer.summary(summary))
        return summary

    def _is_wanted(self, name: str) -> bool:
        return not self._patterns or any(matches(pattern, name) for pattern in self._patterns)

    def _write(self, data: bytes) -> None:
        self._crc = google_crc32c.extend(self._crc, data)
        self._put(data)

    def _write_stream(self, known: Known) -> None:
        kept = known.kept
        self._streams.add(known.name)
        asked = kept.asked if kept else (0, 0, 0.0)
        created, ended = (kept.created_ns, kept.ended) if kept else (0, False)
        self._write(self._writer.stream(StreamSettings(known.name, created, *asked, ended)))

    def _write_batch(self, batch: Batch) -> None:
        if batch.stream not in self._streams:  # one whose name is lost
            self._write_stream(Known(batch.stream, None))
        self._records += len(batch)
        self._bytes += batch.size
        self._write(self._writer.batch(batch))


async def remake(path: Path, file: BinaryIO, progress: Callable[[], None]) -> Imported:
    """Makes a new log in `path` of an archive; when that fails, nothing is left behind.

    Args:
        progress: called now and then.

    Raises:
        InvalidArgument: the archive was cut, changed, or is none; names the line or frame.
        LogRefused: the directory holds a log already, or cannot be used.
    """
    log = NewLog(path)
    try:
        summary: Summary | None = None
        for word in read_archive(file):
            progress()
            match word:
                case StreamSettings():
                    asked = Retention(word.max_records, word.max_bytes, word.max_age_s)
                    await log.create(word.name, word.created_ns, asked, word.ended)
                case Batch():
                    try:
                        await log.append(word)
                    except LogRefused as error:
                        raise InvalidArgument(f"stream {word.stream}: {error.detail}") from None
                case Summary():
                    summary = word
        assert summary is not None  # the last word of any archive
        await log.finish()
    except BaseException:
        await log.discard()
        raise
    return Imported(summary, log.epoch)
