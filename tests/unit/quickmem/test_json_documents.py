"""Values written as JSON from their packed form: what is written is what the decoded values give, to the byte."""

from __future__ import annotations

import json
import math
import random
import struct
import sys
import tracemalloc
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratsvc.core.kept import Kept
from ratsvc.core.record import Batch
from ratsvc.core.run import TAG, pieces
from ratsvc.formats import make_format
from ratsvc.quickmem import json_lines, wire
from ratsvc.quickmem.framing import head
from ratsvc.quickmem.limits import DEPTH
from ratsvc.quickmem.packed import encode_plain
from tests.unit.compiled import need_compiled_check

from . import model

need_compiled_check()

KEYS = 64
"""Of all open maps, as many as are told apart in C."""
#: Numbers that need an exponent are left to Python.
plain_floats = st.floats(min_value=-1e15, max_value=1e15).filter(lambda x: x == 0 or abs(x) >= 1e-4) | st.decimals(
    -1_000_000, 1_000_000, places=5
).map(float).filter(lambda x: x == 0 or abs(x) >= 1e-4)
short_text = st.text(max_size=30).filter(lambda text: not any("\ud800" <= one <= "\udfff" for one in text))
broken_text = st.lists(st.sampled_from(["\r", "\n", "\r\n", "\u2028", "some text", '"'])).map("".join)
simple = model.nested(
    st.none()
    | st.booleans()
    | model.ints
    | plain_floats
    | st.sampled_from([math.nan, math.inf])
    | short_text
    | st.binary(max_size=300)
)


def run_of(values: Sequence[object]) -> bytes:
    return b"".join(pieces([wire.record(value) for value in values]))


def lines(run: bytes, *, as_text: bool = False) -> bytes | None:
    return wire.compiled.documents(run, TAG, b"", -1, b"", b"\n", as_text, 0)


def line(value: object) -> bytes | None:
    return lines(run_of([value]))


def document(packed: bytes) -> bytes | None:
    """What is made of a record with this document, whatever it is."""
    return lines(b"".join(pieces([head(len(packed)) + packed])))


@given(st.lists(simple, max_size=5), st.booleans())
def test_common_values_are_written_as_msgspec_writes_them(values: list[object], as_text: bool) -> None:
    assert lines(run_of(values), as_text=as_text) == json_lines(values, int64_as_string=as_text)


@given(st.lists(model.values, max_size=4), st.booleans())
def test_any_values_are_written_so_or_left_to_python(values: list[object], as_text: bool) -> None:
    made = lines(run_of(values), as_text=as_text)
    assert made is None or made == json_lines(values, int64_as_string=as_text)


@given(st.floats() | st.floats(width=32) | st.decimals(allow_nan=False, places=9).map(float) | st.integers().map(float))
@example(0.1 + 0.2)
@example(-0.0)
@example(5e-324)
@example(2.0**53)
@example(999_999_999.999_999)
@example(1e9)
@example(0.000_1)
@example(1e15)
@example(1e16)
def test_numbers_are_written_so_or_left_to_python(number: float) -> None:
    made = line(number)
    assert made is None or made == json_lines([number])


@pytest.mark.parametrize("first", [0xCA, 0xCB])
def test_floats_of_both_widths_are_written(first: int) -> None:
    packed = bytes([first]) + struct.pack(">f" if first == 0xCA else ">d", 0.1)
    assert document(packed) == (b"0.10000000149011612\n" if first == 0xCA else b"0.1\n")


@pytest.mark.parametrize("form", ["Bb", "Hh", "Ii", "Qq"])
def test_integers_of_every_width_are_written(form: str) -> None:
    for sign, first in zip(form, (0xCC, 0xD0), strict=True):
        width = struct.calcsize(sign)
        packed = bytes([first + width.bit_length() - 1])
        bits = 8 * width
        for number in {0, 1, 2 ** (bits - 1) - 1, *([2**bits - 1] if sign.isupper() else [-1, -(2 ** (bits - 1))])}:
            assert document(packed + struct.pack(f">{sign}", number)) == b"%d\n" % number


@pytest.mark.parametrize("before", range(18))
def test_every_character_is_escaped_as_msgspec_does_wherever_it_stands(before: int) -> None:
    for code in (*range(0x80), 0x80, 0xE9, 0x2028, 0xFFFF, 0x10000, 0x1F600):
        text = "x" * before + chr(code) + "y" * 9
        assert line(text) == json_lines([text])
        assert line({text: [text]}) == json_lines([{text: [text]}])


