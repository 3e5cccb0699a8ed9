"""Upload and GetUpload: the parts of a file as they come over gRPC, for `flow.upload`, which stores them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rat.v1 import producer_pb2 as pb

from ratsvc.core.upload import Announced, Standing
from ratsvc.errors import InvalidArgument
from ratsvc.flow.broker import Broker
from ratsvc.flow.connections import Peer
from ratsvc.flow.upload import Upload
from ratsvc.grpc_api.status import parsed

_CHUNK_TAG = b"\x12"  # UploadRequest.chunk: field 2, length-delimited


async def take(broker: Broker, requests: AsyncIterator[bytes], peer: Peer) -> pb.UploadResponse:
    """Takes all parts of an upload: one start, then chunks, then one end.

    Raises:
        InvalidArgument: parts out of order, or no end.
        RatError: what `Uploads.open` and `Upload` raise.
    """
    start = None
    async for data in requests:
        start = parsed(pb.UploadRequest, data)
        break
    if start is None or start.WhichOneof("part") != "start":
        raise InvalidArgument("an upload begins with its start", field="part")
    with (
        await broker.uploads.open(_announced(start.start)) as upload,
        broker.connections.opened(peer, "upload", upload),
    ):
        end = await _chunks(requests, upload)
        standing = await upload.finish(end.sha256)
    return pb.UploadResponse(
        size=standing.size,
        sha256=standing.digest.digest(),
        first_offset=standing.first,
        last_offset=standing.last,
        records=standing.records,
        epoch=broker.epoch,
        evicted=broker.uploads.is_evicted(start.start.stream, standing),
    )


async def tell(broker: Broker, request: pb.GetUploadRequest) -> pb.GetUploadResponse:
    """Where an upload stands. Raises what `Uploads.standing` raises."""
    standing: Standing = await broker.uploads.standing(request.stream, request.upload_id)
    return pb.GetUploadResponse(
        upload_epoch=standing.epoch,
        size=standing.size,
        sha256=standing.digest.digest(),
        complete=standing.complete,
        records=standing.records,
        first_offset=standing.first,
        last_offset=standing.last,
        epoch=broker.epoch,
    )


async def _chunks(requests: AsyncIterator[bytes], upload: Upload) -> pb.UploadEnd:
    """Stores the chunks; returns the end that comes after them."""
    end: pb.UploadEnd | None = None
    async for data in requests:
        chunk = only_chunk(data)
        if chunk is None:
            part = parsed(pb.UploadRequest, data)
            if part.WhichOneof("part") == "end" and end is None:
                end = part.end
                continue
            if part.WhichOneof("part") != "chunk":
                raise InvalidArgument("an upload is one start, then chunks, then one end", field="part")
            chunk = memoryview(part.chunk)
        if end is not None:
            raise InvalidArgument("an upload is one start, then chunks, then one end", field="part")
        await upload.store(chunk)
    if end is None:
        raise InvalidArgument("the upload broke off: it has no end", field="part")
    return end


def _announced(start: pb.UploadStart) -> Announced:
    return Announced(
        stream=start.stream,
        id=start.upload_id,
        epoch=start.upload_epoch,
        position=start.position,
        name=start.name,
        content_type=start.content_type,
        size=start.size,
        key=start.key,
        event=start.event,
        end_stream=start.end_stream,
        stored=start.stored_sha256,
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
