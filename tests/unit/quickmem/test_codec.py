"""The codec for programs: exact both ways at any size, bounded, and ValueError at once for what is broken."""

from __future__ import annotations

import json
import sys
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratsvc import quickmem
from ratsvc.quickmem import GLOBAL_CONVERTER, QuickCodec, codec, decode, encode, get_pool_stats, to_tree
from ratsvc.quickmem.codec import MAX_BYTES

from . import model

MIB = 1024 * 1024


@given(model.values)
def test_a_value_comes_back_itself_by_every_way(value: object) -> None:
    document = encode(value)
    assert model.same(decode(document), value)
    assert quickmem.encode_to_bytes(value) == quickmem.encode_to_bytes_large_buffer(value) == document
    assert decode(bytearray(document)) == decode(memoryview(document)) or model.same(decode(document), value)
    message = GLOBAL_CONVERTER.python_to_data_value(value)
    assert model.same(GLOBAL_CONVERTER.data_value_to_python(message), value)
    assert model.same(GLOBAL_CONVERTER.data_value_to_python(to_tree(value)), value)
    assert GLOBAL_CONVERTER.encode_to_bytes(value) == GLOBAL_CONVERTER.encode_to_bytes_large_buffer(value) == document


@given(model.json_values)
def test_a_value_comes_back_itself_by_json(value: object) -> None:
    document = QuickCodec().encode_json(value)
    assert json.loads(document) == value
    assert model.same(QuickCodec().decode_json(document), value)


@given(st.binary(max_size=80))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc9\xff\xff\xff\xff\xff")
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    try:
        value = decode(data)
    except ValueError:
        return
    assert model.same(decode(encode(value)), value)


@given(model.values, st.data())
def test_a_document_that_is_cut_or_goes_on_is_refused(value: object, data: st.DataObject) -> None:
    document = encode(value)
    with pytest.raises(ValueError, match="not one MessagePack document"):
        decode(document[: data.draw(st.integers(0, len(document) - 1))])
    with pytest.raises(ValueError, match="not one MessagePack document"):
        decode(document + data.draw(st.binary(min_size=1, max_size=9)))


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: object


def test_what_programs_hold_is_brought_into_shape() -> None:
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    value = {"at": moment, "colour": Colour.RED, "point": Point(1, (2, 3)), "raw": bytearray(b"x")}
    assert decode(encode(value)) == {"at": moment, "colour": "red", "point": {"x": 1, "y": [2, 3]}, "raw": b"x"}
    assert QuickCodec().roundtrip((1, True, 1.0)) == [1, True, 1.0]
    types = {"n": 2**63, "b": b"\x00\xff", "t": True, "i": 1, "f": 1.0}
    assert model.same(decode(encode(types)), types)


def test_the_bounds_of_the_service_are_not_the_bounds_here() -> None:
    wide = {"rows": [[n] for n in range(70_000)], "k" * 500: {str(n): n for n in range(20_000)}}
    assert decode(encode(wide)) == wide
    deep = model.deep(64, "both")
    assert decode(encode(deep)) == deep


def hostile() -> list[tuple[str, object]]:
    cycle: list[object] = []
    cycle.append(cycle)
    doubled: list[object] = []
    for _ in range(63):
        doubled = [doubled, doubled]
    tuples: tuple[object, ...] = ()
    for _ in range(63):
        tuples = (tuples, tuples)
    ring: dict[str, object] = {}
    ring["a"] = [ring]
    return [
        ("deeper than 64", model.deep(65, "list")),
        ("deeper than 64", model.deep(10_000, "map")),
        ("deeper than 64", cycle),
        ("deeper than 64", ring),
        ("lists and maps", doubled),
        ("lists and maps", tuples),
        ("not text", {1: 2}),
        ("not text", [{"a": {None: 1}}]),
        ("outside", 2**64),
        ("outside", {"a": [-(2**63) - 1]}),
        ("surrogates", "\ud800"),
        ("zone", datetime(2024, 1, 1)),
    ]


@pytest.mark.parametrize("put", [encode, quickmem.encode_to_bytes_large_buffer, QuickCodec().encode_json])
def test_values_that_no_encoding_holds_are_refused(put: Callable[[object], bytes]) -> None:
    for why, value in hostile():
        with pytest.raises(ValueError, match=why):
            put(value)
    for odd in (object(), {1, 2}, 1j, [lambda: 1]):
        with pytest.raises(TypeError, match="a value cannot hold"):
            put(odd)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x91" * 64 + b"\x91\x01", "deeper than 64"),
        (b"\x91" * 10_000 + b"\x01", "deeper than 64"),
        (b"\x81\xa0" * 100_000 + b"\x01", "deeper than 64"),
        (b"\x81\x01\x02", "not text"),
        (b"\xc6\xff\xff\xff\xff", "truncated"),
        (b"\xdf\xff\xff\xff\xff", "truncated"),
        (b"", "truncated"),
        (b"\x01\x02", "trailing"),
        (b"\xa1ab", "trailing"),
        (b"\x90\xc0", "trailing"),
        (b"\x80" * 2, "trailing"),
        (b"\xc4\x01ab", "trailing"),
        (b"\xd4\x05a", "extension"),
    ],
)
def test_hostile_documents_are_refused_in_bounded_memory(data: bytes, why: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=why):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(data) + 200_000  # a list of one has 80 bytes
    finally:
        tracemalloc.stop()


