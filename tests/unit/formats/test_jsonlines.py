"""JSON lines and JSON text sequences."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.items import End, Gap, GapReason, Reconnect
from ratsvc.formats import Format, View, make_format
from ratsvc.quickmem import from_json, to_json
from tests.unit.formats.items import EPOCH, make
from tests.unit.quickmem import model

LINES = make_format("ndjson", epoch=EPOCH)
RECORDS = make_format("ndjson", epoch=EPOCH, view=View.RECORD)
SEQUENCE = make_format("json-seq", epoch=EPOCH)
GAP = Gap(7, 90, GapReason.RETENTION)
RECONNECT = Reconnect(90, 3000, "drain")


def test_each_value_is_one_line() -> None:
    batch = make([{"b": 1, "a": [None, True]}, "x\ny\u2028", b"\xff", float("nan"), 2**64 - 1])
    assert LINES.batch(batch) == (
        '{"b":1,"a":[null,true]}\n"x\\ny\u2028"\n"/w=="\nnull\n18446744073709551615\n'.encode()
    )


def test_a_sequence_has_a_separator_before_each_document() -> None:
    assert SEQUENCE.batch(make([1, "a\n\x1eb", 3])) == b'\x1e1\n\x1e"a\\n\\u001eb"\n\x1e3\n'
    assert SEQUENCE.batch(make([1])) == b"\x1e1\n"


def test_a_record_leaves_out_what_it_does_not_have() -> None:
    batch = make([1, None], keys=["k", ""], events=["", "tick"], headers=[{}, {"h": "é"}])
    time = '"time":"2026-11-20T22:56:02.123456Z"'
    assert (
        RECORDS.batch(batch)
        == (
            f'{{"stream":"a.b","offset":41,"cursor":"e1-41",{time},"key":"k","value":1}}\n'
            f'{{"stream":"a.b","offset":42,"cursor":"e1-42",{time},"event":"tick","headers":{{"h":"é"}},"value":null}}\n'
        ).encode()
    )


def test_headers_of_records_without_key_and_event_are_there() -> None:
    batch = make([1, 2], headers=[{}, {"h": "x"}])
    assert [json.loads(line).get("headers") for line in RECORDS.batch(batch).splitlines()] == [None, {"h": "x"}]


def test_the_time_of_a_record_is_never_after_its_commit() -> None:
    batch = make([1])
    batch.time_ns = 1_795_215_362_999_999_999
    assert json.loads(RECORDS.batch(batch))["time"] == "2026-11-20T22:56:02.999999Z"
    batch = make([1])
    batch.time_ns = 1_795_215_362_000_000_000
    assert json.loads(RECORDS.batch(batch))["time"] == "2026-11-20T22:56:02.000000Z"


def test_with_int64_as_text_offsets_and_values_beyond_doubles_are_text() -> None:
    fmt = make_format("ndjson", epoch=EPOCH, view=View.RECORD, int64_as_string=True)
    first, second = map(json.loads, fmt.batch(make([[2**60], b"\xff"], first=2**53, keys=["k", ""])).splitlines())
    assert (first["offset"], first["value"], first["key"]) == (2**53, [str(2**60)], "k")
    assert (second["offset"], second["value"], second["cursor"]) == (str(2**53 + 1), "/w==", f"e1-{2**53 + 1}")
    assert "key" not in second
    plain = json.loads(RECORDS.batch(make([2**60], first=2**63)))
    assert (plain["offset"], plain["value"]) == (2**63, 2**60)


@pytest.mark.parametrize(
    ("fmt", "start", "end"),
    [
        (LINES, b'{"$rat":', b"}\n"),
        (RECORDS, b"", b"\n"),
        (SEQUENCE, b'\x1e{"$rat":', b"}\n"),
        (make_format("json-seq", epoch=EPOCH, view=View.RECORD), b"\x1e", b"\n"),
    ],
)
def test_words_about_the_records_are_wrapped_among_values(fmt: Format, start: bytes, end: bytes) -> None:
    assert fmt.gap(GAP) == start + b'{"gap":{"from":"e1-7","to":"e1-90","reason":"retention"}}' + end
    ended = fmt.end(End(90, "ended"))
    assert ended == start + b'{"end":{"cursor":"e1-90","reason":"ended"}}' + end
    word = b'{"reconnect":{"cursor":"e1-90","retry_ms":3000,"reason":"drain"}}'
    assert fmt.reconnect(RECONNECT) == start + word + end


def test_an_end_that_the_reader_set_itself_is_not_told_among_values() -> None:
    assert [LINES.end(End(90, reason)) for reason in ("limit", "until")] == [b"", b""]
    assert RECORDS.end(End(90, "limit")) == b'{"end":{"cursor":"e1-90","reason":"limit"}}\n'


def test_heartbeats() -> None:
    assert LINES.heartbeat(95) == b"\n"
    assert RECORDS.heartbeat(95) == b'{"heartbeat":{"cursor":"e1-95"}}\n'
    assert SEQUENCE.heartbeat(95) == b'\x1e{"$rat":{"heartbeat":{"cursor":"e1-95"}}}\n'


@given(st.lists(model.values, min_size=1, max_size=5), st.booleans(), st.booleans())
def test_every_line_is_one_document(values: list[object], int64_as_string: bool, cool: bool) -> None:
    fmt = make_format("ndjson", epoch=EPOCH, int64_as_string=int64_as_string)
    body = fmt.batch(make(values, cool=cool))
    assert body.endswith(b"\n")
    assert b"\r" not in body
    assert body.split(b"\n")[:-1] == [to_json(value, int64_as_string=int64_as_string) for value in values]


@given(st.lists(model.values, min_size=1, max_size=5), st.booleans())
def test_every_record_line_is_one_document_that_holds_the_value(values: list[object], int64_as_string: bool) -> None:
    fmt = make_format("ndjson", epoch=EPOCH, view=View.RECORD, int64_as_string=int64_as_string)
    lines = fmt.batch(make(values)).split(b"\n")
    assert lines.pop() == b""
    for line, value in zip(lines, values, strict=True):
        found = json.loads(line)
        assert found["stream"] == "a.b"
        assert model.same(found["value"], json.loads(to_json(value, int64_as_string=int64_as_string)))


@given(st.lists(model.json_values, min_size=1, max_size=5))
def test_what_json_can_say_comes_back_out_of_a_sequence(values: list[object]) -> None:
    body = SEQUENCE.batch(make(values))
    documents = body.split(b"\x1e")
    assert documents.pop(0) == b""
    assert all(document.endswith(b"\n") for document in documents)
    assert all(model.same(from_json(one), value) for one, value in zip(documents, values, strict=True))
