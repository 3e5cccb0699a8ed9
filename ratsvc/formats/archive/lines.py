"""An archive as JSON lines.

`{"ratsvc-export":2,"epoch":…,"last_offset":…}` begins it and `{"end":{…}}` ends it; between them are
`{"stream":…,"settings":{…}}`, `{"gap":{"after":…,"to":…}}`, `{"producer":{…}}`, and for each record
`{"stream":…,"offset":…,"time_ns":…,"record":…,"value":…}` with `key`, `event` and `headers` where it has them. `record`
is the serialised `rat.v1.Record` in base64 (RFC 4648), from which all comes back as it was; the rest of the line is for
people and `jq`, and JSON cannot say all types. Cost: 3 µs a record to write, 3 µs to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c
import msgspec

from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.errors import InvalidArgument
from ratsvc.formats.archive.words import (
    FOREIGN,
    MAX_RECORD_BYTES,
    READ,
    Head,
    ProducerState,
    Rules,
    StreamSettings,
    Summary,
    Word,
)
from ratsvc.quickmem import values
from ratsvc.quickmem.wire import header_column

BEGIN = b'{"ratsvc-export"'
MAX_LINE_BYTES = 3 * MAX_RECORD_BYTES
BATCH_RECORDS = 1_000
BATCH_BYTES = 1024 * 1024
_encode = msgspec.json.Encoder().encode


class _Settings(msgspec.Struct, forbid_unknown_fields=True):
    created_ns: int
    max_records: int
    max_bytes: int
    max_age_s: float
    ended: bool


class _Gap(msgspec.Struct, forbid_unknown_fields=True):
    after: int
    to: int


class _Producer(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    epoch: int
    expected: int
    idle_ns: int
    publishes: tuple[tuple[int, int], ...]


class _End(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    streams: int
    records: int
    bytes: int
    gaps: int
    producers: int = 0
    crc32c: int


class _Line(msgspec.Struct):
    version: int = msgspec.field(name="ratsvc-export", default=0)
    epoch: str = ""
    last_offset: int = 0
    stream: str = ""
    settings: _Settings | None = None
    offset: int = 0
    time_ns: int = 0
    record: bytes | None = None
    gap: _Gap | None = None
    producer: _Producer | None = None
    end: _End | None = None


_decode = msgspec.json.Decoder(_Line).decode


class LineWriter:
    """See `Writer`."""

    def head(self, head: Head) -> bytes:
        return _line({"ratsvc-export": head.version, "epoch": head.epoch, "last_offset": head.last_offset})

    def stream(self, settings: StreamSettings) -> bytes:
        rest = settings._asdict()
        return _line({"stream": rest.pop("name"), "settings": rest})

    def batch(self, batch: Batch) -> bytes:
        headers = header_column(batch)
        columns = zip(batch.offsets, batch.records, values(batch), strict=True)
        lines = []
        for at, (offset, record, value) in enumerate(columns):
            one: dict[str, object] = {"stream": batch.stream, "offset": offset, "time_ns": batch.time_ns}
            if batch.keys and batch.keys[at]:
                one["key"] = batch.keys[at]
            if batch.events and batch.events[at]:
                one["event"] = batch.events[at]
            if headers and headers[at]:
                one["headers"] = headers[at]
            one["value"] = value
            one["record"] = record
            lines.append(_line(one))
        return b"".join(lines)

    def gap(self, gap: Gap) -> bytes:
        return _line({"gap": {"after": gap.after, "to": gap.to}})

    def producer(self, state: ProducerState) -> bytes:
        return _line({"producer": state._asdict()})

    def summary(self, summary: Summary) -> bytes:
        return _line({"end": summary._asdict()})


def read_lines(file: BinaryIO, begin: bytes) -> Iterator[Word]:
    """See `read_archive`."""
    return _Reader(file, begin).words()


class _Reader:
    """The lines of a file, of which `begin` was read."""

    def __init__(self, file: BinaryIO, begin: bytes) -> None:
        self._file = file
        self._line = begin
        self._number = 0
        self._crc = 0
        self._rules = Rules()
        self._waiting: list[_Line] = []
        self._size = 0

    def words(self) -> Iterator[Word]:
        line = self._next()
        if line.version not in READ:
            raise self._refused(f"an archive of version {line.version}; this version of ratsvc reads {READ}")
        try:
            yield self._rules.head(Head(line.epoch, line.last_offset, line.version))
        except InvalidArgument as error:
            raise self._refused(error.detail) from None
        while True:
            crc, line = self._crc, self._next()
            if line.record is not None:
                if not self._continues(line):
                    yield from self._gathered()
                try:
                    self._rules.stream(line.stream)
                except InvalidArgument as error:
                    raise self._refused(error.detail) from None
                self._waiting.append(line)
                self._size += len(line.record)
                continue
            yield from self._gathered()
            try:
                if line.settings is not None:
                    settings = StreamSettings(line.stream, *msgspec.structs.astuple(line.settings))
                    yield self._rules.settings(settings)
                elif line.producer is not None:
                    yield self._rules.producer(ProducerState(*msgspec.structs.astuple(line.producer)))
                elif line.gap is not None:
                    yield self._rules.gap(line.gap.after, line.gap.to)
                elif line.end is not None:
                    summary = Summary(*msgspec.structs.astuple(line.end))
                    self._rules.summary(summary, crc)
                    if self._file.read(1):
                        raise InvalidArgument("more comes after the end")
                    yield summary
                    return
                else:
                    raise InvalidArgument("it says nothing that an archive says")
            except InvalidArgument as error:
                raise self._refused(error.detail) from None

    def _next(self) -> _Line:
        self._number += 1
        rest = self._file.readline(MAX_LINE_BYTES)
        data = (self._line + rest) if self._line else rest
        self._line = b""
        if not data:
            raise self._refused("the archive was cut: its end is missing")
        if not data.endswith(b"\n"):
            raise self._refused("the archive was cut in this line")
        self._crc = google_crc32c.extend(self._crc, data)
        try:
            return _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._refused(FOREIGN if self._number == 1 else "it is damaged, or not of an archive") from None

    def _continues(self, line: _Line) -> bool:
        """Whether a record goes into one batch with those that wait."""
        if not self._waiting:
            return True
        before = self._waiting[-1]
        return (
            (line.stream, line.time_ns, line.offset) == (before.stream, before.time_ns, before.offset + 1)
            and len(self._waiting) < BATCH_RECORDS
            and self._size < BATCH_BYTES
        )

    def _gathered(self) -> Iterator[Batch]:
        """The batch of the records that wait."""
        if not self._waiting:
            return
        first = self._waiting[0]
        records = [line.record or b"" for line in self._waiting]
        offsets = range(first.offset, first.offset + len(records))
        try:
            batch = self._rules.batch(first.stream, offsets, first.time_ns, records)
        except InvalidArgument as error:
            raise self._refused(error.detail, len(records)) from None
        self._waiting, self._size = [], 0
        yield batch

    def _refused(self, what: str, before: int = 0) -> InvalidArgument:
        first = self._number - before
        where = f"line {first}" if before <= 1 else f"lines {first} to {self._number - 1}"
        return InvalidArgument(f"{where}: {what}")


def _line(document: dict[str, object]) -> bytes:
    return _encode(document) + b"\n"
