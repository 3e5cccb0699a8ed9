"""How a batch is written down: one row a batch, checked by a CRC32C that covers the one before it in its stream.

A row's key is its first offset and its checksum; its body holds `prev`, the checksum of the stream's row before it,
so the newest checksum of a stream stands for all its rows (a running hash): one that is missing, old or changed
shows. Beside it the index has an entry, so that retention and searches need no rows.
Everything else that is kept is *sealed*: MessagePack behind its own checksum. All numbers that are keys are
big-endian, so that keys sort; those in a body are little-endian.
Cost: about 10 µs to write a batch of 256 records of 100 bytes, 5 µs to read it (copies and CRC32C; Python 3.11).
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import google_crc32c
import msgspec

from ratsvc.core.kept import Kept
from ratsvc.core.record import Batch

T = TypeVar("T")

ROW_KEY = struct.Struct(">QI")
"""First offset, checksum."""
INDEX_KEY = struct.Struct(">IQ")
"""Number of the stream, first offset."""
_ENTRY = struct.Struct(">IIQQQ")
_BODY = struct.Struct("<BxxxIQIIQI")
_HAS_LABELS = 1
_LITTLE = sys.byteorder == "little"


class Damaged(Exception):
    """What was read is not what was written."""


@dataclass(slots=True, frozen=True)
class Entry:
    """A row as the index knows it."""

    first: int
    count: int
    crc: int
    size: int
    """Bytes of its records."""
    time_ns: int
    uptime_ns: int
    """The log's age when it was committed."""

    @property
    def last(self) -> int:
        """The offset of its last record."""
        return self.first + self.count - 1

    def packed(self) -> bytes:
        """As the index keeps it."""
        return _ENTRY.pack(self.count, self.crc, self.size, self.time_ns, self.uptime_ns)


def entry_of(key: bytes | memoryview, value: bytes | memoryview) -> Entry:
    """An index entry. Raises Damaged."""
    try:
        return Entry(INDEX_KEY.unpack(key)[1], *_ENTRY.unpack(value))
    except struct.error:
        raise Damaged("an index entry has a wrong size") from None


@dataclass(slots=True, frozen=True)
class Row:
    """A batch that is to be written."""

    sid: int
    entry: Entry
    body: bytes


def row_of(batch: Batch, sid: int, prev: int, uptime_ns: int) -> Row:
    """Writes down a batch of consecutive offsets. `sid` is the number of its stream."""
    sizes = batch.kept.sizes
    if not _LITTLE:
        sizes = sizes[:]
        sizes.byteswap()
    labels = b""
    if batch.keys or batch.events:
        labels = msgspec.msgpack.encode((batch.keys, batch.events))
    flags = _HAS_LABELS if labels else 0
    head = _BODY.pack(flags, sid, batch.first, len(sizes), prev, batch.time_ns, len(labels))
    body = b"".join((head, labels, sizes.tobytes(), *batch.kept.pieces))
    crc = checksum(body)
    return Row(sid, Entry(batch.first, len(sizes), crc, batch.size, batch.time_ns, uptime_ns), body)


def batch_of(stream: str, sid: int, first: int, crc: int, body: bytes) -> tuple[Batch, int]:
    """The batch of a row with that key, and its `prev`. Raises Damaged."""
    if checksum(body) != crc:
        raise Damaged(f"row {first} does not match its checksum")
    flags, owner, begin, count, prev, time_ns, labels = _BODY.unpack_from(body)
    if (owner, begin) != (sid, first):
        raise Damaged(f"row {first} belongs elsewhere")
    keys, events = msgspec.msgpack.decode(body[_BODY.size : _BODY.size + labels]) if flags else (None, None)
    run = body[_BODY.size + labels + 4 * count :]
    sizes = _sizes(body, count, labels)
    batch = Batch(stream, range(first, first + count), time_ns, Kept(None, run, sizes), keys, events)
    batch.settle()
    return batch, prev


def sizes_of(entry: Entry, body: bytes) -> array[int]:
    """The size of each record of a row. Raises Damaged."""
    if checksum(body) != entry.crc:
        raise Damaged(f"row {entry.first} does not match its checksum")
    return _sizes(body, entry.count, _BODY.unpack_from(body)[6])


class Head(NamedTuple):
    """What a row says of itself."""

    flags: int
    sid: int
    first: int
    records: int
    prev: int
    time_ns: int
    labels: int


def head_of(body: bytes) -> Head:
    """What a row, not yet checked, says of itself. Raises Damaged."""
    try:
        return Head(*_BODY.unpack_from(body))
    except struct.error:
        raise Damaged("a row is shorter than its head") from None


def owner_of(body: bytes | memoryview) -> int:
    """The number of the stream that a row, not yet checked, says it belongs to."""
    return int(_BODY.unpack_from(body)[1]) if len(body) >= _BODY.size else 0


def text_of(key: bytes | memoryview, what: str) -> str:
    """A key that is text. Raises Damaged, which names it as `what`."""
    try:
        return bytes(key).decode()
    except UnicodeDecodeError:
        raise Damaged(f"the name of {what} cannot be read") from None


def checksum(data: bytes) -> int:
    """Its CRC32C (RFC 3720, section 12.1)."""
    return int(google_crc32c.value(data))


def _sizes(body: bytes, count: int, labels: int) -> array[int]:
    start = _BODY.size + labels
    sizes = array("I")
    sizes.frombytes(body[start : start + 4 * count])
    if not _LITTLE:
        sizes.byteswap()
    return sizes


def sealed(value: object) -> bytes:
    """MessagePack behind its checksum."""
    data = msgspec.msgpack.encode(value)
    return checksum(data).to_bytes(4, "big") + data


def unsealed(data: memoryview | bytes, kind: type[T], what: str) -> T:
    """What `sealed` was given, as a `kind`. Raises Damaged, which names it as `what`."""
    crc, rest = bytes(data[:4]), bytes(data[4:])
    if checksum(rest).to_bytes(4, "big") != crc:
        raise Damaged(f"{what} does not match its checksum")
    try:
        return msgspec.msgpack.decode(rest, type=kind)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{what} cannot be read: {error}") from None
