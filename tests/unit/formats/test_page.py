"""Pages."""

from __future__ import annotations

import json

from ratsvc.core.cursor import Cursor
from ratsvc.core.items import Gap, GapReason
from ratsvc.formats import View, page
from tests.unit.formats.items import EPOCH, make

NEXT = Cursor(EPOCH, 44)


def test_an_empty_page() -> None:
    body = page.encode([], [], NEXT, True, View.VALUE, False)
    assert body == b'{"records":[],"gaps":[],"next":"e1-44","ended":true}\n'


def test_values_gaps_and_the_place_to_read_on_from() -> None:
    gap = Gap(7, 40, GapReason.EPOCH, skipped=3, from_epoch="e0")
    body = page.encode([make([1, "a"]), make([b"\xff"], first=44)], [gap], NEXT, False, View.VALUE, False)
    assert json.loads(body) == {
        "records": [1, "a", "/w=="],
        "gaps": [{"from": "e0-7", "to": "e1-40", "reason": "epoch", "skipped": 3}],
        "next": "e1-44",
        "ended": False,
    }


def test_records_are_those_of_json_lines() -> None:
    body = page.encode([make([1, {"a": 2}], keys=["k", ""])], [], NEXT, False, View.RECORD, False)
    first, second = json.loads(body)["records"]
    assert (first["cursor"], first["key"], first["value"]) == ("e1-41", "k", 1)
    assert (second["cursor"], "key" in second, second["value"]) == ("e1-42", False, {"a": 2})


def test_integers_beyond_doubles_are_text_when_asked() -> None:
    batches = [make([2**60], first=2**60)]
    values = json.loads(page.encode(batches, [], NEXT, False, View.VALUE, True))["records"]
    records = json.loads(page.encode(batches, [], NEXT, False, View.RECORD, True))["records"]
    assert values == [str(2**60)]
    assert (records[0]["offset"], records[0]["value"]) == (str(2**60), str(2**60))
