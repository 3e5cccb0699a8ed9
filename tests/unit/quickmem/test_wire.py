"""Records: what the fast ways find, compiled or with tables and slices, is what protobuf finds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rat.v1.record_pb2 import Record
from rat.v1.value_pb2 import DataValue

from ratsvc.core.record import Batch
from ratsvc.errors import InvalidArgument, InvalidValue, RatError, TooLarge
from ratsvc.names import RESERVED_EVENTS
from ratsvc.quickmem import ValueLimits, from_data_value, pack, to_data_value, to_json, to_tree, wire
from ratsvc.quickmem.framing import find_document
from tests.unit.compiled import need_compiled_check

from . import model

LIMITS = ValueLimits()
labels = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=30)
events = labels.filter(lambda event: event not in RESERVED_EVENTS)
headers = st.dictionaries(labels.filter(bool), labels, max_size=3)


@pytest.fixture(params=["compiled", "python"], autouse=True, scope="module")
def checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Has records checked in either way."""
    if request.param == "compiled":
        need_compiled_check()
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(wire, "compiled", None)
        yield


@st.composite
def records(draw: st.DrawFn) -> tuple[Record, bytes, object]:
    """A record as a message, as bytes made in one of the ways there are, and its value."""
    way = draw(st.sampled_from(["tree", "packed", "json", "ours", "ours json"]))
    value = draw(model.json_values if "json" in way else model.values)
    encode = {"tree": to_tree, "packed": to_data_value, "ours": to_data_value}.get(way)
    message = Record(value=encode(value) if encode else DataValue(json=to_json(value)))
    if draw(st.booleans()):
        message.key, message.event = draw(labels), draw(events)
        message.headers.update(draw(headers))
    rest = message.key, message.event, dict(message.headers)
    if way == "ours":
        return message, wire.record(value, *rest), value
    if way == "ours json":
        return message, wire.record_from_json(to_json(value), *rest), value
    return message, message.SerializeToString(), value


def batch(raw: list[bytes]) -> Batch:
    return Batch("s", range(len(raw)), 0, raw)


def values_of(raw: list[bytes], columns: wire.Columns) -> list[object]:
    """The values of records, where they were not decoded by the check from the records."""
    return wire.values(Batch("s", range(len(raw)), 0, raw, values=columns.values))


@given(st.lists(records(), max_size=5))
def test_records_come_back_themselves(made: list[tuple[Record, bytes, object]]) -> None:
    messages, raw, values = [list(column) for column in zip(*made, strict=True)] if made else ([], [], [])
    columns = wire.parse_records(raw, LIMITS)
    assert model.same(values_of(raw, columns), values)
    assert model.same(wire.values(batch(raw)), values)
    keys, names = [message.key for message in messages], [message.event for message in messages]
    assert columns.keys == (keys if any(keys) else None)
    assert columns.events == (names if any(names) else None)
    assert [wire.headers(record) for record in raw] == [dict(message.headers) for message in messages]
    assert [Record.FromString(record) for record in raw] == messages or not all(map(same_nan, values))


def same_nan(value: object) -> bool:
    """Whether a value equals itself: messages with a NaN do not."""
    return "nan" not in repr(value)


@given(st.lists(model.values, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_broken_records_are_refused_or_mean_what_protobuf_says(values: list[object], chance: random.Random) -> None:
    raw = [bytearray(wire.record(value, key="k" if chance.random() < 0.5 else "")) for value in values]
    broken = chance.choice(raw)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(broken) + 1)
        if chance.random() < 0.5 and at < len(broken):
            broken[at] = chance.choice([0, 1, 0x0A, 0x5A, 0x12, 0x7F, 0x80, 0xC4, 0xFF, chance.randrange(256)])
        elif chance.random() < 0.5:
            del broken[at:]
        else:
            broken.insert(at, chance.randrange(256))
    agree([bytes(record) for record in raw])


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=3))
@example([b"\n"])
@example([b"\x00\x00"])
@example([b""])
@example([b"\x01", b"\xa1a"])
@example([b"\n\x03Z\x01\xc0", b"\n\x02Z\x00"])
@example([b"\n\x83\x00Z\x01\xc0"])
@example([b"\n\x04Z\x81\x00\xc0"])
@example([b"\n\x03Z\x01\x01\n\x03Z\x01\x02"])
@example([b"\n\x03Z\x01\x01\n\x00"])
@example([b"\x12\x01k\n\x03Z\x01\x01"])
@example([b"\n\x03Z\x01\x01\x12\x01k\x12\x01l"])
@example([b"\n\xff\xff\xff\xff\x0fZ"])
@example([b"\n\xff\xff\x7fZ"])
def test_any_bytes_are_refused_or_mean_what_protobuf_says(raw: list[bytes]) -> None:
    agree(raw)