def test_many_empty_maps_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"\xdd" + (2_100_000).to_bytes(4, "big") + b"\x80" * 2_100_000
    with monkeypatch.context() as patch:
        patch.setattr(codec, "decode_short", None)
        patch.setattr(codec, "decode_any", None)
        with pytest.raises(ValueError, match="lists and maps"):
            decode(data)
    blob = b"\x80" * 2_100_000
    assert decode(encode({"blob": blob})) == {"blob": blob}


def test_a_document_has_at_most_100_mib_and_a_batch_10_000_items() -> None:
    whole = encode(bytes(MAX_BYTES - 5))
    assert len(whole) == MAX_BYTES
    assert decode(whole) == bytes(MAX_BYTES - 5)
    for over in (bytes(MAX_BYTES - 4), "x" * (MAX_BYTES + 1)):
        with pytest.raises(ValueError, match="at most 104857600 bytes"):
            encode(over)
    with pytest.raises(ValueError, match="at most 104857600 bytes"):
        decode(whole + b"\0")
    del whole
    small = QuickCodec(max_bytes=10, max_items=2, max_depth=1)
    for refused in (lambda: small.encode("x" * 10), lambda: small.decode(bytes(11)), lambda: small.encode([[1]]),
                    lambda: small.decode(b"\x91\x91\x01"), lambda: small.encode_json("x" * 9),
                    lambda: small.decode_json(b'"123456789"')):  # fmt: skip
        with pytest.raises(ValueError, match=r"at most 10 bytes|deeper than 1 "):
            refused()
    with pytest.raises(ValueError, match="max_depth must be 1 to 64"):
        QuickCodec(max_depth=65)


def test_batches_come_back_and_name_what_is_wrong_in_them() -> None:
    values = [{"n": n, "b": b"x"} for n in range(10_000)]
    documents = quickmem.encode_batch(values)
    assert documents == list(map(encode, values))
    assert quickmem.decode_batch(documents) == values
    for call in (lambda: quickmem.encode_batch([0] * 10_001), lambda: quickmem.decode_batch([b"\x00"] * 10_001),
                 lambda: quickmem.encode_batch(n for n in range(10**9))):  # fmt: skip
        with pytest.raises(ValueError, match="at most 10000 items"):
            call()
    with pytest.raises(ValueError, match=r"items\[1\]: value has an integer"):
        quickmem.encode_batch([1, 2**64])
    with pytest.raises(ValueError, match=r"items\[2\]: value is not one"):
        quickmem.decode_batch([b"\x01", b"\x02", b""])
    with pytest.raises(TypeError, match=r"items\[0\]: a value cannot hold"):
        quickmem.encode_batch([object()])


def test_only_bytes_are_decoded() -> None:
    with pytest.raises(TypeError, match="Expected bytes data, got str"):
        decode("abc")  # type: ignore[arg-type]


def test_the_pool_tells_what_it_holds_and_did() -> None:
    before = get_pool_stats()
    for size in (10, 200_000, 3 * MIB, 3 * MIB):
        quickmem.encode_to_bytes_large_buffer(bytes(size))
    after = get_pool_stats()
    assert after.made + after.reused == before.made + before.reused + 4
    assert after.total_buffers == after.small_buffers + after.medium_buffers + after.large_buffers
    assert 1 <= after.total_buffers <= 12
    assert after.reused > before.reused
    with pytest.raises(ValueError, match="surrogates"):
        quickmem.encode_to_bytes_large_buffer(["x", "\ud800"])
    assert get_pool_stats().total_buffers == after.total_buffers


def test_threads_share_the_codec() -> None:
    values = [[{"thread": n, "i": i} for i in range(500)] for n in range(4)]
    wrong: list[object] = []

    def work(value: object) -> None:
        for _ in range(40):
            if decode(quickmem.encode_to_bytes_large_buffer(value)) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_documents_of_a_batch_hold_no_more_memory_than_their_bytes() -> None:
    values = [{"n": n, "text": "x" * 300} for n in range(200)]
    quickmem.encode_batch(values)
    tracemalloc.start()
    try:
        documents = quickmem.encode_batch(values)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.1 * sum(map(sys.getsizeof, documents))
