"""Files in streams: whether a stream is one file, and where in the log a byte of it is. Reads only.

A stream is a file when its records are those of one complete upload and nothing else: the first kept is chunk 1, the
newest is the one that ends that upload, and there are as many as it has. Each of an upload's records is stored once,
so nothing else can be between. Cost: two records read.
A byte is found by bisection over offsets, as each chunk says where in the file it begins: about log2 of the offsets
between first and last reads of one row each, and never the records before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.core.upload import CHUNK, NAME, POSITION, SHA256, SIZE, UPLOAD, number
from ratsvc.quickmem import wire

if TYPE_CHECKING:
    from ratsvc.flow.broker import Broker

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(slots=True, frozen=True)
class File:
    """A stream that is a file."""

    info: StreamInfo
    name: str
    size: int
    sha256: bytes
    first: int
    """The offset of its first record."""
    last: int


async def file_of(broker: Broker, info: StreamInfo) -> File | None:
    """The file that a stream is now, or None."""
    first, last, records = info.first_offset, info.last_offset, info.records
    if not records:
        return None
    begin, end = await _headers_at(broker, info, first), await _headers_at(broker, info, last)
    if begin is None or end is None or SHA256 not in end:
        return None
    whole = begin.get(CHUNK) == "1" and end.get(CHUNK) == str(records) and begin.get(UPLOAD) == end.get(UPLOAD)
    if not whole or not _SHA256.match(end[SHA256]) or (info.first_offset, info.records) != (first, records):
        return None
    return File(info, begin.get(NAME, ""), number(end.get(SIZE, "")), bytes.fromhex(end[SHA256]), first, last)


async def place_of(broker: Broker, file: File, position: int) -> tuple[int, int] | None:
    """The offset of the record that has the byte at `position` (below the file's size), and where in the file that
    record begins. None when a record on the way is gone or damaged."""
    low, high, begins = file.first, file.last, 0
    while low < high:  # the byte is in the last record from `low` on that begins at or before it
        middle = (low + high + 1) // 2
        found = await _record_from(broker, file.info, middle)
        if found is None:
            return None
        offset, headers = found
        at = number(headers.get(POSITION, ""))
        if at <= position and offset <= high and SHA256 not in headers:
            low, begins = offset, at
        else:
            high = middle - 1
    return low, begins


async def _headers_at(broker: Broker, info: StreamInfo, offset: int) -> Mapping[str, str] | None:
    found = await _record_from(broker, info, offset)
    return found[1] if found is not None and found[0] == offset else None


async def _record_from(broker: Broker, info: StreamInfo, offset: int) -> tuple[int, Mapping[str, str]] | None:
    """Offset and headers of the stream's first record from `offset` on."""
    items = await broker.read([info], offset - 1, 1)
    if not items or not isinstance(items[0], Batch):
        return None
    return items[0].first, wire.headers(items[0].records[0])
