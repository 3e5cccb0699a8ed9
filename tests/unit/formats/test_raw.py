"""Text lines and chunks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.items import End, Gap, GapReason, Reconnect
from ratsvc.formats import Format, View, make_format
from ratsvc.quickmem import record, to_json
from tests.unit.formats.items import EPOCH, make, parsed, texts
from tests.unit.quickmem import model

TEXT = make_format("text", epoch=EPOCH)
CHUNKED = make_format("chunked", epoch=EPOCH)


def test_text_is_a_line_as_it_is_and_anything_else_json() -> None:
    assert TEXT.batch(make(["a", "é ", ""])) == "a\né \n\n".encode()
    assert TEXT.batch(make(["a", 1, "b\n", b"\xff", {"a": "b"}])) == b'a\n1\nb\n\n"/w=="\n{"a":"b"}\n'
    assert TEXT.batch(make([1, None])) == b"1\nnull\n"


def test_chunks_are_the_bytes_with_nothing_between() -> None:
    assert CHUNKED.batch(make([b"\x00\xff", b"", b"x\n"])) == b"\x00\xffx\n"
    assert CHUNKED.batch(make([b"\xff"])) == b"\xff"
    assert CHUNKED.batch(make(["a", "é"])) == "aé".encode()
    assert CHUNKED.batch(make([b"\xff", "é", {"a": 1}, 2])) == b'\xff\xc3\xa9{"a":1}2'


@pytest.mark.parametrize("fmt", [TEXT, CHUNKED])
def test_there_is_no_room_for_words_about_the_records(fmt: Format) -> None:
    assert fmt.breaks_on_gap
    words = [fmt.start(1), fmt.gap(Gap(1, 2, GapReason.SLOW)), fmt.end(End(1, "ended")), fmt.heartbeat(1)]
    assert [*words, fmt.reconnect(Reconnect(1, 2, "drain"))] == [b""] * 5


@pytest.mark.parametrize("name", ["text", "chunked"])
def test_the_record_view_is_json_lines(name: str) -> None:
    fmt = make_format(name, epoch=EPOCH, view=View.RECORD)
    lines = fmt.batch(make([b"a", b"b"])).splitlines()
    assert [json.loads(line)["cursor"] for line in lines] == ["e1-41", "e1-42"]


@pytest.mark.parametrize("key", ["", "k"])
def test_large_chunks_come_out_of_the_records_byte_for_byte(key: str) -> None:
    chunks = [bytes([at]) * (100_000 + at) for at in range(3)]
    batch = parsed([record(chunk, key=key) for chunk in chunks])
    assert batch.values is None
    assert CHUNKED.batch(batch) == b"".join(chunks)
    mixed = parsed([record(value) for value in [*chunks, "x" * 20_000]])
    assert mixed.values is None
    assert CHUNKED.batch(mixed) == b"".join(chunks) + b"x" * 20_000


@given(st.lists(st.binary(max_size=400), min_size=1), st.booleans())
def test_a_file_comes_out_byte_for_byte(chunks: list[bytes], cool: bool) -> None:
    assert CHUNKED.batch(make(chunks, cool=cool)) == b"".join(chunks)


@given(st.lists(texts | model.values, min_size=1, max_size=6))
def test_text_is_the_values_joined_each_as_its_kind_asks(values: list[object]) -> None:
    expected = [value.encode() if isinstance(value, str) else to_json(value) for value in values]
    assert TEXT.batch(make(values)) == b"".join(line + b"\n" for line in expected)
