"""JSON: what it can say comes back itself; what is out of range or malformed is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.errors import InvalidValue
from ratsvc.quickmem import from_json, json_lines, to_json

from . import model


@given(model.json_values)
def test_a_value_that_json_can_say_comes_back_itself(value: object) -> None:
    assert model.same(from_json(to_json(value)), value)
    assert model.same(json.loads(to_json(value)), value)


@given(st.lists(model.values))
def test_lines_are_the_documents_one_by_one(values: list[object]) -> None:
    assert json_lines(values) == b"".join(to_json(value) + b"\n" for value in values)
    strings = b"".join(to_json(value, int64_as_string=True) + b"\n" for value in values)
    assert json_lines(values, int64_as_string=True) == strings


@given(model.values)
def test_a_document_has_no_line_break(value: object) -> None:
    assert not {b"\n", b"\r"} & {bytes([byte]) for byte in to_json(value)}


def unsafe_as_text(value: object) -> object:
    if type(value) is int and abs(value) > 2**53:
        return str(value)
    if isinstance(value, dict):
        return {key: unsafe_as_text(item) for key, item in value.items()}
    return [unsafe_as_text(item) for item in value] if isinstance(value, list) else value


@given(model.json_values)
def test_integers_that_a_double_cannot_hold_are_strings_when_asked(value: object) -> None:
    assert model.same(from_json(to_json(value, int64_as_string=True)), unsafe_as_text(value))


def test_bytes_are_base64_times_rfc3339_and_what_json_lacks_null() -> None:
    moment = datetime(2026, 11, 20, 1, 2, 3, 450_000, tzinfo=UTC)
    value = {"b": b"\xfb\xff", "t": moment, "n": float("nan"), "i": [float("inf"), float("-inf")], "z": -0.0}
    assert to_json(value) == b'{"b":"+/8=","t":"2026-11-20T01:02:03.450000Z","n":null,"i":[null,null],"z":-0.0}'


@given(st.text(max_size=40) | st.text('[]{}",:0123456789.eE+-\\untrfals ', max_size=40))
def test_any_text_is_read_as_python_reads_it_or_refused(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    try:
        value = from_json(data)
    except InvalidValue:
        return
    assert model.same(value, json.loads(data))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = from_json(data)
    except InvalidValue:
        return
    assert model.same(from_json(to_json(value)), value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" " * 1000,
        b"tru",
        b"[1,]",
        b"1 2",
        b"01",
        b"NaN",
        b"Infinity",
        b"1e400",
        b'{"a":-1e999}',
        b"18446744073709551616",
        b"-9223372036854775809",
        b'{"a":[18446744073709551616]}',
        b"9" * 5000,
        b'"\\ud800"',
        b'"\\ud800\\u0041"',
        b'"\\udc00"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'{"\xff":1}',
        b'"a\x00b"',
        b'"a\nb"',
        b"\xef\xbb\xbf1",
        "[1]".encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"{1:2}",
        b"{'a':1}",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_documents_that_are_no_value_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue):
        from_json(data)


def test_the_message_says_where() -> None:
    with pytest.raises(InvalidValue, match=r"byte 7"):
        from_json(b'{"a":1 x}')


@pytest.mark.parametrize("kind", ["list", "map", "both"])
def test_32_levels_are_taken_and_33_refused(kind: str) -> None:
    value = model.deep(32, kind)
    assert from_json(to_json(value)) == value
    too_deep = model.deep(33, kind)
    with pytest.raises(InvalidValue, match="deeper than 32"):
        to_json(too_deep)
    with pytest.raises(InvalidValue, match="deeper than 32"):
        from_json(json.dumps(too_deep).encode())


def test_counts_and_sizes_at_their_limits() -> None:
    assert len(from_json(json.dumps([0] * 65_535).encode())) == 65_535  # type: ignore[arg-type]
    for over, why in (
        ([0] * 65_536, "nodes"),
        ({str(n): 0 for n in range(10_001)}, "10000 keys"),
        ({"k" * 257: 1}, "256 bytes"),
        ([{"é" * 129: 1}], "256 bytes"),
    ):
        with pytest.raises(InvalidValue, match=why):
            from_json(json.dumps(over, ensure_ascii=False).encode())


def test_names_that_come_twice_nul_and_the_ends_of_the_integers() -> None:
    assert from_json(b'{"a":1,"b":2,"a":3}') == {"a": 3, "b": 2}
    assert from_json(b'"\\u0000"') == "\0"
    assert from_json(b"[18446744073709551615,-9223372036854775808]") == [2**64 - 1, -(2**63)]
