"""Chunks of an upload: what is read by hand is what protobuf reads."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rat.v1.producer_pb2 import UploadEnd, UploadRequest, UploadStart

from ratsvc.grpc_api.upload import only_chunk


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_a_chunk_is_found_in_place(size: int) -> None:
    chunk = b"\x12" * size
    data = UploadRequest(chunk=chunk).SerializeToString()
    found = only_chunk(data)
    assert found == chunk
    assert found.obj is data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x12",
        b"\x12\x80",
        b"\x12\xff\xff\xff\xff\x0f",
        UploadRequest(start=UploadStart(stream="s")).SerializeToString(),
        UploadRequest(end=UploadEnd()).SerializeToString(),
    ],
)
def test_what_is_no_chunk_is_left_to_protobuf(data: bytes) -> None:
    assert only_chunk(data) is None


@given(st.binary(max_size=12) | st.binary(max_size=12).map(lambda data: b"\x12" + data))
@example(b"\x12\x01a\x12\x01b")
@example(b"\x12\x81\x00a")
def test_any_bytes_are_left_to_protobuf_or_mean_what_it_says(data: bytes) -> None:
    found = only_chunk(data)
    if found is not None:
        message = UploadRequest.FromString(data)
        assert message.WhichOneof("part") == "chunk"
        assert message.chunk == found
