"""Uploading a file: chunks of at most 256 KiB between a start and an end with the SHA-256 of the whole.

What can be read again goes on after a break: the service says how much it has and the SHA-256 of that, which must be
that of the same bytes here; so a file that has changed meanwhile is not made one of two halves. The service compares
again when it is gone on with.
The digests at the last `REMEMBERED` chunk borders are kept, so going on with a file seldom means reading from its
beginning. Chunks of an iterator that was made anew are all read again, and compared.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic, time
from typing import Any

import grpc.aio
from rat.v1 import producer_pb2 as pb
from rat.v1 import producer_pb2_grpc

from ratsvc.client.sources import ComeButOnce, Source
from ratsvc.client.status import backoff_s, error_of_call, is_retryable
from ratsvc.errors import DigestMismatch, OutOfSequence, RatError, Unavailable, UploadNotFound

REMEMBERED = 1_024
_BROKEN = (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)

Progress = Callable[[int], None]


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
        stored, attempt, sent, said = 0, 0, False, "there is something of it"
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
                # It broke off before anything was stored, or the service lost all it had.
                self._start.position, self._start.stored_sha256 = 0, b""
                resume = False
            except ComeButOnce:
                raise Unavailable(
                    f"the upload broke off after byte {self._start.position} ({said}) and cannot go on: its chunks come"
                    " but once; give a path, bytes, or a function that makes the chunks anew"
                ) from None
            except RatError as error:
                if not is_retryable(error) and not (sent and isinstance(error, OutOfSequence)):
                    raise
                attempt, said = attempt + 1, error.detail
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
        self._start.upload_epoch, self._start.position = standing.upload_epoch, standing.size
        self._start.stored_sha256 = standing.sha256
        here = await self._digest_at(standing.size)
        if here is None or here.digest() != standing.sha256:
            raise DigestMismatch(
                f"the file has changed since its upload began: its first {standing.size} bytes are not those stored"
            )

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
        if position in self._digests and self._source.has(position):
            return self._digests[position]
        self._digests.clear()
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
