"""Batches as the service makes them, strategies for their texts, and a strict parser of event streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from ratsvc.core.record import Batch
from ratsvc.quickmem import ValueLimits, parse_records, record

EPOCH = "e1"
#: 2026-11-20T22:56:02.123456789Z
TIME_NS = 1_795_215_362_123_456_789

_TROUBLE = (
    *("\r", "\n", "\r\n", "\0", "\ufeff", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e", " ", ":", "%d", "%"),
    *("data", "data: ", "id: 7", "event: gap", "retry: 1", "é", "🐀"),
)
#: Text that looks for trouble: line breaks of all kinds, NUL, byte-order marks, fields of the format itself.
texts = st.lists(
    st.sampled_from(_TROUBLE) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=12
).map("".join)


def make(
    values: Sequence[object],
    *,
    first: int = 41,
    keys: Sequence[str] | None = None,
    events: Sequence[str] | None = None,
    headers: Sequence[dict[str, str]] | None = None,
    cool: bool = False,
) -> Batch:
    """A batch of these values in the stream `a.b`, its records serialised and parsed as a publish does it."""
    none = [""] * len(values)
    labels = zip(keys or none, events or none, headers or [{}] * len(values), strict=True)
    return parsed([record(value, *label) for value, label in zip(values, labels, strict=True)], first, cool=cool)


def parsed(records: list[bytes], first: int = 41, *, cool: bool = False) -> Batch:
    """A batch of serialised records; a cool one keeps no values."""
    columns = parse_records(records, ValueLimits(value_bytes=8 * 1024 * 1024))
    offsets = range(first, first + len(records))
    values = None if cool else columns.values
    return Batch("a.b", offsets, TIME_NS, records, columns.keys, columns.events, values)


def heard(text: str) -> str:
    """`text` as an event stream can say it: every line break is a line feed."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class Event:
    """A dispatched event."""

    id: str
    type: str
    data: str


@dataclass
class EventStream:
    """What a browser makes of an event stream: WHATWG HTML, section 9.2.6, to the letter."""

    events: list[Event]
    last_event_id: str
    retry: int | None

    def __init__(self, body: bytes) -> None:
        self.events, self.last_event_id, self.retry = [], "", None
        text = body.decode("utf-8")
        lines = heard(text.removeprefix("\ufeff")).split("\n")
        assert lines.pop() == "", "the last line is not ended"
        id_buffer = type_buffer = data_buffer = ""
        for line in lines:
            name, colon, value = line.partition(":")
            value = value.removeprefix(" ")
            if line == "":
                self.last_event_id = id_buffer
                if data_buffer:
                    self.events.append(Event(id_buffer, type_buffer or "message", data_buffer.removesuffix("\n")))
                type_buffer = data_buffer = ""
                continue
            assert colon, f"a field without a colon: {line!r}"
            if name == "event":
                type_buffer = value
            elif name == "data":
                data_buffer += value + "\n"
            elif name == "id":
                assert "\0" not in value, "an id with NUL"
                id_buffer = value
            else:
                assert name == "retry", f"a field that the format does not use: {line!r}"
                assert value.isascii(), "not a number"
                assert value.isdigit(), "not a number"
                self.retry = int(value)
        assert data_buffer == type_buffer == "", "the last block is not ended"
