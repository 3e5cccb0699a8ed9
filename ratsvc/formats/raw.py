"""Text (a line a record) and chunked (the records' bytes with nothing between).

Neither has room for words about the records: a gap breaks the response off. With `view=record` both send the
records as JSON lines.
Cost: 0.01 µs a record of the kind that the format is for, and one copy of its bytes; none
of a large one's that stands alone, as a file's chunks do.
"""

from __future__ import annotations

from typing import cast

from ratsvc.core.record import Batch, Encoding
from ratsvc.formats.base import Format, View
from ratsvc.formats.jsonview import record_lines
from ratsvc.quickmem import json_lines, wire


class Text(Format):
    """`text/plain`: strings as they are, anything else as JSON; each followed by a line feed."""

    name = "text"
    media_type = "text/plain; charset=utf-8"
    breaks_on_gap = True

    def _encode(self, batch: Batch) -> bytes:
        if self.view is View.RECORD:
            return record_lines(batch, self.epoch, self.int64_as_string)
        made = wire.documents(batch, b"", None, b"\n", int64_as_string=self.int64_as_string, strings=wire.Strings.TEXT)
        if made is not None:
            return made
        values = wire.values(batch)
        try:
            return ("\n".join(cast(list[str], values)) + "\n").encode()
        except TypeError:
            pass  # Not all strings.
        data = json_lines(values, int64_as_string=self.int64_as_string)
        if str not in set(map(type, values)):
            return data
        lines = data.split(b"\n")
        for at, value in enumerate(values):
            if type(value) is str:
                lines[at] = value.encode()
        return b"\n".join(lines)


class Chunked(Format):
    """`application/octet-stream`: bytes and strings as they are, anything else as JSON."""

    name = "chunked"
    media_type = "application/octet-stream"
    breaks_on_gap = True

    def _encode(self, batch: Batch) -> Encoding:
        if self.view is View.RECORD:
            return record_lines(batch, self.epoch, self.int64_as_string)
        if batch.values is None and (views := wire.blobs(batch)) is not None:
            return b"".join(views) if len(views) > 1 else views[0]
        made = wire.documents(batch, b"", None, b"", int64_as_string=self.int64_as_string, strings=wire.Strings.RAW)
        if made is not None:
            return made
        values = wire.values(batch)
        if len(values) == 1 and type(values[0]) is bytes:
            return values[0]
        try:
            return b"".join(cast(list[bytes], values))
        except TypeError:
            return b"".join(map(self._bytes, values))

    def _bytes(self, value: object) -> bytes:
        if type(value) is bytes:
            return value
        if type(value) is str:
            return value.encode()
        return json_lines([value], int64_as_string=self.int64_as_string)[:-1]
