"""Records and words about them as JSON: shared by every format that speaks it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from ratsvc.core.record import Batch, End, Gap, Reconnect
from ratsvc.quickmem import json_lines, wire

encode = msgspec.json.encode


def value_lines(batch: Batch, int64_as_string: bool) -> bytes:
    """The values, one JSON document a line: one call into C for the whole batch."""
    return json_lines(wire.values(batch), int64_as_string=int64_as_string)


def record_lines(batch: Batch, epoch: str, int64_as_string: bool) -> bytes:
    """The records as objects, one a line."""
    return json_lines(records(batch, epoch), int64_as_string=int64_as_string)


def records(batch: Batch, epoch: str) -> list[object]:
    """The records as plain objects: stream, offset, cursor, time, key?, event?, headers?, value."""
    time = rfc3339(batch.time_ns)
    keys, events = batch.keys, batch.events
    found: list[object] = []
    for at, (offset, raw, value) in enumerate(zip(batch.offsets, batch.records, wire.values(batch), strict=True)):
        record: dict[str, object] = {
            "stream": batch.stream,
            "offset": offset,
            "cursor": f"{epoch}-{offset}",
            "time": time,
        }
        if keys and keys[at]:
            record["key"] = keys[at]
        if events and events[at]:
            record["event"] = events[at]
        if headers := wire.headers(raw):
            record["headers"] = headers
        record["value"] = value
        found.append(record)
    return found


def rfc3339(time_ns: int) -> str:
    """A time (Unix, nanoseconds) in RFC 3339, to the microsecond."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def gap_object(gap: Gap, epoch: str) -> dict[str, object]:
    """`{"from", "to", "reason", "skipped"?}`."""
    found: dict[str, object] = {
        "from": f"{gap.from_epoch or epoch}-{gap.after}",
        "to": f"{epoch}-{gap.to}",
        "reason": gap.reason.value,
    }
    if gap.skipped is not None:
        found["skipped"] = gap.skipped
    return found


def end_object(end: End, epoch: str) -> dict[str, object]:
    """`{"cursor", "reason"}`."""
    return {"cursor": f"{epoch}-{end.offset}", "reason": end.reason}


def reconnect_object(reconnect: Reconnect, epoch: str) -> dict[str, object]:
    """`{"cursor", "retry_ms", "reason"}`."""
    return {
        "cursor": f"{epoch}-{reconnect.offset}",
        "retry_ms": reconnect.retry_ms,
        "reason": reconnect.reason,
    }
