"""Publishing over one gRPC stream: the connection, when it is tried again, and who waits for what.

What is sent on it, and what again, is the outbox's (`outbox`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Self, cast

import grpc.aio
from rat.v1 import producer_pb2 as pb

from ratsvc.client.outbox import Delivered, Outbox
from ratsvc.client.sources import Uploadable, opened
from ratsvc.client.status import backoff_s, error_of, error_of_call
from ratsvc.client.upload import Uploading
from ratsvc.errors import InvalidArgument, RatError, Unavailable
from ratsvc.names import check_name, check_producer_id, check_upload_id
from ratsvc.quickmem import wire

CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 30_000),
]
#: After any other status of a call, everything unacknowledged is sent again.
_FATAL = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)


class Producer:
    """Publishes records; an async context manager. All calls are made in one event loop.

    Args:
        address: of the service's gRPC, `host:port`.
        producer_id: 1 to 64 of [A-Za-z0-9_-]; random by default. A newer producer with the same id shuts out this one.
        linger_ms: how long a batch waits for more records.
        max_batch_records, max_batch_bytes: when a batch goes at once.
        window: how many batches may be unacknowledged.
        max_buffered_bytes: beyond so many bytes unacknowledged, `send` waits.
        delivery_timeout_s: after so long a record fails with Unavailable; it may have been stored all the same. So do
            those that were sent behind it. Where the service could be reached and had no room until then, it is Busy
            or DiskFull, and nothing of them was stored.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        producer_id: str | None = None,
        linger_ms: float = 5.0,
        max_batch_records: int = 1_000,
        max_batch_bytes: int = 1024 * 1024,
        window: int = 64,
        max_buffered_bytes: int = 32 * 1024 * 1024,
        delivery_timeout_s: float = 120.0,
    ) -> None:
        self.address = address
        self.id = check_producer_id(producer_id or uuid.uuid4().hex)
        self._linger_s = linger_ms / 1000
        self._max_buffered = max_buffered_bytes
        self._timeout_s = delivery_timeout_s
        self._changed = asyncio.Event()
        self._outbox = Outbox(
            self.id,
            address,
            max_records=max_batch_records,
            max_bytes=max_batch_bytes,
            window=window,
            timeout_s=delivery_timeout_s,
            changed=self._changed.set,
        )
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        self._call = self._channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        try:
            if kind is None:
                await self.flush()
        finally:
            self._closing = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._outbox.fail_all(Unavailable("the producer was closed"))
            await self._channel.close(None)

    async def publish(
        self, stream: str, value: object, *, key: str = "", event: str = "", headers: Mapping[str, str] | None = None
    ) -> Delivered:
        """Publishes one record and waits for its acknowledgement. Raises what `send`'s future raises."""
        try:
            return await (await self.send(stream, value, key=key, event=event, headers=headers))
        except RatError as error:
            failure = self._outbox.failure
            if failure is not None and failure.detail == error.detail:
                self._outbox.failure = None  # it is told here, and not once more by `flush`
            raise

    async def send(
        self, stream: str, value: object, *, key: str = "", event: str = "", headers: Mapping[str, str] | None = None
    ) -> asyncio.Future[Delivered]:
        """Queues a record; waits only while the buffer is full.

        Returns:
            A future of its delivery. It raises the service's refusal, at once when a retry cannot help (a bad request)
            and after the delivery timeout when it might have (a full disk or queue); or Unavailable after that time.

        Raises:
            InvalidArgument, InvalidValue, TypeError: the name, label or value cannot be published.
            ProducerFenced: another producer took over this id.
        """
        check_name(stream)
        record = wire.record(value, key, event, headers)
        outbox = self._outbox
        while outbox.buffered >= self._max_buffered and not outbox.dead:
            self._changed.clear()
            await self._changed.wait()
        if outbox.dead is not None:
            raise outbox.dead.again()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Delivered] = loop.create_future()
        begun = outbox.add(stream, record, future)
        if begun is not None:
            loop.call_later(self._linger_s, outbox.seal, stream, begun)
        return future

    async def flush(self) -> None:
        """Waits until everything sent so far is acknowledged.

        Raises:
            RatError: the first failure since the last flush.
        """
        outbox = self._outbox
        outbox.seal_all()
        while not outbox.is_empty:
            self._changed.clear()
            await self._changed.wait()
        failure, outbox.failure = outbox.failure, None
        if failure is not None:
            raise failure

    async def upload(
        self,
        stream: str,
        source: Uploadable,
        *,
        name: str = "",
        content_type: str = "",
        key: str = "",
        event: str = "",
        end_stream: bool = False,
        upload_id: str = "",
        resume: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> pb.UploadResponse:
        """Uploads a file. The service checks its SHA-256.

        After a break the upload goes on where it stood, until nothing more was stored for the delivery timeout.

        Args:
            source: a path, bytes, chunks of bytes from an iterable (async or not) or an open binary file, or a function
                that makes those chunks anew. An iterator or an open file is not read again: after a break its upload
                fails with Unavailable, which says so.
            upload_id: names the upload, so that it can go on later: 1 to 64 of [A-Za-z0-9_-]; random by default.
            resume: goes on with the upload of that id that broke off, instead of beginning it anew. What is stored is
                compared with the source, from its beginning.
            progress: called with the bytes sent so far.

        Raises:
            UploadNotFound: there is no upload of that id to go on with.
            DigestMismatch: the source has changed since its upload began, or while it was sent.
            OSError: the path cannot be read.
            TypeError: the source, or a chunk of it, is none.
            Exception: what the chunks or `progress` raise.
            RatError: it was refused. What was stored stays.
        """
        check_name(stream)
        if resume and not upload_id:
            raise InvalidArgument("resume needs the upload_id of the upload to go on with", field="upload_id")
        upload_id = check_upload_id(upload_id or uuid.uuid4().hex)
        bytes_of = await opened(source)
        try:
            start = pb.UploadStart(
                stream=stream, name=name or bytes_of.name, content_type=content_type, key=key, event=event,
                end_stream=end_stream, upload_id=upload_id,
            )  # fmt: skip
            return await Uploading(self._channel, start, bytes_of, self._timeout_s, progress).run(resume=resume)
        finally:
            await bytes_of.close()

    async def _run(self) -> None:
        outbox, attempt = self._outbox, 0
        while not self._closing:
            while outbox.first is None:
                self._changed.clear()
                await self._changed.wait()
            if outbox.fail_refused():
                continue
            before = outbox.first
            try:
                wait_s = await self._session()
            except grpc.aio.AioRpcError as error:
                refused = error_of_call(error)
                wait_s = refused.retry_after_s
                outbox.broken(refused)
                if error.code() in _FATAL:
                    outbox.fail_all(refused)
            attempt = attempt + 1 if outbox.first is before else 1
            outbox.expire()
            if outbox.first is not None and wait_s != 0:
                wait_s = max(wait_s or 0.0, backoff_s(attempt))
                await asyncio.sleep(max(0.0, min(wait_s, outbox.first.deadline - monotonic())))

    async def _session(self) -> float | None:
        """One connection's worth of work; returns how long to wait before the next one, None for a back-off."""
        outbox = self._outbox
        outbox.connected()
        call = self._call()  # type: ignore[call-arg]
        writing = asyncio.create_task(self._write(call))
        try:
            while True:
                data = await call.read()
                if data is grpc.aio.EOF:  # type: ignore[attr-defined]
                    outbox.ended()
                    return None
                response = pb.PublishStreamResponse.FromString(cast(bytes, data))
                if response.WhichOneof("outcome") != "ack":
                    return outbox.refused(error_of(response.error))
                if not outbox.acknowledged(response.ack):
                    return 0.0
        finally:
            writing.cancel()
            call.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        while True:
            while (request := self._outbox.next_request()) is None:
                self._changed.clear()
                await self._changed.wait()
            await call.write(request)