def agree(raw: list[bytes]) -> None:
    """Checks records against protobuf alone."""
    try:
        messages = [Record.FromString(record) for record in raw]
        expected = [from_data_value(message.value) for message in messages]
        for message in messages:
            wire.record(None, message.key, message.event, dict(message.headers))
    except Exception:
        with pytest.raises((InvalidValue, InvalidArgument), match=r"^records\[\d+\]"):
            wire.parse_records(raw, LIMITS)
        return
    columns = wire.parse_records(raw, LIMITS)
    assert model.same(values_of(raw, columns), expected)
    assert model.same(wire.values(batch(raw)), expected)
    assert (columns.keys or [""] * len(raw)) == [message.key for message in messages]
    assert (columns.events or [""] * len(raw)) == [message.event for message in messages]


@pytest.mark.parametrize("around", [0, 115, 120, 125, 16_370, 16_380, 19_990, 65_530])
def test_every_size_around_the_steps_of_the_lengths(around: int) -> None:
    raw = [wire.record_from_packed(pack("x" * size)) for size in range(around, around + 20)]
    for record in raw:
        assert record == Record.FromString(record).SerializeToString()
        start, end = find_document(record)
        assert record[start:end] == Record.FromString(record).value.packed
    values = ["x" * size for size in range(around, around + 20)]
    assert wire.values(batch(raw)) == values
    columns = wire.parse_records(raw, LIMITS)
    assert values_of(raw, columns) == values
    assert columns.values == (values if around < 4096 and wire.compiled is None else None)
    keyed = [wire.record("x" * size, key="k" * (size % 200)) for size in range(around, around + 20)]
    assert wire.values(batch(keyed)) == values
    assert wire.parse_records(keyed, LIMITS).keys == ["k" * (size % 200) for size in range(around, around + 20)]


def test_large_values_are_checked_and_not_kept() -> None:
    blob = bytes(65_536)
    raw = [wire.record(blob), wire.record(blob, key="k", headers={"index": "1"})]
    columns = wire.parse_records(raw, LIMITS)
    assert columns.values is None
    assert columns.keys == ["", "k"]
    assert wire.values(batch(raw)) == [blob, blob]
    assert wire.headers(raw[1]) == {"index": "1"}
    with pytest.raises(InvalidValue, match=r"^records\[1\]\.value"):
        wire.parse_records([raw[0], wire.record_from_packed(pack([blob])[:-1])], LIMITS)


def test_values_that_a_batch_has_are_not_made_again() -> None:
    values: list[object] = [1]
    assert wire.values(Batch("s", range(1), 0, [wire.record(1)], values=values)) is values


@pytest.mark.parametrize("kind", ["list", "map", "both"])
@pytest.mark.parametrize("encode", [to_tree, to_data_value])
def test_32_levels_are_taken_and_33_refused(kind: str, encode: object) -> None:
    raw = [Record(value=to_tree(model.deep(32, kind))).SerializeToString(), wire.record(model.deep(32, kind))]
    assert wire.parse_records(raw, LIMITS).values == [model.deep(32, kind)] * 2
    deeper = DataValue()
    if kind == "map":
        deeper.map_value.entries["k"].CopyFrom(to_tree(model.deep(32, kind)))
    else:
        deeper.list_value.items.append(to_tree(model.deep(32, kind)))
    packed = b"\x91" + pack(model.deep(32, kind))
    for too_deep in (Record(value=deeper).SerializeToString(), wire.record_from_packed(packed)):
        with pytest.raises(InvalidValue, match=r"^records\[1\]\.value is nested deeper than 32"):
            wire.parse_records([raw[0], too_deep], LIMITS)


def test_nesting_that_protobuf_refuses_is_a_malformed_record() -> None:
    inner = b"\x08\x00"
    for _ in range(2_000):
        items = b"\x0a" + varint(len(inner)) + inner
        inner = b"\x4a" + varint(len(items)) + items
    with pytest.raises(InvalidValue, match=r"^records\[0\]"):
        wire.parse_records([b"\x0a" + varint(len(inner)) + inner], LIMITS)


def varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


PLAIN = wire.record({"a": 1})


