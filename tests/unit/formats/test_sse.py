"""Server-Sent Events: the bytes, and what browsers and httpx-sse make of them."""

from __future__ import annotations

import json

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.items import End, Gap, GapReason, Heartbeat, Item, Reconnect
from ratsvc.formats import Format, View, encode_items, make_format
from tests.unit.formats.items import EPOCH, Event, EventStream, heard, make, texts

SSE = make_format("sse", epoch=EPOCH, retry_ms=1500)
RECORDS = make_format("sse", epoch=EPOCH, view=View.RECORD)


def by_httpx_sse(body: bytes, cut: int) -> list[tuple[str, str, str]]:
    """Id, type and data of what httpx-sse dispatches, of a body that comes in pieces of `cut` characters."""
    lines, decoder, found = SSELineDecoder(), SSEDecoder(), []
    text = body.decode()
    for start in range(0, len(text), cut):
        for line in lines.decode(text[start : start + cut]):
            event = decoder.decode(line)
            if event is not None:
                found.append((event.id, event.event, event.data))
    return found


def test_a_response_begins_with_retry_and_the_place_and_dispatches_nothing() -> None:
    assert SSE.start(40) == b"retry: 1500\nid: e1-40\n\n"
    stream = EventStream(SSE.start(40))
    assert (stream.events, stream.last_event_id, stream.retry) == ([], "e1-40", 1500)


@pytest.mark.parametrize("cool", [False, True])
def test_text_is_raw_and_anything_else_json(cool: bool) -> None:
    batch = make([{"a": 1}, " x", None, b"\x00\xff", 1.5, "", True, "a\nb"], cool=cool)
    assert SSE.batch(batch) == (
        b'id: e1-41\ndata: {"a":1}\n\n'
        b"id: e1-42\ndata:  x\n\n"
        b"id: e1-43\ndata: null\n\n"
        b'id: e1-44\ndata: "AP8="\n\n'
        b"id: e1-45\ndata: 1.5\n\n"
        b"id: e1-46\ndata: \n\n"
        b"id: e1-47\ndata: true\n\n"
        b"id: e1-48\ndata: a\ndata: b\n\n"
    )


def test_values_without_text_have_one_line_each() -> None:
    batch = make([{"a": "x\ny"}, [1, 2], 3])
    assert SSE.batch(batch) == (b'id: e1-41\ndata: {"a":"x\\ny"}\n\nid: e1-42\ndata: [1,2]\n\nid: e1-43\ndata: 3\n\n')


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb", b"data: a\ndata: b\n"),
        ("a\rb", b"data: a\ndata: b\n"),
        ("a\r\nb", b"data: a\ndata: b\n"),
        ("a\n\rb", b"data: a\ndata: \ndata: b\n"),
        ("\n", b"data: \ndata: \n"),
        ("a\n", b"data: a\ndata: \n"),
        ("a\u2028b\x85c\x0b\x0c\x1c", "data: a\u2028b\x85c\x0b\x0c\x1c\n".encode()),
        ("\0\ufeff", "data: \0\ufeff\n".encode()),
        ("%d%b%%", b"data: %d%b%%\n"),
    ],
)
def test_cr_lf_and_crlf_break_lines_and_nothing_else_does(text: str, lines: bytes) -> None:
    assert SSE.batch(make([text])) == b"id: e1-41\n" + lines + b"\n"
    assert SSE.batch(make([text, 1])) == b"id: e1-41\n" + lines + b"\nid: e1-42\ndata: 1\n\n"


def test_the_event_field_is_there_only_where_it_is_set() -> None:
    batch = make([1, "x\ny", 3], events=["", "tick é", ""])
    assert SSE.batch(batch) == (
        "id: e1-41\ndata: 1\n\nid: e1-42\nevent: tick é\ndata: x\ndata: y\n\nid: e1-43\ndata: 3\n\n".encode()
    )


def test_offsets_that_do_not_follow_one_another_are_told() -> None:
    picked = make([1, 2, 3]).picked([0, 2])
    assert picked is not None
    assert SSE.batch(picked) == b"id: e1-41\ndata: 1\n\nid: e1-43\ndata: 3\n\n"


