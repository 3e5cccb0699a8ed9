"""Frames: what is put together by hand is what protobuf reads."""

from __future__ import annotations

import pytest
from google.protobuf.internal.decoder import _DecodeVarint32  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st
from rat.v1.record_pb2 import Frame, Record

from ratsvc.core.items import End, Gap, GapReason, Heartbeat, Item, Reconnect
from ratsvc.formats import encode_items, make_format
from ratsvc.formats.binary import Frames, varint
from ratsvc.quickmem import from_data_value, to_tree
from tests.unit.formats.items import EPOCH, TIME_NS, make, parsed
from tests.unit.quickmem import model

BINARY = make_format("binary", epoch=EPOCH)
FRAMES = Frames(EPOCH)


def frames(body: bytes) -> list[Frame]:
    """The frames of a delimited body, every byte of it."""
    found, at = [], 0
    while at < len(body):
        size, at = _DecodeVarint32(body, at)
        assert at + size <= len(body)
        found.append(Frame.FromString(body[at : at + size]))
        at += size
    return found


def test_a_batch_is_one_frame() -> None:
    batch = make([1, "x"], keys=["k", ""], events=["", "tick"], headers=[{"h": "v"}, {}])
    (frame,) = frames(BINARY.batch(batch))
    assert frame.WhichOneof("kind") == "batch"
    assert (frame.batch.stream, frame.batch.first_offset, list(frame.batch.offsets)) == ("a.b", 41, [])
    assert frame.batch.time.ToNanoseconds() == TIME_NS
    assert [from_data_value(one.value) for one in frame.batch.records] == [1, "x"]
    first, second = frame.batch.records
    assert (first.key, first.event, dict(first.headers)) == ("k", "", {"h": "v"})
    assert (second.key, second.event, dict(second.headers)) == ("", "tick", {})


def test_offsets_are_there_only_when_they_do_not_follow_one_another() -> None:
    picked = make([1, 2, 3]).picked([0, 2])
    assert picked is not None
    (frame,) = frames(BINARY.batch(picked))
    assert (frame.batch.first_offset, list(frame.batch.offsets)) == (41, [41, 43])
    (frame,) = frames(BINARY.batch(make([1, 2, 3]).part(1, 3)))
    assert (frame.batch.first_offset, list(frame.batch.offsets)) == (42, [])


def test_records_are_the_bytes_that_were_published() -> None:
    records = [Record(value=to_tree({"a": [1, None]}), key="k").SerializeToString(), b"\x0a\x03\x62\x01\x31"]
    (frame,) = frames(BINARY.batch(parsed(records)))
    assert list(frame.batch.records) == [Record.FromString(one) for one in records]


@pytest.mark.parametrize("size", [0, 120, 121, 127, 128, 4080, 4096, 16_383, 16_384, 3_000_000])
def test_records_of_any_size_are_framed(size: int) -> None:
    (frame,) = frames(BINARY.batch(make([b"x" * size, 1])))
    assert [from_data_value(one.value) for one in frame.batch.records] == [b"x" * size, 1]


@pytest.mark.parametrize("reason", list(GapReason))
def test_a_gap_has_its_cursors_and_its_reason(reason: GapReason) -> None:
    gap = FRAMES.item(Gap(7, 90, reason, skipped=80, from_epoch="e0"))
    frame = Frame.FromString(gap)
    assert str(frame) == (
        f'gap {{\n  from: "e0-7"\n  to: "e1-90"\n  reason: GAP_REASON_{reason.name}\n  skipped: 80\n}}\n'
    )


def test_words_about_the_records() -> None:
    assert str(Frame.FromString(FRAMES.start(7))) == 'start {\n  cursor: "e1-7"\n  epoch: "e1"\n}\n'
    assert str(Frame.FromString(FRAMES.item(End(90, "ended")))) == 'end {\n  cursor: "e1-90"\n  reason: "ended"\n}\n'
    assert str(Frame.FromString(FRAMES.item(Heartbeat(95)))) == 'heartbeat {\n  cursor: "e1-95"\n}\n'
    assert str(Frame.FromString(FRAMES.item(Reconnect(90, 3000, "drain")))) == (
        'reconnect {\n  cursor: "e1-90"\n  retry_ms: 3000\n  reason: "drain"\n}\n'
    )


def test_a_body_is_bare_frames_with_their_lengths() -> None:
    items: list[Item] = [make([1, 2]), Gap(42, 50, GapReason.SLOW), make(["x"] * 300), Heartbeat(70), End(70, "ended")]
    body = BINARY.start(40) + b"".join(encode_items(BINARY, items))
    expected = [FRAMES.start(40), *(FRAMES.item(item) for item in items)]
    assert [frame.SerializeToString() for frame in frames(body)] == [
        Frame.FromString(one).SerializeToString() for one in expected
    ]
    assert body == b"".join(varint(len(one)) + one for one in expected)


@given(st.lists(model.values, min_size=1, max_size=8), st.integers(1, 2**63))
def test_any_values_come_back(values: list[object], first: int) -> None:
    (frame,) = frames(BINARY.batch(make(values, first=first)))
    assert frame.batch.first_offset == first
    found = [from_data_value(one.value) for one in frame.batch.records]
    assert all(model.same(one, value) for one, value in zip(found, values, strict=True))


@given(st.integers(0, 2**64 - 1))
def test_varints_are_those_of_protobuf(number: int) -> None:
    field = Frame(gap={"skipped": number}).gap.SerializeToString()
    assert field == (b"\x20" + varint(number) if number else b"")
