"""Uploading a file: chunks of at most 256 KiB between a start and an end with the SHA-256 of the whole.

What can be read again (a path, bytes) goes on after a break: the service says how much it has and the SHA-256 of
that, which must be that of the same bytes here; so a file that has changed meanwhile is not made one of two halves.
The digests at the last `REMEMBERED` chunk borders are kept, so going on seldom means reading from the beginning.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from errno import EINVAL
from time import monotonic, time
from typing import Any, BinaryIO, Protocol

import grpc.aio
from rat.v1 import producer_pb2 as pb
from rat.v1 import producer_pb2_grpc

from ratsvc.client.status import backoff_s, error_of_call, is_retryable
from ratsvc.errors import DigestMismatch, OutOfSequence, RatError, Unavailable, UploadNotFound

CHUNK_BYTES = 256 * 1024
REMEMBERED = 1_024
_BROKEN = (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)

Progress = Callable[[int], None]


class Source(Protocol):
    """Bytes that can be read more than once."""

    size: int

    async def read(self, position: int) -> bytes:
        """The chunk that begins at `position`; empty at the end."""


class FileSource:
    """A file as long as it is now, read off the event loop: what is appended later is not of it.

    Raises:
        OSError: it cannot be read at a position, or has bytes but no size (as files under /proc).
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        if os.pread(file.fileno(), 1, 0) and not self.size:
            raise OSError(EINVAL, "it has no size")

    async def read(self, position: int) -> bytes:
        size = min(CHUNK_BYTES, self.size - position)
        return await asyncio.to_thread(os.pread, self._file.fileno(), size, position) if size > 0 else b""


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    async def read(self, position: int) -> bytes:
        return self._data[position : position + CHUNK_BYTES]


