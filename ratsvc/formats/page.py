"""A page: records read at once, as one JSON document `{"records", "gaps", "next", "ended"}`."""

from __future__ import annotations

from collections.abc import Sequence

from ratsvc.core.cursor import Cursor
from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.formats import jsonview
from ratsvc.formats.base import View
from ratsvc.quickmem import json_lines, wire


def encode(
    batches: Sequence[Batch], gaps: Sequence[Gap], next_cursor: Cursor, ended: bool, view: View, int64_as_string: bool
) -> bytes:
    """The page's bytes."""
    records: list[object] = []
    for batch in batches:
        if view is View.RECORD:
            records += jsonview.records(batch, next_cursor.epoch, int64_as_string)
        else:
            records += wire.values(batch)
    page = {
        "records": records,
        "gaps": [jsonview.gap_object(gap, next_cursor.epoch) for gap in gaps],
        "next": str(next_cursor),
        "ended": ended,
    }
    return json_lines([page], int64_as_string=int64_as_string)
