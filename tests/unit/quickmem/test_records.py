"""The compiled check of records: what it takes the exact check takes, and what it need not leave to that it takes."""

from __future__ import annotations

import contextlib
import random
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratsvc.errors import InvalidValue
from ratsvc.quickmem import pack, wire
from ratsvc.quickmem.framing import MAX_HEADERS, head, make_tail
from ratsvc.quickmem.limits import DEPTH, KEY_BYTES, MAP_KEYS, NODES
from ratsvc.quickmem.packed import encode_plain, unpack_exact
from tests.unit.compiled import need_compiled_check

from . import model

need_compiled_check()

BOUNDS = DEPTH, NODES, MAP_KEYS, KEY_BYTES
timeless = model.nested(st.none() | st.booleans() | model.ints | st.floats() | model.text | st.binary(max_size=300))


def tails(*records: bytes) -> list[bytes] | None:
    return wire.compiled.tails(list(records), *BOUNDS)


def takes(document: bytes) -> bool:
    """Whether the check takes this document, as a record's value."""
    return tails(head(len(document)) + document) is not None


@given(timeless)
def test_values_without_times_are_taken(value: object) -> None:
    assert takes(pack(value))


@given(st.lists(timeless, max_size=4), st.lists(st.sampled_from(["", "k", "key"]), min_size=4))
def test_what_comes_after_the_values_is_given(values: list[object], keys: list[str]) -> None:
    records = [wire.record(value, key=key) for value, key in zip(values, keys, strict=False)]
    expected = [make_tail(key, "", None) for _, key in zip(values, keys, strict=False)]
    assert tails(*records) == (expected if any(expected) else [])


@given(timeless, st.randoms(use_true_random=False))
def test_broken_documents_are_taken_only_where_the_exact_check_takes_them(value: object, chance: random.Random) -> None:
    never_wider(model.broken(pack(value), chance))


@given(st.binary(max_size=60))
@example(b"")
@example(b"\xc1")
@example(b"\xd6\xff\x00\x00\x00\x01")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdb\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x81\x01\x01")
@example(b"\x81\x81\xa1a\x01\x01")
@example(b"\x81\xa1a")
def test_any_bytes_are_taken_only_where_the_exact_check_takes_them(document: bytes) -> None:
    never_wider(document)


@pytest.mark.parametrize("first", range(256))
def test_every_first_byte_with_every_second_is_taken_only_where_the_exact_check_takes_it(first: int) -> None:
    for second in range(256):
        for rest in (b"", b"\xc0", bytes(8), b"\xa1a" * 40):
            never_wider(bytes([first, second]) + rest)


def never_wider(document: bytes) -> None:
    try:
        unpack_exact(document)
    except InvalidValue:
        assert not takes(document)


def test_text_is_taken_exactly_where_python_takes_it() -> None:
    pairs = (bytes([first, second]) for first in range(256) for second in range(256))
    wide = (
        bytes([first, second, third, *more])
        for first in range(0xE0, 0x100)
        for second in range(0x7F, 0xC1)
        for third in (0x7F, 0x80, 0xBF, 0xC0)
        for more in ((), (0x7F,), (0x80,), (0xBF,), (0xC0,), (0x80, 0x80))
    )
    for text in (*pairs, *wide):
        for padded in (text, b"seven ch" + text, text + b"seven characters"):
            assert takes(encode_text(padded)) == is_text(padded), padded


def encode_text(text: bytes) -> bytes:
    return bytes([0xD9, len(text)]) + text


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("least", "make"),
    [
        pytest.param(DEPTH, lambda n: model.deep(n, "both"), id="levels"),
        pytest.param(DEPTH, lambda n: model.deep(n - 1, "list", []), id="empty levels"),
        pytest.param(NODES - 1, lambda n: [0] * n, id="nodes"),
        pytest.param(MAP_KEYS, lambda n: dict.fromkeys(map(str, range(n))), id="keys"),
        pytest.param(KEY_BYTES // 2, lambda n: {"é" * n: 1}, id="bytes of a key"),
    ],
)
def test_each_bound_is_taken_and_one_more_is_left_to_the_exact_check(least: int, make: Callable[[int], object]) -> None:
    at_bound, over = (encode_plain(make(size)) for size in (least, least + 1))
    assert takes(at_bound)
    assert not takes(over)
    with pytest.raises(InvalidValue):
        unpack_exact(over)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\n",
        b"\n\x03Z\x01",
        b"\n\x03Z\x02\xc0",
        b"\n\x83\x00Z\x01\xc0",
        b"\n\x04Z\x81\x00\xc0",
        b"\n\x04Z\x01\xc0\xc0",
        b"\n\x05Z\x01\x92\x01\x02",
        b"\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01Z\x01\xc0",
        b"\x12\x01k\n\x03Z\x01\xc0",
        wire.record_from_json(b"1"),
        wire.record(datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_records_that_begin_otherwise_are_left_to_the_exact_check(record: bytes) -> None:
    assert tails(wire.record(1), record) is None
    assert tails(wire.record(1, key="k"), record, wire.record(2)) is None


def test_every_length_around_the_steps_of_the_heads_is_taken() -> None:
    for around in (0, 110, 16_370, 65_520, 2_097_140):
        for size in range(around, around + 30):
            assert tails(wire.record("x" * size), wire.record("x" * size, key="k")) == [b"", b"\x12\x01k"]


def test_what_is_no_list_of_bytes_is_a_type_error() -> None:
    assert tails() == []
    for records in ((b"",), ["text"], [wire.record(1, key="k"), memoryview(b"")]):
        with pytest.raises(TypeError):
            wire.compiled.tails(records, *BOUNDS)
    for bounds in ((65, 1, 1, 1), (-1, 1, 1, 1), (1, -1, 1, 1)):
        with pytest.raises(ValueError, match="depth at most 64"):
            wire.compiled.tails([], *bounds)


def test_nothing_is_kept() -> None:
    keyed = wire.record("kept", key="k" * 50)
    several = [wire.record(1), keyed, wire.record(1, headers={str(at): "v" for at in range(MAX_HEADERS)})]
    before = sys.getrefcount(keyed)
    tracemalloc.start()
    try:
        for _ in range(2_000):
            wire.compiled.tails(several, *BOUNDS)
            wire.compiled.tails([keyed, b"\xff"], *BOUNDS)
            with contextlib.suppress(TypeError):
                wire.compiled.tails([keyed, None], *BOUNDS)
        assert tracemalloc.get_traced_memory()[0] < 50_000  # Each call that kept one tail would be 160,000.
    finally:
        tracemalloc.stop()
    assert sys.getrefcount(keyed) == before
