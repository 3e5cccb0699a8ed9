"""Upload: a file of any size, in chunks that become records of bytes, in order, in constant memory.

The first record's headers carry the name, the media type and the size that were announced. What was stored stays
when the upload breaks off or its digest does not match: records are never taken back.
Cost: one copy beside gRPC's own and one SHA-256 of each byte; what is not acknowledged yet is at most 8 MiB.
"""

from __future__ import annotations

import hashlib
from asyncio import Future
from collections import deque
from collections.abc import AsyncIterator

from rat.v1 import producer_pb2 as pb

from ratsvc.core.record import Draft
from ratsvc.errors import DigestMismatch, InvalidArgument, TooLarge
from ratsvc.flow.broker import Ack, Broker
from ratsvc.grpc_api.status import parsed
from ratsvc.names import check_name
from ratsvc.quickmem import wire

WINDOW_BYTES = 8 * 1024 * 1024
_CHUNK_TAG = b"\x12"  # UploadRequest.chunk: field 2, length-delimited


class Uploading:
    """One upload."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._max_chunk = broker.settings.limits.value_bytes
        self._start: pb.UploadStart | None = None
        self._end: pb.UploadEnd | None = None
        self._digest = hashlib.sha256()
        self._size = 0
        self._records = 0
        self._first = self._last = 0
        self._pending: deque[tuple[Future[Ack], int]] = deque()
        self._waiting = 0

    @property
    def stream(self) -> str:
        """Where it goes; "" before its start has come."""
        return self._start.stream if self._start is not None else ""

    @property
    def received(self) -> int:
        """Bytes of the file that have come."""
        return self._size

    async def run(self, requests: AsyncIterator[bytes]) -> bytes:
        """Takes all parts; returns the serialised response.

        Raises:
            InvalidArgument: parts out of order, or no end.
            DigestMismatch: the size or the digest is not what was announced.
            RatError: what refuses a publish.
        """
        async for data in requests:
            chunk = only_chunk(data)
            if chunk is not None and self._start is not None and self._end is None:
                await self._store(chunk, self._start)
                continue
            part = parsed(pb.UploadRequest, data)
            match part.WhichOneof("part"):
                case "start" if self._start is None:
                    check_name(part.start.stream)
                    self._start = part.start
                case "chunk" if self._start is not None and self._end is None:
                    await self._store(part.chunk, self._start)
                case "end" if self._start is not None and self._end is None:
                    self._end = part.end
                case _:
                    raise InvalidArgument("an upload is one start, then chunks, then one end", field="part")
        await self._settle(0)
        return (await self._finish()).SerializeToString()

    async def _store(self, chunk: bytes | memoryview, start: pb.UploadStart) -> None:
        if not chunk:
            raise InvalidArgument("chunk must not be empty", field="chunk")
        if len(chunk) > self._max_chunk:
            raise TooLarge(f"chunk has {len(chunk)} bytes; at most {self._max_chunk} are taken", field="chunk")
        self._digest.update(chunk)
        self._size += len(chunk)
        headers: dict[str, str] = {}
        if not self._records:
            announced = {"name": start.name, "content-type": start.content_type, "size": str(start.size or "")}
            headers = {name: text for name, text in announced.items() if text}
        self._records += 1
        await self._broker.wait_for_room()
        record = wire.record_from_blob(chunk, headers)
        self._pending.append((self._broker.submit(Draft(start.stream, [record])), len(record)))
        self._waiting += len(record)
        await self._settle(WINDOW_BYTES)

    async def _settle(self, most: int) -> None:
        """Waits until at most `most` bytes are unacknowledged."""
        while self._waiting > most:
            done, size = self._pending.popleft()
            ack = await done
            self._first, self._last = self._first or ack.first, ack.last
            self._waiting -= size

    async def _finish(self) -> pb.UploadResponse:
        if self._start is None or self._end is None:
            raise InvalidArgument("the upload broke off: it has no end", field="part")
        if self._start.size and self._start.size != self._size:
            raise DigestMismatch(f"{self._start.size} bytes were announced and {self._size} arrived", field="size")
        digest = self._digest.digest()
        if self._end.sha256 and self._end.sha256 != digest:
            raise DigestMismatch("the bytes that arrived have another SHA-256 than was sent", field="sha256")
        if self._start.end_stream:
            await self._broker.create(self._start.stream)
            await self._broker.end(self._start.stream)
        return pb.UploadResponse(
            size=self._size,
            sha256=digest,
            first_offset=self._first,
            last_offset=self._last,
            records=self._records,
            epoch=self._broker.epoch,
        )


def only_chunk(data: bytes) -> memoryview | None:
    """The chunk of a serialised `rat.v1.UploadRequest` that has a chunk and nothing else, without a copy.

    None where it has anything else, or its length takes more bytes than those of a chunk do: protobuf reads those.
    """
    size = 0
    if not data.startswith(_CHUNK_TAG):
        return None
    for start, byte in enumerate(data[1:5], 2):
        size |= (byte & 0x7F) << 7 * (start - 2)
        if byte < 0x80:
            return memoryview(data)[start:] if start + size == len(data) else None
    return None
