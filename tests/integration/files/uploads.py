"""What the tests of uploads share: a file, the parts in which it is sent, and what is stored of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from rat.v1 import producer_pb2 as pb

from ratsvc.flow.broker import Broker
from ratsvc.quickmem import wire
from tests.conftest import stored_batches

CHUNK = 256 * 1024
DATA = os.urandom(5 * CHUNK + 17)


async def stored(broker: Broker, stream: str) -> list[tuple[bytes, dict[str, str]]]:
    """The values and headers of all records of a stream."""
    found: list[tuple[bytes, dict[str, str]]] = []
    for batch in await stored_batches(broker, stream):
        headers = [dict(wire.headers(record)) for record in batch.records]
        found += zip(wire.values(batch), headers, strict=True)  # type: ignore[arg-type]
    return found


async def content(broker: Broker, stream: str) -> bytes:
    return b"".join(value for value, _ in await stored(broker, stream))


async def parts(
    chunks: list[bytes], sha256: bytes | None = None, end: bool = True, **start: object
) -> AsyncIterator[pb.UploadRequest]:
    yield pb.UploadRequest(start=pb.UploadStart(**{"stream": "f", "upload_id": "u", **start}))
    for chunk in chunks:
        yield pb.UploadRequest(chunk=chunk)
    if end:
        yield pb.UploadRequest(end=pb.UploadEnd(sha256=sha256 or b""))


async def refused(call: grpc.aio.Call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""