def nested_keys(count: int) -> object:
    return {str(n): {f"{n}-{m}": m for m in range(count // 8)} for n in range(8)}


@pytest.mark.parametrize(
    ("is_here", "value"),
    [
        (True, {str(n): n for n in range(KEYS)}),
        (False, {str(n): n for n in range(KEYS + 1)}),
        (True, nested_keys(KEYS)),
        (True, [{key: [{"a": 1, "b": {"a": 2}}] for key in "abcdefgh"}] * 40),
        (True, model.deep(DEPTH, "both")),
        (True, [[], {}, [[]], {"": {}}]),
        (True, [bytes(range(n, 256)) for n in range(256)]),
        (True, {"large": b"\xff\xfe" * 40_000}),
        (False, {"at": datetime(2026, 1, 2, tzinfo=UTC)}),
        (False, [1e300]),
        (False, 1.5e-9),
    ],
)
def test_what_is_rare_is_left_to_python(is_here: bool, value: object) -> None:
    made = line(value)
    assert made == (json_lines([value]) if is_here else None)


def test_a_key_that_comes_twice_is_left_to_python_which_takes_the_last() -> None:
    twice = b"\x82" + encode_plain("a") + b"\x01" + encode_plain("a") + b"\x02"
    assert document(twice) is None
    in_two_maps = b"\x92" + (b"\x81" + encode_plain("a") + b"\x01") * 2
    assert document(in_two_maps) == b'[{"a":1},{"a":1}]\n'


@given(simple, st.randoms(use_true_random=False))
def test_broken_runs_are_left_to_python_or_written_within_their_bytes(value: object, chance: random.Random) -> None:
    run = model.broken(run_of([value, value]), chance)
    made = lines(run)
    assert made is None or made.endswith(b"\n") or not run


@pytest.mark.parametrize("first", range(256))
def test_every_first_byte_is_left_to_python_or_written(first: int) -> None:
    for second in range(256):
        for rest in (b"", b"\xc0", bytes(8), b"\xa1a" * 40):
            made = document(bytes([first, second]) + rest)
            assert made is None or json.loads(made.decode("utf-8", "replace"), strict=True) is not ...


def batch_of(values: Sequence[object], first: int = 1) -> Batch:
    records = [wire.record(value) for value in values]
    sizes = array("I", map(len, records))
    return Batch("s", range(first, first + len(records)), 0, Kept(None, b"".join(pieces(records)), sizes))


@pytest.mark.parametrize("int64_as_string", [False, True])
@pytest.mark.parametrize("name", ["sse", "ndjson", "json-seq", "text", "chunked"])
@given(
    values=st.lists(simple | broken_text, min_size=1, max_size=5)
    | st.lists(broken_text | st.binary(), min_size=1, max_size=3)
)
def test_a_format_gives_the_same_bytes_with_it_and_without(
    name: str, int64_as_string: bool, values: list[object]
) -> None:
    one = make_format(name, epoch="e", int64_as_string=int64_as_string)
    made = bytes(one.batch(batch_of(values, 9_999_999)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "compiled", None)
        assert made == bytes(one.batch(batch_of(values, 9_999_999)))


def test_records_that_are_no_run_or_not_consecutive_are_left_to_python() -> None:
    batch = batch_of([1, 2, 3])
    ask = partial(wire.documents, before=b"#", between=b":", after=b";", int64_as_string=False)
    assert ask(batch) == b"#1:1;#2:2;#3:3;"
    batch.offsets = range(1, 7, 2)
    assert ask(batch) is None
    batch.offsets = [1, 2, 4]
    assert ask(batch) is None
    assert wire.documents(batch, b"", None, b";", int64_as_string=False) == b"1;2;3;"
    assert ask(Batch("s", range(1, 2), 0, [wire.record(1)])) is None
    batch.offsets = range(2**63 - 2, 2**63 + 1)
    assert ask(batch) == b"#%d:1;#%d:2;#%d:3;" % tuple(batch.offsets)


@pytest.mark.parametrize(
    ("strings", "written"),
    [
        (wire.Strings.JSON, b'<1;<"a\\r\\n\\r\\"";<"";'),
        (wire.Strings.TEXT, b'<1;<a\r\n\r";<;'),
        (wire.Strings.LINES, b'<1;<a<<";<;'),
        (wire.Strings.RAW, b'<1;<a\r\n\r";<;'),
    ],
)
def test_strings_become_what_is_asked_for(strings: wire.Strings, written: bytes) -> None:
    run = run_of([1, 'a\r\n\r"', ""])
    assert wire.compiled.documents(run, TAG, b"", -1, b"<", b";", False, strings) == written


@pytest.mark.parametrize("strings", wire.Strings)
def test_bytes_are_base64_but_where_they_are_asked_for_as_they_are(strings: wire.Strings) -> None:
    for value in (b"", b"\xff\n", b"x" * 300, b"y" * 70_000):
        made = wire.compiled.documents(run_of([value, [value]]), TAG, b"", -1, b"", b";", False, strings)
        quoted = json_lines([value])[:-1]
        assert made == (value if strings is wire.Strings.RAW else quoted) + b";[" + quoted + b"];"


def test_a_string_that_is_cut_is_left_to_python() -> None:
    for strings in wire.Strings:
        for packed in (b"\xa2a", b"\xd9", b"\xd9\x02a", b"\xda\x00", b"\xa1aa", b"\xd9\x00a", b"\xc4", b"\xc4\x02a"):
            run = b"".join(pieces([head(len(packed)) + packed]))
            assert wire.compiled.documents(run, TAG, b"", -1, b"", b"\n", False, strings) is None


def test_records_of_other_kinds_are_left_to_python_and_labels_do_not_matter() -> None:
    other = wire.record_from_json(b"{}")
    assert lines(b"".join(pieces([other]))) is None
    assert lines(b"".join(pieces([wire.record(1), other]))) is None
    labelled = [wire.record({"n": 1}, "key", "event", {"h": "v"}), wire.record(2, "k")]
    assert lines(b"".join(pieces(labelled))) == b'{"n":1}\n2\n'
    assert lines(b"") == b""


def test_what_it_writes_is_freed_also_when_it_is_left_to_python() -> None:
    large = run_of([{"text": '"' * 5_000, "n": n} for n in range(100)])
    for run in (large, large + b"\xff"):
        references = sys.getrefcount(run)
        lines(run)
        tracemalloc.start()
        try:
            for _ in range(20):
                lines(run)
            assert tracemalloc.get_traced_memory()[0] < 100_000
        finally:
            tracemalloc.stop()
        assert sys.getrefcount(run) == references


@pytest.mark.parametrize("arguments", [(), (b"",), ("", TAG, b"", 0, b"", b"", False, 0), (b"", TAG, b"", 2**70)])
def test_other_arguments_are_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        wire.compiled.documents(*arguments)
