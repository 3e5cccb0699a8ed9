"""The parts of an upload: start, chunks of at most 256 KiB, end with the SHA-256 of all bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rat.v1 import producer_pb2 as pb

CHUNK_BYTES = 256 * 1024


async def upload_parts(
    stream: str,
    source: str | bytes | AsyncIterator[bytes],
    name: str,
    content_type: str,
    end_stream: bool,
    progress: Callable[[int], None] | None,
) -> AsyncIterator[pb.UploadRequest]:
    """Yields the parts. A path is read off the event loop, chunk by chunk."""
    size = len(source) if isinstance(source, bytes) else 0
    if isinstance(source, str):
        path = Path(source)
        name = name or path.name
        size = (await asyncio.to_thread(path.stat)).st_size
    start = pb.UploadStart(stream=stream, name=name, size=size, content_type=content_type, end_stream=end_stream)
    yield pb.UploadRequest(start=start)
    digest, sent = hashlib.sha256(), 0
    async for chunk in _chunks(source):
        digest.update(chunk)
        sent += len(chunk)
        yield pb.UploadRequest(chunk=chunk)
        if progress is not None:
            progress(sent)
    yield pb.UploadRequest(end=pb.UploadEnd(sha256=digest.digest()))


async def _chunks(source: str | bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(source, bytes):
        for at in range(0, len(source), CHUNK_BYTES):
            yield source[at : at + CHUNK_BYTES]
    elif isinstance(source, str):
        with await asyncio.to_thread(open, source, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
    else:
        async for piece in source:
            for at in range(0, len(piece), CHUNK_BYTES):
                yield piece[at : at + CHUNK_BYTES]
