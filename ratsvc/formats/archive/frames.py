"""An archive as `rat.v1.Frame` messages, each after its length as a varint: the format `binary`, with two words more.

A start frame begins it, an end frame (reason `export`) ends it. What frames have no message for comes as records of
streams that no log can have: `$streams` has one for each stream (key: its name; value: its settings), `$producers` one
for each producer (key: its id; value: its numbers), `$summary` one before the end. So whatever reads `binary` reads an
archive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

import google_crc32c
import msgspec
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from rat.v1 import record_pb2 as pb

from ratsvc.core.items import End, Gap
from ratsvc.core.record import Batch
from ratsvc.errors import InvalidArgument, RatError
from ratsvc.formats.archive.words import (
    FOREIGN,
    MAX_RECORD_BYTES,
    READ,
    VERSION,
    Head,
    ProducerState,
    Rules,
    StreamSettings,
    Summary,
    Word,
)
from ratsvc.formats.binary import Binary
from ratsvc.quickmem import from_data_value, record

STREAMS, PRODUCERS, SUMMARY = "$streams", "$producers", "$summary"
MAX_FRAME_BYTES = MAX_RECORD_BYTES + 1024
_BATCH = 2
"""Field of a Frame."""
_STREAM, _RECORDS, _FIRST, _TIME = 1, 2, 3, 4
"""Fields of a RecordBatch."""


class FrameWriter:
    """See `Writer`."""

    def __init__(self, epoch: str) -> None:
        self._format = Binary(epoch)
        self._last = 0

    def head(self, head: Head) -> bytes:
        self._last = head.last_offset
        return self._format.start(head.last_offset)

    def stream(self, settings: StreamSettings) -> bytes:
        return self._said(STREAMS, settings._asdict(), settings.name)

    def batch(self, batch: Batch) -> bytes:
        return b"".join(self._format.frames(batch))

    def gap(self, gap: Gap) -> bytes:
        return self._format.gap(gap)

    def producer(self, state: ProducerState) -> bytes:
        return self._said(PRODUCERS, state._asdict(), state.id)

    def summary(self, summary: Summary) -> bytes:
        said = self._said(SUMMARY, {**summary._asdict(), "version": VERSION})
        return said + self._format.end(End(self._last, "export"))

    def _said(self, stream: str, document: Mapping[str, object], key: str = "") -> bytes:
        return bytes(self._format.batch(Batch(stream, range(1), 0, [record(dict(document), key)])))


def read_frames(file: BinaryIO, begin: bytes) -> Iterator[Word]:
    """See `read_archive`."""
    return _Reader(file, begin).words()


class _Reader:
    """The frames of a file, of which `begin` was read."""

    def __init__(self, file: BinaryIO, begin: bytes) -> None:
        self._file = file
        self._begin = begin
        self._number = 0
        self._crc = 0
        self._rules = Rules()
        self._summary: Summary | None = None

    def words(self) -> Iterator[Word]:
        while True:
            self._number += 1
            crc, data = self._crc, self._next()
            try:
                fields = list(_fields(data))
                if self._number == 1:
                    yield self._head(data)
                elif self._summary is not None:
                    self._check_end(data)
                    yield self._summary
                    return
                elif len(fields) == 1 and fields[0][0] == _BATCH and isinstance(fields[0][1], bytes):
                    found = self._batch(fields[0][1], crc)
                    if found is not None:
                        yield found
                else:
                    yield self._gap(data)
            except (InvalidArgument, DecodeError, RatError, msgspec.MsgspecError, TypeError) as error:
                what = error.detail if isinstance(error, RatError) else "it is damaged, or not of an archive"
                raise self._refused(what if self._number > 1 else FOREIGN) from None

    def _next(self) -> bytes:
        """The next frame."""
        size = shift = 0
        head = bytearray()
        while True:
            byte = self._read(1)
            if not byte:
                if not head and self._number > 1:
                    raise self._refused("the archive was cut: its end is missing")
                raise self._refused("the archive was cut in this frame" if self._number > 1 else FOREIGN)
            head += byte
            size |= (byte[0] & 0x7F) << shift
            shift += 7
            if size > MAX_FRAME_BYTES or shift > 35:
                raise self._refused("it is damaged, or not of an archive" if self._number > 1 else FOREIGN)
            if byte[0] < 0x80:
                break
        data = self._read(size)
        if len(data) < size:
            raise self._refused("the archive was cut in this frame" if self._number > 1 else FOREIGN)
        self._crc = google_crc32c.extend(google_crc32c.extend(self._crc, bytes(head)), data)
        return data

    def _read(self, size: int) -> bytes:
        taken, self._begin = self._begin[:size], self._begin[size:]
        return taken + self._file.read(size - len(taken)) if len(taken) < size else taken

    def _head(self, data: bytes) -> Head:
        frame = pb.Frame.FromString(data)
        epoch, _, offset = frame.start.cursor.rpartition("-")
        if not epoch or epoch != frame.start.epoch or not offset.isdecimal():
            raise InvalidArgument(FOREIGN)
        return self._rules.head(Head(epoch, int(offset)))

    def _batch(self, data: bytes, crc: int) -> Batch | ProducerState | StreamSettings | None:
        stream, first, time, records = "", 0, Timestamp(), []
        for number, value in _fields(data):
            if isinstance(value, int):
                first = value if number == _FIRST else first
            elif number == _RECORDS:
                records.append(value)
            elif number == _STREAM:
                stream = value.decode("utf-8", "replace")
            elif number == _TIME:
                time = Timestamp.FromString(value)
        if stream in (STREAMS, PRODUCERS, SUMMARY):
            said = pb.Record.FromString(records[0] if len(records) == 1 else b"")
            document = from_data_value(said.value)
            if stream == SUMMARY:
                self._summarise(document, crc)
                return None
            if stream == PRODUCERS:
                return self._rules.producer(msgspec.convert(_row(document, ProducerState), ProducerState))
            return self._rules.settings(msgspec.convert(_row(document, StreamSettings), StreamSettings))
        return self._rules.batch(stream, range(first, first + len(records)), time.ToNanoseconds(), records)

    def _summarise(self, document: object, crc: int) -> None:
        if not isinstance(document, dict) or document.get("version") not in READ:
            raise InvalidArgument(f"an archive of another version than {READ}, which this version of ratsvc reads")
        document.setdefault("producers", 0)
        self._summary = self._rules.summary(msgspec.convert(_row(document, Summary), Summary), crc)

    def _gap(self, data: bytes) -> Gap:
        frame = pb.Frame.FromString(data)
        if frame.WhichOneof("kind") != "gap":
            raise InvalidArgument("it says nothing that an archive says")
        bounds = [getattr(frame.gap, "from").rpartition("-")[2], frame.gap.to.rpartition("-")[2]]
        if not all(bound.isdecimal() for bound in bounds):
            raise InvalidArgument("it has a cursor that is none")
        return self._rules.gap(int(bounds[0]), int(bounds[1]))

    def _check_end(self, data: bytes) -> None:
        if pb.Frame.FromString(data).WhichOneof("kind") != "end":
            raise InvalidArgument("the end is not where it should be")
        if self._file.read(1):
            raise InvalidArgument("more comes after the end")

    def _refused(self, what: str) -> InvalidArgument:
        return InvalidArgument(f"frame {self._number}: {what}")


def _row(document: object, kind: type[StreamSettings | ProducerState | Summary]) -> list[object]:
    """The fields of a named tuple, from what was said by their names. Raises InvalidArgument."""
    if not isinstance(document, dict) or not set(kind._fields) <= set(document):
        raise InvalidArgument("it is damaged, or not of an archive")
    return [document[name] for name in kind._fields]


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message as they are on the wire (protobuf encoding guide). Raises InvalidArgument."""
    at, size = 0, len(data)
    while at < size:
        tag, at = _number(data, at)
        value, at = _number(data, at)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2 and at + value <= size:
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            raise InvalidArgument("it is damaged, or not of an archive")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends. Raises InvalidArgument."""
    found = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return found, at
    raise InvalidArgument("it is damaged, or not of an archive")