@pytest.mark.parametrize(
    ("bad", "field", "why"),
    [
        (b"\xff\xff\xff", "records[1]", "not a serialised"),
        (b"", "records[1].value", "no kind"),
        (b"\x0a\x00", "records[1].value", "no kind"),
        (b"\x0a\x02\x5a\x00", "records[1].value", "MessagePack"),
        (wire.record_from_packed(b"\x01\x02"), "records[1].value", "trailing"),
        (wire.record_from_packed(b"\x81\x01\x02", key="k"), "records[1].value", "not text"),
        (wire.record_from_packed(b"\xd4\x05a"), "records[1].value", "extension"),
        (wire.record_from_packed(b"\xa1\xff"), "records[1].value", "UTF-8"),
        (wire.record_from_json(b'{"a":'), "records[1].value", "JSON"),
        (wire.record_from_json(b"1e400"), "records[1].value", "JSON"),
        (PLAIN + b"\x12\x01\xff", "records[1]", "not a serialised"),
        (PLAIN + b"\x12\x03a\nb", "records[1].key", "line breaks"),
        (PLAIN + b"\x12\x81\x02" + b"k" * 257, "records[1].key", "256 bytes"),
        (PLAIN + b"\x1a\x03a\rb", "records[1].event", "line breaks"),
        (PLAIN + b"\x1a\x03end", "records[1].event", "reserved"),
        (PLAIN + b"\x1a\x81\x01" + b"e" * 129, "records[1].event", "128 bytes"),
        (PLAIN + Record(headers={"a": "b\n"}).SerializeToString(), "records[1].headers", "line breaks"),
        (PLAIN + Record(headers={"a\0": "b"}).SerializeToString(), "records[1].headers", "NUL"),
        (PLAIN + Record(headers={"": "b"}).SerializeToString(), "records[1].headers", "1 to 128"),
        (PLAIN + Record(headers={"h" * 129: "b"}).SerializeToString(), "records[1].headers", "128 bytes"),
        (PLAIN + Record(headers={"a": "v" * 4097}).SerializeToString(), "records[1].headers", "4096 bytes"),
        (PLAIN + Record(headers={str(n): "" for n in range(33)}).SerializeToString(), "records[1].headers", "32"),
    ],
)
@pytest.mark.parametrize("others", [PLAIN, wire.record(1, key="k"), wire.record(datetime(2026, 1, 1, tzinfo=UTC))])
def test_a_refusal_names_the_record_and_what_is_wrong_with_it(others: bytes, bad: bytes, field: str, why: str) -> None:
    with pytest.raises(RatError, match=why) as refused:
        wire.parse_records([others, bad, others], LIMITS)
    assert refused.value.field == field
    assert refused.value.detail.startswith(field)


def test_a_record_over_the_limit_is_too_large() -> None:
    exact = wire.record(bytes(1000))
    limits = ValueLimits(value_bytes=len(exact))
    wire.parse_records([exact], limits)
    with pytest.raises(TooLarge, match=rf"records\[1\] has {len(exact) + 1} bytes; at most {len(exact)}") as refused:
        wire.parse_records([exact, wire.record(bytes(1001))], limits)
    assert refused.value.field == "records[1]"


def test_making_a_record_checks_its_labels() -> None:
    for labels in ({"key": "a\nb"}, {"event": "gap"}, {"headers": {"a": "\r"}}, {"key": "\ud800"}):
        with pytest.raises(InvalidArgument):
            wire.record(1, **labels)
        with pytest.raises(InvalidArgument):
            wire.record_from_json(b"1", **labels)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 1_000_000])
@pytest.mark.parametrize("headers", [None, {"name": "x"}])
def test_a_record_of_bytes_is_the_same_with_one_copy(size: int, headers: dict[str, str] | None) -> None:
    blob = b"\xc4" * size
    assert wire.record_from_blob(memoryview(blob), headers=headers) == wire.record(blob, headers=headers)


def test_labels_at_their_limits_are_taken() -> None:
    fields = {f"{n:03}" + "h" * 125: "v" * 4096 for n in range(32)}
    record = wire.record("v", key="k" * 256, event="e" * 128, headers=fields)
    columns = wire.parse_records([record, PLAIN], LIMITS)
    assert columns.keys == ["k" * 256, ""]
    assert columns.events == ["e" * 128, ""]
    assert wire.headers(record) == fields
    assert wire.headers(PLAIN) == {}


def test_unknown_fields_are_let_through() -> None:
    record = PLAIN + b"\xf8\x07\x01"
    assert values_of([record], wire.parse_records([record], LIMITS)) == [{"a": 1}]
    assert wire.values(batch([record])) == [{"a": 1}]
