"""From a stopped log to an archive, and from an archive to a new log: one pass, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from ratsvc.core.dedupe import Producer
from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument, LogRefused
from ratsvc.formats.archive import (
    FrameWriter,
    Head,
    LineWriter,
    ProducerState,
    StreamSettings,
    Summary,
    Writer,
    read_archive,
)
from ratsvc.logs.lmdb.contents import contents
from ratsvc.logs.lmdb.remake import NewLog
from ratsvc.logs.lmdb.remembered import producers
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
        patterns: of which streams; all when there are none. With any, producers are left out: a new log would take
            what they send again for what it has, and it may have been of another stream.
        write: takes the bytes.
    """

    def __init__(self, log: StoppedLog, patterns: list[str], form: Form, write: Callable[[bytes], object]) -> None:
        self._log = log
        self._patterns = patterns
        self._put = write
        self._writer: Writer = LineWriter() if form is Form.NDJSON else FrameWriter(log.epoch or UNKNOWN)
        self._streams: set[str] = set()
        self._crc = 0
        self._records = self._bytes = self._gaps = self._producers = 0

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
        for id_, producer in producers(log) if not self._patterns else ():
            self._write_producer(id_, producer)
        streams = len(self._streams)
        summary = Summary(streams, self._records, self._bytes, self._gaps, self._producers, self._crc)
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

    def _write_producer(self, id_: str, known: Producer) -> None:
        self._producers += 1
        publishes = tuple(zip(known.sequences, known.offsets, strict=True))
        self._write(self._writer.producer(ProducerState(id_, known.epoch, known.expected, -known.used_ns, publishes)))


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
        last_offset = 0
        for word in read_archive(file):
            progress()
            match word:
                case Head():
                    last_offset = word.last_offset
                case StreamSettings():
                    asked = Retention(word.max_records, word.max_bytes, word.max_age_s)
                    await log.create(word.name, word.created_ns, asked, word.ended)
                case Batch():
                    try:
                        await log.append(word)
                    except LogRefused as error:
                        raise InvalidArgument(f"stream {word.stream}: {error.detail}") from None
                case ProducerState():
                    await log.remember(word.id, _producer(word))
                case Summary():
                    summary = word
        assert summary is not None  # the last word of any archive
        await log.finish(last_offset)
    except BaseException:
        await log.discard()
        raise
    return Imported(summary, log.epoch)


def _producer(state: ProducerState) -> Producer:
    """What a log keeps of a producer. Where no publish is known, one of nothing stands for those."""
    publishes = state.publishes or ((state.expected, 0),)
    sequences, offsets = ([row[at] for row in publishes] for at in (0, 1))
    return Producer(state.epoch, state.expected, -state.idle_ns, sequences, offsets)
