"""Server-Sent Events (WHATWG HTML, section 9.2).

A string value is its text, one `data:` line for each of its lines (CR, LF and CRLF break lines, nothing else
does), with one space after the colon, so that a leading space is kept; anything else is JSON. Ids are cursors and
event types were checked when they were published, so nothing in a record can break out of its block.
Cost: 0.15 µs a record of four fields that is written in C from its packed form; else 0.25 µs beside decoding, in one
formatting call a batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from ratsvc.core.items import End, Gap, GapReason, Reconnect
from ratsvc.core.record import Batch
from ratsvc.formats import jsonview
from ratsvc.formats.base import Format, View
from ratsvc.quickmem import json_lines, wire


class Sse(Format):
    """`text/event-stream`."""

    name = "sse"
    media_type = "text/event-stream"

    def _encode(self, batch: Batch) -> bytes:
        if self.view is View.VALUE and batch.events is None and not batch.point:
            made = wire.documents(
                batch, b"id: %b-" % self.epoch.encode(), b"\ndata: ", b"\n\n",
                int64_as_string=self.int64_as_string, strings=wire.Strings.LINES,
            )  # fmt: skip
            if made is not None:
                return made
        count = len(batch)
        if batch.events is None:
            fields: list[object] = [None] * (2 * count)
        else:
            fields = [None] * (3 * count)
            fields[1::3] = [b"event: %b\n" % event.encode() if event else b"" for event in batch.events]
        step = len(fields) // count
        fields[::step] = batch.offsets
        fields[step - 1 :: step] = self._data(batch)
        if batch.point:
            fields[::step] = [self._id(offset, batch.point) for offset in batch.offsets]
            return _cursor_template(count, batch.events is not None) % tuple(fields)
        return _template(self.epoch, count, batch.events is not None) % tuple(fields)

    def _data(self, batch: Batch) -> list[bytes]:
        """What comes after the first `data: ` of each record."""
        if self.view is View.RECORD:
            return jsonview.record_lines(batch, self.epoch, self.int64_as_string).split(b"\n")[:-1]
        values = wire.values(batch)
        texts = _texts(values)
        if texts is not None:
            return texts
        lines = json_lines(values, int64_as_string=self.int64_as_string).split(b"\n")
        lines.pop()
        if str in set(map(type, values)):
            for at, value in enumerate(values):
                if type(value) is str:
                    lines[at] = text_lines(value)
        return lines

    def start(self, offset: int, point: int = 0) -> bytes:
        return b"retry: %d\nid: %b\n\n" % (self.retry_ms, self._id(offset, point))

    def gap(self, gap: Gap) -> bytes:
        # Records of other streams that it covers may follow: a drop in between must not lose them.
        place = gap.to if gap.reason is GapReason.EPOCH else gap.after
        return self._block(self._id(place), b"gap", jsonview.gap_object(gap, self.epoch))

    def end(self, end: End) -> bytes:
        return self._block(self._id(end.offset, end.point), b"end", jsonview.end_object(end, self.epoch))

    def heartbeat(self, offset: int, point: int = 0) -> bytes:
        return b"id: %b\n\n" % self._id(offset, point)

    def reconnect(self, reconnect: Reconnect) -> bytes:
        place = self._id(reconnect.offset, reconnect.point)
        block = self._block(place, b"reconnect", jsonview.reconnect_object(reconnect, self.epoch))
        return b"retry: %d\n%b" % (reconnect.retry_ms, block)

    def _block(self, place: bytes, event: bytes, data: object) -> bytes:
        return b"id: %b\n%b" % (place, block(jsonview.encode(data), event))

    def _id(self, offset: int, point: int = 0) -> bytes:
        return self.cursor(offset, point).encode()


def block(data: bytes, event: bytes = b"") -> bytes:
    """An event without an id.

    Args:
        data: one line, or what `text_lines` gives.
        event: its type, without line breaks and NUL; none is the same as `message`.
    """
    return b"event: %b\ndata: %b\n\n" % (event, data) if event else b"data: %b\n\n" % data


def _texts(values: list[object]) -> list[bytes] | None:
    """The lines of values that are all strings; None when one is not."""
    try:
        joined = "\n".join(cast(list[str], values))
    except TypeError:
        return None
    if "\r" in joined or joined.count("\n") != len(values) - 1:
        return list(map(text_lines, cast(list[str], values)))
    return joined.encode().split(b"\n")


def text_lines(value: str) -> bytes:
    """What stands after the first `data: ` of a block that brings a string."""
    lines = value.replace("\r\n", "\n").replace("\r", "\n")
    return lines.replace("\n", "\ndata: ").encode()


@lru_cache(maxsize=64)
def _template(epoch: str, count: int, has_events: bool) -> bytes:
    return _cursor_template(count, has_events).replace(b"id: %b", b"id: %b-%%d" % epoch.encode())


def _cursor_template(count: int, has_events: bool) -> bytes:
    return (b"id: %b\n%bdata: %b\n\n" if has_events else b"id: %b\ndata: %b\n\n") * count
