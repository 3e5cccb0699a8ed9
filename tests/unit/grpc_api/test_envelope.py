"""The envelope of a publish request: what protobuf reads, and a run only where the bytes are one.

Records without a value, as here, are taken in Python; those with one at once, where the check is compiled.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rat.v1.producer_pb2 import ProducerRef, PublishRequest
from rat.v1.record_pb2 import Record, RecordBatch

from ratsvc.core.run import cut, pieces
from ratsvc.errors import InvalidValue, RatError
from ratsvc.grpc_api.envelope import Envelope, parse
from ratsvc.quickmem import ValueLimits, wire
from tests.unit.compiled import need_compiled_check

RECORDS = [Record(key=key).SerializeToString() for key in ("", "a", "b" * 126, "c" * 200)]
ONE, TWO = (PublishRequest(records=[Record(key=key)]).SerializeToString() for key in "ab")
REF = PublishRequest(producer=ProducerRef(id="p", sequence=1)).SerializeToString()
STREAM = PublishRequest(stream="s").SerializeToString()
OFFSETS = RecordBatch(offsets=[7]).SerializeToString()


LIMITS = ValueLimits(value_bytes=2_000)


def envelope(data: bytes) -> Envelope:
    return parse(data, LIMITS)


def request(**fields: object) -> bytes:
    records = [Record.FromString(record) for record in RECORDS]
    return PublishRequest(records=records, **fields).SerializeToString()  # type: ignore[arg-type]


@given(st.text(st.characters(codec="ascii"), max_size=20), st.booleans(), st.integers(0, 2))
def test_the_records_of_a_request_are_a_run(stream: str, has_producer: bool, durability: int) -> None:
    ref = ProducerRef(id="p", epoch=2, sequence=3) if has_producer else None
    found = envelope(request(stream=stream, producer=ref, durability=durability))
    assert (found.stream, found.kept.each, found.durability) == (stream, RECORDS, durability)
    assert (found.producer is not None) == has_producer
    assert list(found.kept.sizes) == list(map(len, RECORDS))
    assert found.kept.run is not None
    assert cut(found.kept.run, found.kept.sizes) == RECORDS
    assert RecordBatch.FromString(found.kept.run) == RecordBatch(records=[Record.FromString(one) for one in RECORDS])


@pytest.mark.parametrize("data", [ONE + STREAM + TWO, STREAM + ONE + REF + TWO, REF + ONE + TWO + STREAM])
def test_a_run_is_put_together_from_records_that_have_other_fields_between(data: bytes) -> None:
    assert envelope(data).kept.run == ONE + TWO


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ONE + OFFSETS + TWO, id="a field that a batch has and a request has not"),
        pytest.param(ONE + TWO + b"\xf8\x07\x01", id="an unknown field"),
        pytest.param(ONE + b"\x12\x83\x00\x12\x01b", id="a longer length than has to be"),
        pytest.param(ONE + b"\x92\x00\x03\x12\x01b", id="a longer tag than has to be"),
        pytest.param(ONE + b"\x10\x01" + TWO, id="the records' number on another type"),
        pytest.param(ONE + b"\x08\x01" + TWO, id="the stream's number on another type"),
    ],
)
def test_what_else_is_in_a_request_never_comes_into_a_run(data: bytes) -> None:
    found = envelope(data)
    assert found.kept.each == [ONE[2:], TWO[2:]]
    assert found.kept.run is None


def test_large_records_do_not_come_as_a_run() -> None:
    assert envelope(PublishRequest(records=[Record(key="k" * 5000)]).SerializeToString()).kept.run is None


@pytest.mark.parametrize("data", [b"\x12\x05a", b"\xff", b"\x0a\x01\xff", b"\x13"])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue, match="malformed PublishRequest"):
        envelope(data)


def test_a_request_without_records_has_none() -> None:
    assert envelope(STREAM).kept.each == []


#: Fields of a request in forms that are usual, and in some that are not.
fields = st.sampled_from([
    ONE, REF, STREAM, OFFSETS, b"\xf8\x07\x01", b"\x12\x00", b"\x92\x00\x03\x12\x01b", b"\x12\x83\x00\x12\x01b",
    b"\x10\x01", b"\x13", b"\x14", b"\x0d....", b"\x09........", b"\x0a\x01\xff", b"\x00", b"\x22",
    b"\xff" * 9 + b"\x01\x00",
    PublishRequest(durability=2).SerializeToString(),
])  # fmt: skip
values = (
    st.none() | st.integers(-5, 2**63) | st.text(max_size=150) | st.dictionaries(st.text(max_size=4), st.booleans())
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests, most of them with their records in one piece, some of them broken."""
    keys = st.sampled_from(["", "", "key"])
    made = [
        wire.record(draw(values), key=draw(keys), headers=draw(st.sampled_from([None, {"a": "b"}])))
        for _ in range(draw(st.integers(1, 4)))
    ]
    data = bytearray(
        b"".join([*draw(st.lists(fields, max_size=2)), *pieces(made), *draw(st.lists(fields, max_size=2))])
    )
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


@given(requests())
def test_the_compiled_way_takes_what_the_other_takes_and_finds_the_same(data: bytes) -> None:
    need_compiled_check()
    if wire.take_run(data, LIMITS) is None:
        return
    found = outcome(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "compiled", None)
        plain = outcome(data)
        if isinstance(plain, str) or isinstance(found, str):
            assert plain == found
            return
        columns = wire.parse_records(plain.kept.each, LIMITS)
    assert found.kept.is_run
    assert found.columns is not None
    assert (found.stream, found.producer, found.durability) == (plain.stream, plain.producer, plain.durability)
    assert (found.kept.sizes, found.kept.size) == (plain.kept.sizes, plain.kept.size)
    assert found.kept.each == plain.kept.each
    assert plain.kept.run in (found.kept.run, None)
    assert (found.columns.keys, found.columns.events) == (columns.keys, columns.events)


def outcome(data: bytes) -> Envelope | str:
    """The envelope, or why there is none."""
    try:
        return envelope(data)
    except RatError as error:
        return f"{type(error).__name__}: {error}"


@given(st.lists(values, min_size=1, max_size=5), st.sampled_from([b"", STREAM, REF, STREAM + REF, b"\xf8\x07\x01"]))
def test_the_compiled_way_takes_what_producers_send(sent: list[object], other: bytes) -> None:
    run = b"".join(pieces([wire.record(value, key="k") for value in sent]))
    for data in (run + other, other + run):
        taken = wire.take_run(data, LIMITS)
        assert (taken is not None) == wire.COMPILED
        assert taken is None or (taken.kept.run, taken.rest) == (run, other)


@pytest.mark.parametrize("joined", [False, True])
def test_a_record_over_the_limit_is_left_to_the_check_that_says_so(joined: bool) -> None:
    records = [wire.record("x" * 1_990), wire.record("x" * (1_991 if joined else 2_001))]
    assert (wire.take_run(b"".join(pieces(records)), LIMITS) is None) == (not joined or not wire.COMPILED)