def test_the_record_view_is_json_in_one_data_line() -> None:
    (event,) = EventStream(RECORDS.batch(make(["a\nb"], keys=["k"], events=["tick"]))).events
    assert (event.id, event.type) == ("e1-41", "tick")
    assert json.loads(event.data) == {
        "stream": "a.b",
        "offset": 41,
        "cursor": "e1-41",
        "time": "2026-11-20T22:56:02.123456Z",
        "key": "k",
        "event": "tick",
        "value": "a\nb",
    }


def test_integers_beyond_doubles_are_text_when_asked() -> None:
    fmt = make_format("sse", epoch=EPOCH, int64_as_string=True)
    assert fmt.batch(make([[2**53, 2**53 + 1]])) == b'id: e1-41\ndata: [9007199254740992,"9007199254740993"]\n\n'


def test_a_gap_moves_the_place_to_its_end() -> None:
    gap = Gap(7, 90, GapReason.EPOCH, from_epoch="e0")
    assert SSE.gap(gap) == b'id: e1-90\nevent: gap\ndata: {"from":"e0-7","to":"e1-90","reason":"epoch"}\n\n'


def test_a_gap_for_slowness_keeps_the_place_because_newest_records_that_it_covers_follow() -> None:
    gap = Gap(7, 90, GapReason.SLOW, skipped=80)
    assert SSE.gap(gap) == (
        b'id: e1-7\nevent: gap\ndata: {"from":"e1-7","to":"e1-90","reason":"slow","skipped":80}\n\n'
    )


def test_words_about_the_records() -> None:
    assert SSE.end(End(90, "ended")) == b'id: e1-90\nevent: end\ndata: {"cursor":"e1-90","reason":"ended"}\n\n'
    assert SSE.heartbeat(95) == b"id: e1-95\n\n"
    assert SSE.reconnect(Reconnect(90, 3000, "drain")) == (
        b'retry: 3000\nid: e1-90\nevent: reconnect\ndata: {"cursor":"e1-90","retry_ms":3000,"reason":"drain"}\n\n'
    )


def test_a_heartbeat_moves_the_place_and_dispatches_nothing() -> None:
    stream = EventStream(SSE.start(40) + SSE.batch(make([1])) + SSE.heartbeat(99))
    assert (len(stream.events), stream.last_event_id) == (1, "e1-99")


@given(st.lists(texts, min_size=1, max_size=6))
def test_any_text_comes_out_as_it_went_in_but_for_its_line_breaks(values: list[str]) -> None:
    stream = EventStream(SSE.start(40) + SSE.batch(make(values)))
    expected = [Event(f"e1-{41 + at}", "message", heard(value)) for at, value in enumerate(values)]
    assert (stream.events, stream.retry) == (expected, 1500)


@given(st.lists(texts | st.integers(0, 9) | st.lists(texts), min_size=1, max_size=6), st.integers(1, 50))
def test_httpx_sse_reads_the_same(values: list[object], cut: int) -> None:
    body = SSE.start(40) + SSE.batch(make(values)) + SSE.heartbeat(99)
    stream = EventStream(body)
    assert len(stream.events) == len(values)
    expected = [("e1-40", "message", "")]
    expected += [(event.id, event.type, event.data) for event in stream.events]
    assert by_httpx_sse(body, cut) == [*expected, ("e1-99", "message", "")]


@given(
    st.lists(
        st.tuples(texts, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=9)),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([SSE, RECORDS]),
)
def test_no_text_can_add_an_event_or_change_an_id_a_type_or_the_retry_time(
    records: list[tuple[str, str]], fmt: Format
) -> None:
    reserved = {"gap", "end", "reconnect", "error"}
    events = [event if event not in reserved else "" for _, event in records]
    batch = make([value for value, _ in records], events=events)
    items: list[Item] = [batch, Heartbeat(98), End(99, "ended")]
    stream = EventStream(SSE.start(40) + b"".join(encode_items(fmt, items)))
    assert [event.id for event in stream.events] == [f"e1-{offset}" for offset in batch.offsets] + ["e1-99"]
    assert [event.type for event in stream.events] == [event or "message" for event in events] + ["end"]
    assert (stream.last_event_id, stream.retry) == ("e1-99", 1500)
