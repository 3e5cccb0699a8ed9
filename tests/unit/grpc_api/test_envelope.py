"""The envelope of a publish request: what protobuf reads, and a run only where the bytes are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rat.v1.producer_pb2 import ProducerRef, PublishRequest
from rat.v1.record_pb2 import Record, RecordBatch

from ratsvc.core.run import cut
from ratsvc.errors import InvalidValue
from ratsvc.grpc_api.envelope import parse

RECORDS = [Record(key=key).SerializeToString() for key in ("", "a", "b" * 126, "c" * 200)]
ONE, TWO = (PublishRequest(records=[Record(key=key)]).SerializeToString() for key in "ab")
REF = PublishRequest(producer=ProducerRef(id="p", sequence=1)).SerializeToString()
STREAM = PublishRequest(stream="s").SerializeToString()
OFFSETS = RecordBatch(offsets=[7]).SerializeToString()


def request(**fields: object) -> bytes:
    records = [Record.FromString(record) for record in RECORDS]
    return PublishRequest(records=records, **fields).SerializeToString()  # type: ignore[arg-type]


@given(st.text(st.characters(codec="ascii"), max_size=20), st.booleans(), st.integers(0, 2))
def test_the_records_of_a_request_are_a_run(stream: str, has_producer: bool, durability: int) -> None:
    ref = ProducerRef(id="p", epoch=2, sequence=3) if has_producer else None
    found = parse(request(stream=stream, producer=ref, durability=durability))
    assert (found.stream, found.records, found.durability) == (stream, RECORDS, durability)
    assert (found.producer is not None) == has_producer
    assert found.sizes == list(map(len, RECORDS))
    assert found.run is not None
    assert cut(found.run, found.sizes) == RECORDS
    assert RecordBatch.FromString(found.run) == RecordBatch(records=[Record.FromString(one) for one in RECORDS])


@pytest.mark.parametrize("data", [ONE + STREAM + TWO, STREAM + ONE + REF + TWO, REF + ONE + TWO + STREAM])
def test_a_run_is_put_together_from_records_that_have_other_fields_between(data: bytes) -> None:
    assert parse(data).run == ONE + TWO


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
    found = parse(data)
    assert found.records == [ONE[2:], TWO[2:]]
    assert found.run is None


def test_large_records_do_not_come_as_a_run() -> None:
    assert parse(PublishRequest(records=[Record(key="k" * 5000)]).SerializeToString()).run is None


@pytest.mark.parametrize("data", [b"\x12\x05a", b"\xff", b"\x0a\x01\xff", b"\x13"])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue, match="malformed PublishRequest"):
        parse(data)


def test_a_request_without_records_has_none() -> None:
    assert parse(STREAM).records == []
