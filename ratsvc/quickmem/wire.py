"""Serialised `rat.v1.Record` messages, taken apart and put together mostly without protobuf objects.

Nearly all records are *plain*: a packed value in canonical form and nothing else; they are checked in C, by the
compiled `_records`, or, where that is not there, found, cut, decoded and checked with msgspec and tables (0.35 µs
instead of 0.07). A key, event or headers after the value cost little more (see `framing`). All else goes through
protobuf, which decides. Costs are given for documents of four fields and 82 bytes (msgspec 0.22, Python 3.11, one
core).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ratsvc.core.kept import MAX_JOINED_BYTES, Kept
from ratsvc.core.record import Batch
from ratsvc.core.run import TAG
from ratsvc.errors import InvalidValue, RatError, TooLarge
from ratsvc.quickmem.framing import (
    MAX_HEADERS,
    TABLE,
    are_plain,
    check_labels,
    find_document,
    head,
    json_head,
    label_columns,
    labelled_headers,
    labels,
    make_tail,
    parse,
    split,
)
from ratsvc.quickmem.limits import DEPTH, KEY_BYTES, MAP_KEYS, NODES, ValueLimits
from ratsvc.quickmem.packed import (
    blob_head,
    blob_start,
    decode_checked,
    decode_short,
    decode_small,
    pack,
    unpack,
    unpack_exact,
)
from ratsvc.quickmem.tree import from_data_value

try:
    from ratsvc.quickmem import _records as compiled
except ImportError:  # It was built without a C compiler.
    compiled = None  # type: ignore[assignment]

COMPILED: Final = compiled is not None
"""Whether records are checked in C."""
#: What the compiled check holds values to.
_BOUNDS: Final = (DEPTH, NODES, MAP_KEYS, KEY_BYTES)
#: Of records over this size on average, the values are not kept beside the records.
_LARGE = 4096


@dataclass(slots=True, frozen=True)
class Columns:
    """What the service looks at in records: one item a record, or None where there is none."""

    values: list[object] | None
    """None when they are large, or were checked without decoding them: `values` makes them."""
    keys: list[str] | None
    """None when no record has a key."""
    events: list[str] | None
    """None when no record has an event type."""


def parse_records(raw: list[bytes], limits: ValueLimits, sizes: list[int] | None = None) -> Columns:
    """Checks serialised records and takes them apart: 0.07 µs a plain record, 0.2 µs one with a key.

    Args:
        sizes: of the records, where they are known.

    Raises:
        TooLarge: a record is over `limits.value_bytes`.
        InvalidValue: a record is malformed, or its value breaks the value model.
        InvalidArgument: a key, event or header breaks its rule.
        All name the record, as `records[i]`.
    """
    if sizes is None:
        sizes = list(map(len, raw))
    largest = max(sizes, default=0)
    if largest > limits.value_bytes:
        at = next(i for i, size in enumerate(sizes) if size > limits.value_bytes)
        where = f"records[{at}]"
        raise TooLarge(f"{where} has {sizes[at]} bytes; at most {limits.value_bytes} are taken", field=where)
    tails = None if compiled is None else compiled.tails(raw, *_BOUNDS)
    if tails is not None and (columns := label_columns(tails)) is not None:
        return Columns(None, *columns)
    keep = sum(sizes) <= _LARGE * len(raw)
    if largest < TABLE and (parts := split(raw, sizes)) is not None:
        documents, keys, events = parts
        found = _decode_all(documents, largest)
        if found is not None:
            return Columns(found if keep else None, keys, events)
    return _parse_each(raw, keep)


@dataclass(slots=True)
class Taken:
    """The records of a message, checked, in one piece."""

    rest: bytes
    """The message without them."""
    kept: Kept
    columns: Columns


def take_run(message: bytes, limits: ValueLimits) -> Taken | None:
    """Takes the records, its fields 2, out of a message, without making an object of each: 0.08 µs a plain record.

    None where `parse_records` has to look at them, and where they are large or not beside one another.
    """
    if compiled is None:
        return None
    found = compiled.run(message, TAG, limits.value_bytes, MAX_JOINED_BYTES, *_BOUNDS)
    if found is None:
        return None
    rest, run, sizes, size, tails = found
    columns = label_columns(tails)
    return None if columns is None else Taken(rest, Kept(None, run, array("I", sizes), size), Columns(None, *columns))


def values(batch: Batch) -> list[object]:
    """The values of a batch, which were checked when they came: 0.35 µs a plain record that is decoded."""
    return batch.decoded(_decode)


def _decode(batch: Batch) -> list[object]:
    raw = batch.records
    sizes = list(map(len, raw))
    parts = split(raw, sizes) if max(sizes, default=0) < TABLE else None
    return [value_of(record) for record in raw] if parts is None else list(map(decode_checked, parts[0]))


class Strings(IntEnum):
    """What becomes of a value that is a string."""

    JSON = 0
    TEXT = 1
    """It is written as it is."""
    LINES = 2
    """It is written as it is, with what stands between offset and value for each of its line breaks."""
    RAW = 3
    """It is written as it is, and so is one that is bytes."""


def documents(
    batch: Batch,
    before: bytes,
    between: bytes | None,
    after: bytes,
    *,
    int64_as_string: bool,
    strings: Strings = Strings.JSON,
) -> bytes | None:
    """The values as JSON, each after `before` and before `after`, made without decoding them: 0.15 µs a plain record.

    None where `values` has to decode them first: where there is no compiled part, the records are not there as their
    run, or it leaves them to Python (see `_json.c`). What is made is to the byte what `json_lines` makes of those.

    Args:
        between: what stands between a record's offset and its value; None: no offset is written.
        strings: what becomes of values that are strings.
    """
    run, offsets = batch.kept.run, batch.offsets
    if compiled is None or run is None:
        return None
    if between is None:
        first = -1
    elif isinstance(offsets, range) and offsets.step == 1:
        first = offsets.start
    else:
        return None
    return compiled.documents(run, TAG, before, first, between or b"", after, int64_as_string, strings)


def blobs(batch: Batch) -> list[memoryview] | None:
    """Views of the values of large records, when all are bytes: joining them copies each but once."""
    if batch.size <= _LARGE * len(batch):
        return None
    found = []
    for record in batch.records:
        start, end = find_document(record)
        begin = blob_start(record, start, end)
        if not begin or (end < len(record) and labels(record[end:]) is None):
            return None
        found.append(memoryview(record)[begin:end])
    return found


def headers(record: bytes) -> Mapping[str, str]:
    """The headers of a serialised record: 0.4 µs with a tail that was met before."""
    start, end = find_document(record)
    return labelled_headers(record[end:]) if start else dict(parse(record).headers)


def header_column(batch: Batch) -> list[Mapping[str, str]] | None:
    """The headers of each record of a batch; None where plain records tell in C that there are none: 0.06 µs each."""
    raw = batch.records
    return None if are_plain(raw) else list(map(headers, raw))


def with_headers(records: list[bytes], added: Mapping[str, str], max_bytes: int) -> list[bytes]:
    """Records, checked, with further headers: 0.1 µs a plain record, 0.7 µs one with a tail.

    One that has one of them already, has no room for them under MAX_HEADERS, or would be over `max_bytes`, stays as
    it is.

    Raises:
        InvalidArgument: a header breaks its rule.
    """
    tail = make_tail("", "", added)
    room, most = max_bytes - len(tail), MAX_HEADERS - len(added)
    if are_plain(records):
        return [record + tail if len(record) <= room else record for record in records]

    def fits(record: bytes) -> bool:
        found = headers(record)
        return len(record) <= room and len(found) <= most and found.keys().isdisjoint(added)

    return [record + tail if fits(record) else record for record in records]


def record(value: object, key: str = "", event: str = "", headers: Mapping[str, str] | None = None) -> bytes:
    """Returns `value`, packed, as a serialised record: 0.8 µs for a map of four fields.

    Raises:
        InvalidValue, TypeError: what `pack` raises.
        InvalidArgument: the key, event or a header breaks its rule.
    """
    return record_from_packed(pack(value), key, event, headers)


def record_from_packed(
    packed: bytes, key: str = "", event: str = "", headers: Mapping[str, str] | None = None
) -> bytes:
    """Returns a MessagePack document, which is not looked at here, as a serialised record.

    Raises:
        InvalidArgument: the key, event or a header breaks its rule.
    """
    start = head(len(packed)) + packed
    return start + make_tail(key, event, headers) if key or event or headers else start


def record_from_blob(
    blob: bytes | memoryview, key: str = "", event: str = "", headers: Mapping[str, str] | None = None
) -> bytes:
    """Returns bytes as a serialised record, with one copy of them.

    Raises:
        InvalidArgument: the key, event or a header breaks its rule.
    """
    begin = blob_head(len(blob))
    tail = make_tail(key, event, headers) if key or event or headers else b""
    return b"".join((head(len(begin) + len(blob)), begin, blob, tail))


def record_from_json(json: bytes, key: str = "", event: str = "", headers: Mapping[str, str] | None = None) -> bytes:
    """Returns a JSON document, which is not looked at here, as a serialised record.

    Raises:
        InvalidArgument: the key, event or a header breaks its rule.
    """
    start = json_head(len(json)) + json
    return start + make_tail(key, event, headers) if key or event or headers else start


def _decode_all(documents: list[bytes], largest: int) -> list[object] | None:
    """The values of documents of which none has more than `largest` bytes, checked; None when one is refused."""
    try:
        return list(map(decode_short if largest <= KEY_BYTES else decode_small, documents))
    except ValueError:
        pass  # Not all of the common shape.
    try:
        return list(map(unpack_exact, documents))
    except InvalidValue:
        return None


def _parse_each(raw: list[bytes], keep: bool) -> Columns:
    found: list[object] = []
    keys: list[str] = []
    events: list[str] = []
    for at, record in enumerate(raw):
        try:
            value, key, event = _parse(record, keep)
        except RatError as error:
            where = f"records[{at}]"
            detail = f"{where}.{error.detail}" if error.field else f"{where} {error.detail}"
            raise type(error)(detail, field=f"{where}.{error.field}" if error.field else where) from None
        found.append(value)
        keys.append(key)
        events.append(event)
    return Columns(found if keep else None, keys if any(keys) else None, events if any(events) else None)


def _parse(record: bytes, keep: bool) -> tuple[object, str, str]:
    """Value, key and event of one record, checked; instead of a bytes value, None when it is not to be kept."""
    start, end = find_document(record)
    if start:
        found = ("", "") if end == len(record) else labels(record[end:])
        if found is not None:
            begin = blob_start(record, start, end)
            if begin:
                return record[begin:end] if keep else None, *found
            return unpack(_part(record, start, end)), *found
    message = parse(record)
    return from_data_value(message.value), *check_labels(message)


def value_of(record: bytes) -> object:
    """The value of one record that was checked."""
    start, end = find_document(record)
    if not start or (end < len(record) and labels(record[end:]) is None):
        return from_data_value(parse(record).value)
    begin = blob_start(record, start, end)
    return record[begin:end] if begin else decode_checked(_part(record, start, end))


def _part(record: bytes, start: int, end: int) -> bytes | memoryview:
    """A slice; where a copy would cost more, a view."""
    return record[start:end] if end - start <= _LARGE else memoryview(record)[start:end]