class Uploading:
    """One upload of a source that can go on.

    Args:
        start: what is announced, with its `upload_id`.
        timeout_s: it fails when for so long nothing more was stored.
        progress: called with the bytes sent, or stored before.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        start: pb.UploadStart,
        source: Source,
        timeout_s: float,
        progress: Progress | None,
    ) -> None:
        self._stub = producer_pb2_grpc.ProducerServiceStub(channel)  # type: ignore[no-untyped-call]
        self._start = start
        self._sent = hashlib.sha256()
        self._source = source
        self._timeout_s = timeout_s
        self._progress = progress
        self._digests: OrderedDict[int, hashlib._Hash] = OrderedDict({0: hashlib.sha256()})
        start.size = source.size
        start.upload_epoch = int(time() * 1000)

    async def run(self, *, resume: bool) -> pb.UploadResponse:
        """Uploads it.

        Args:
            resume: goes on with an earlier upload of that id, instead of beginning anew.

        Raises:
            UploadNotFound: there is none to go on with.
            DigestMismatch: the file is not the one whose upload began.
            Unavailable: nothing more was stored for too long.
            RatError: it was refused.
        """
        stored, attempt, sent = 0, 0, False
        deadline: float | None = None  # from the break on after which nothing more was stored
        while True:
            try:
                if resume:
                    await self._go_on()
                    if self._start.position > stored:
                        stored, attempt, deadline = self._start.position, 0, None
                sent = True
                return await self._upload()
            except UploadNotFound:
                if not sent:
                    raise
                self._start.position = 0  # it broke off before anything was stored, or the service lost all it had
                resume = False
            except RatError as error:
                if not is_retryable(error) and not (sent and isinstance(error, OutOfSequence)):
                    raise
                attempt += 1
                deadline = deadline or monotonic() + self._timeout_s
                wait_s = max(backoff_s(attempt), error.retry_after_s or 0.0)
                if monotonic() + wait_s > deadline:
                    raise Unavailable(
                        f"the upload stands at byte {stored} as far as is known, and nothing more was stored in"
                        f" {self._timeout_s:g} s ({error.detail})"
                    ) from None
                resume = resume or sent
                await asyncio.sleep(wait_s)

    async def _upload(self) -> pb.UploadResponse:
        return checked(await uploaded(self._stub, self._parts()), self._sent)

    async def _go_on(self) -> None:
        """Asks where the upload stands, and compares what is stored with what is here."""
        asked = pb.GetUploadRequest(stream=self._start.stream, upload_id=self._start.upload_id)
        standing: pb.GetUploadResponse = await called(self._stub.GetUpload(asked))
        here = await self._digest_at(standing.size)
        if here is None or here.digest() != standing.sha256:
            raise DigestMismatch(
                f"the file has changed since its upload began: its first {standing.size} bytes are not those stored"
            )
        self._start.upload_epoch, self._start.position = standing.upload_epoch, standing.size

    async def _parts(self) -> AsyncIterator[pb.UploadRequest]:
        yield pb.UploadRequest(start=self._start)
        position = self._start.position
        digest = await self._digest_at(position)
        assert digest is not None
        self._sent = digest = digest.copy()
        if self._progress is not None:
            self._progress(position)
        while chunk := await self._source.read(position):
            digest.update(chunk)
            position += len(chunk)
            self._remember(position, digest)
            yield pb.UploadRequest(chunk=chunk)
            if self._progress is not None:
                self._progress(position)
        yield pb.UploadRequest(end=pb.UploadEnd(sha256=digest.digest()))

    async def _digest_at(self, position: int) -> hashlib._Hash | None:
        """Of the first `position` bytes; None when there are not so many."""
        if position in self._digests:
            return self._digests[position]
        digest, at = hashlib.sha256(), 0
        while at < position:
            chunk = (await self._source.read(at))[: position - at]
            if not chunk:
                return None
            digest.update(chunk)
            at += len(chunk)
        self._remember(position, digest)
        return digest

    def _remember(self, position: int, digest: hashlib._Hash) -> None:
        self._digests[position] = digest.copy()
        if len(self._digests) > REMEMBERED:
            self._digests.popitem(last=False)


async def upload_once(
    channel: grpc.aio.Channel, start: pb.UploadStart, pieces: AsyncIterator[bytes], progress: Progress | None
) -> pb.UploadResponse:
    """Uploads bytes that come but once: it cannot go on after a break."""

    digest, sent = hashlib.sha256(), 0

    async def parts() -> AsyncIterator[pb.UploadRequest]:
        nonlocal sent
        yield pb.UploadRequest(start=start)
        async for piece in pieces:
            for at in range(0, len(piece), CHUNK_BYTES):
                chunk = piece[at : at + CHUNK_BYTES]
                digest.update(chunk)
                sent += len(chunk)
                yield pb.UploadRequest(chunk=chunk)
                if progress is not None:
                    progress(sent)
        yield pb.UploadRequest(end=pb.UploadEnd(sha256=digest.digest()))

    stub = producer_pb2_grpc.ProducerServiceStub(channel)  # type: ignore[no-untyped-call]
    return checked(await uploaded(stub, parts()), digest)


def checked(response: pb.UploadResponse, digest: hashlib._Hash) -> pb.UploadResponse:
    """The response. Raises DigestMismatch when the service has not stored what was sent."""
    if response.sha256 != digest.digest():
        raise DigestMismatch("the service has stored other bytes than were sent")
    return response


async def uploaded(
    stub: producer_pb2_grpc.ProducerServiceStub, parts: AsyncIterator[pb.UploadRequest]
) -> pb.UploadResponse:
    """The response to these parts. Raises RatError, and what the parts raise: gRPC says of that only that the call was
    cancelled."""
    failure: Exception | None = None

    async def watched() -> AsyncIterator[pb.UploadRequest]:
        nonlocal failure
        try:
            async for part in parts:
                yield part
        except Exception as error:
            failure = error
            raise

    try:
        response: pb.UploadResponse = await called(stub.Upload(watched()))
    except (asyncio.CancelledError, RatError):
        if failure is not None:
            raise failure from None
        raise
    return response


async def called(call: Awaitable[Any]) -> Any:
    """The response of a call. Raises RatError: Unavailable when the connection broke, however gRPC says it."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        said = error_of_call(error)
        raise Unavailable(said.detail) if type(said) is RatError and error.code() in _BROKEN else said from None
