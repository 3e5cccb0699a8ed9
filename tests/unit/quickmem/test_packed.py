"""MessagePack documents: exact both ways, and hostile ones refused quickly."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratsvc.errors import InvalidValue
from ratsvc.quickmem import pack, unpack
from ratsvc.quickmem.packed import blob_start, decode_short, decode_small, unpack_exact

from . import model

raw = msgspec.msgpack.Encoder().encode


@given(model.values)
def test_a_value_comes_back_itself(value: object) -> None:
    assert model.same(unpack(pack(value)), value)


@given(model.values)
def test_the_fast_and_the_exact_decoder_agree_on_documents(value: object) -> None:
    document = pack(value)
    exact = unpack_exact(document)
    for decode in (decode_short, decode_small):
        try:
            fast = decode(document)
        except ValueError:
            continue
        assert model.same(fast, exact)


@given(st.binary(max_size=60))
@example(b"\x81\xa1a\x01\x01")
@example(b"\xd6\xff\x00\x00\x00\x01")
def test_any_bytes_are_a_value_or_refused_and_what_the_fast_decoder_takes_the_exact_one_takes(data: bytes) -> None:
    try:
        exact = unpack_exact(data)
    except InvalidValue:
        exact = InvalidValue
    for decode in (decode_short, decode_small, unpack):
        try:
            fast = decode(data)
        except ValueError:
            continue
        assert exact is not InvalidValue
        assert model.same(fast, exact)
    if exact is not InvalidValue:
        assert model.same(unpack(pack(exact)), exact)


@pytest.mark.parametrize("kind", ["list", "map", "both"])
def test_32_levels_are_taken_and_33_refused(kind: str) -> None:
    value = model.deep(32, kind)
    assert unpack(pack(value)) == value
    too_deep = model.deep(33, kind)
    with pytest.raises(InvalidValue, match="deeper than 32"):
        pack(too_deep)
    with pytest.raises(InvalidValue, match="deeper than 32"):
        unpack(raw(too_deep))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"\xc1", "invalid opcode"),
        (b"\x01\x02", "trailing"),
        (b"\x92\x01", "truncated"),
        (b"\x81\x01\x02", "key that is not text"),
        (b"\x81\xc4\x01a\x01", "key that is not text"),
        (b"\x81\xc0\x01", "key that is not text"),
        (b"\x81\x90\x01", "key that is not text"),
        (b"\x81\xd6\xff\x00\x00\x00\x01\x01", "key that is not text"),
        (b"\x81\x81\xa1a\x01\x01", "hashable"),
        (b"\xd4\x05a", "extension"),
        (b"\x91\xd4\x05a", "extension"),
        (b"\x81\xd4\x05a\x01", "extension"),
        (b"\xa1\xff", "UTF-8"),
        (b"\xa3\xed\xa0\x80", "UTF-8"),
        (b"\x81\xa1\xff\x01", "UTF-8"),
        (b"\xdd\xff\xff\xff\xff", "truncated"),
        (b"\xdf\xff\xff\xff\xff", "truncated"),
        (b"\xdb\xff\xff\xff\xff", "truncated"),
        (b"\xc6\xff\xff\xff\xff", "truncated"),
        (b"\xc7\x0c\xff" + bytes(4) + b"\x7f" * 8, "out of range"),
        (b"\xd4\xff\x00", "timestamp"),
        (b"\x91" * 100_000 + b"\x01", "deeper"),
        (b"\x81\xa0" * 100_000 + b"\x01", "deeper"),
    ],
)
def test_documents_that_are_no_value_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        unpack(data)


def assert_refused(value: object, why: str) -> None:
    """Both ways refuse `value`."""
    with pytest.raises(InvalidValue, match=why):
        pack(value)
    with pytest.raises(InvalidValue, match=why):
        unpack(raw(value))


@pytest.mark.parametrize("most", [[0] * 65_535, [[0] * 65_533, 1], {str(n): n for n in range(10_000)}])
def test_as_many_as_there_may_be_are_taken(most: object) -> None:
    assert unpack(pack(most)) == most


def test_more_are_refused() -> None:
    for over in ([0] * 65_536, [[0] * 65_534, 1], {"a": [0] * 65_535}):
        assert_refused(over, "65536 nodes")
    assert_refused({str(n): n for n in range(10_001)}, "10000 keys")


@pytest.mark.parametrize("key", ["k" * 256, "é" * 128, "😀" * 64])
def test_keys_have_at_most_256_bytes(key: str) -> None:
    values: list[object] = [{key: 1}, [{key: b""}], {"a": {key: None}}]
    for value in values:
        assert unpack(pack(value)) == value
        assert_refused(with_key(value, key, key + "x"), "key over 256 bytes")


def with_key(value: object, old: str, new: str) -> object:
    """`value` with one key for another."""
    if isinstance(value, dict):
        return {new if key == old else key: with_key(item, old, new) for key, item in value.items()}
    return [with_key(item, old, new) for item in value] if isinstance(value, list) else value


def test_many_nodes_in_small_documents_are_refused() -> None:
    with pytest.raises(InvalidValue, match="nodes"):
        unpack(b"\xdd" + struct.pack(">I", 1_000_000) + b"\x80" * 1_000_000)


def test_of_a_key_that_comes_twice_the_last_value_wins() -> None:
    assert unpack(b"\x82\xa1a\x01\xa1a\x02") == {"a": 2}
    assert unpack(b"\x82\xa1a\x01\xa1a\xc4\x01x") == {"a": b"x"}


def test_maps_keep_their_order() -> None:
    value = {"z": 1, "a": 2, "m": b"3"}
    assert list(unpack(pack(value))) == ["z", "a", "m"]  # type: ignore[call-overload]


def test_text_may_hold_nul_and_times_their_microseconds() -> None:
    assert unpack(pack("a\0b")) == "a\0b"
    for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)):
        assert unpack(pack({"t": moment})) == {"t": moment}


def test_where_the_bytes_of_a_bytes_document_begin() -> None:
    for size in (0, 1, 255, 256, 65_535, 65_536):
        record = b"head" + pack(bytes(size))
        begin = blob_start(record, 4, len(record))
        assert len(record) - begin == size
        assert blob_start(record + b"x", 4, len(record) + 1) == 0
    assert blob_start(b"head", 4, 4) == 0
    assert blob_start(b"head\x01", 4, 5) == 0
    assert blob_start(b"head\xc6\x00", 4, 6) == 0
