"""Publishing over one gRPC stream: batches, a window, and retries that cannot duplicate.

Records gather in a batch per stream until it is full or `linger_ms` old; a batch that is sealed gets its sequence
numbers and keeps them, whatever is retried. Answers come in order. After a lost connection everything
unacknowledged is sent again as it was: what the log has already is acknowledged as a duplicate. A batch that is
refused for good leaves a hole in the numbers, and the service refuses what follows it; the producer then begins a
new epoch and numbers the rest anew, which is safe because none of it can have been stored.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic, time
from types import TracebackType
from typing import Any, Self, cast

import grpc.aio
from rat.v1 import producer_pb2 as pb

from ratsvc.client.sources import Uploadable, opened
from ratsvc.client.status import backoff_s, error_of, error_of_call, is_retryable
from ratsvc.client.upload import Uploading
from ratsvc.core.run import pieces
from ratsvc.errors import (
    Busy,
    DiskFull,
    InvalidArgument,
    OutOfSequence,
    ProducerFenced,
    RatError,
    TooLarge,
    Unavailable,
)
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


@dataclass(slots=True, frozen=True)
class Delivered:
    """Where a record is: its offset (0 when the service no longer knows), and its cursor."""

    offset: int
    cursor: str
    duplicate: bool


@dataclass(slots=True, eq=False)
class _Batch:
    """Records of one stream that go in one request."""

    stream: str
    sealed_by: float
    records: list[bytes] = field(default_factory=list)
    futures: list[asyncio.Future[Delivered]] = field(default_factory=list)
    size: int = 0
    sequence: int = 0
    deadline: float = 0.0
    tried: bool = False
    """Whether it was ever sent, so that it may be stored."""
    refused: RatError | None = None
    """Why it is not sent again: it fails when all before it are acknowledged."""

    def request(self, producer_id: str, epoch: int) -> bytes:
        """The serialised `rat.v1.PublishRequest`."""
        head = pb.PublishRequest(
            stream=self.stream,
            producer=pb.ProducerRef(id=producer_id, epoch=epoch, sequence=self.sequence),
        )
        return b"".join([head.SerializeToString(), *pieces(self.records)])

    def delivered(self, ack: pb.PublishResponse) -> None:
        """Tells the senders."""
        for at, future in enumerate(self.futures):
            if not future.done():
                duplicate = at < ack.duplicates
                # New records end the batch without a hole; duplicates begin it.
                offset = ack.first_offset + at if duplicate else ack.last_offset - (len(self.futures) - 1 - at)
                offset = 0 if duplicate and not ack.first_offset else offset
                future.set_result(Delivered(offset, f"{ack.epoch}-{offset}", duplicate))

    def failed(self, error: RatError) -> None:
        """Tells the senders."""
        for future in self.futures:
            if not future.done():
                future.set_exception(error.again())
                future.exception()  # whoever does not look at it is not warned: `flush` says it


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
        self._max_records = max_batch_records
        self._max_bytes = max_batch_bytes
        self._window = window
        self._max_buffered = max_buffered_bytes
        self._timeout_s = delivery_timeout_s
        self._epoch = int(time() * 1000)
        self._next = 1
        self._open: dict[str, _Batch] = {}
        self._sealed: deque[_Batch] = deque()
        self._sent = 0
        self._buffered = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._error: RatError | None = None
        self._dead: RatError | None = None
        self._trouble: RatError | None = None
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
            self._fail_all(Unavailable("the producer was closed"))
            await self._channel.close(None)

    async def publish(
        self, stream: str, value: object, *, key: str = "", event: str = "", headers: Mapping[str, str] | None = None
    ) -> Delivered:
        """Publishes one record and waits for its acknowledgement. Raises what `send`'s future raises."""
        try:
            return await (await self.send(stream, value, key=key, event=event, headers=headers))
        except RatError as error:
            if self._error is not None and self._error.detail == error.detail:
                self._error = None  # it is told here, and not once more by `flush`
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
        while self._buffered >= self._max_buffered and not self._dead:
            self._room.clear()
            await self._room.wait()
        if self._dead is not None:
            raise self._dead.again()
        return self._add(stream, record)

    async def flush(self) -> None:
        """Waits until everything sent so far is acknowledged.

        Raises:
            RatError: the first failure since the last flush.
        """
        for stream in list(self._open):
            self._seal(stream)
        await self._idle.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

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

    def _add(self, stream: str, record: bytes) -> asyncio.Future[Delivered]:
        loop = asyncio.get_running_loop()
        batch = self._open.get(stream)
        if batch is None or batch.size + len(record) > self._max_bytes:
            self._seal(stream)
            batch = self._open[stream] = _Batch(stream, monotonic() + self._linger_s)
            loop.call_later(self._linger_s, self._seal, stream, batch)
        future: asyncio.Future[Delivered] = loop.create_future()
        batch.records.append(record)
        batch.futures.append(future)
        batch.size += len(record)
        self._buffered += len(record)
        self._idle.clear()
        if len(batch.records) >= self._max_records:
            self._seal(stream)
        return future

    def _seal(self, stream: str, only: _Batch | None = None) -> None:
        batch = self._open.get(stream)
        if batch is None or (only is not None and batch is not only):
            return
        del self._open[stream]
        batch.sequence = self._next
        batch.deadline = monotonic() + self._timeout_s
        self._next += len(batch.records)
        self._sealed.append(batch)
        self._changed.set()

    async def _run(self) -> None:
        attempt = 0
        while not self._closing:
            while not self._sealed:
                self._changed.clear()
                await self._changed.wait()
            if refused := self._sealed[0].refused:
                self._fail(self._take_first(), refused)
                self._renumber()
                continue
            before = self._sealed[0]
            try:
                wait_s = await self._session()
            except grpc.aio.AioRpcError as error:
                refused = error_of_call(error)
                wait_s, self._trouble = refused.retry_after_s, refused
                if error.code() in _FATAL:
                    self._fail_all(refused)
                elif isinstance(refused, TooLarge) and self._sent:
                    # The transport refused one of those sent, and does not say which: none is larger than this one.
                    max(islice(self._sealed, self._sent), key=lambda batch: batch.size).refused = refused
            attempt = attempt + 1 if self._sealed and self._sealed[0] is before else 1
            self._expire()
            if self._sealed and wait_s != 0:
                wait_s = max(wait_s or 0.0, backoff_s(attempt))
                await asyncio.sleep(max(0.0, min(wait_s, self._sealed[0].deadline - monotonic())))

    async def _session(self) -> float | None:
        """One connection's worth of work; returns how long to wait before the next one, None for a back-off."""
        self._sent = 0
        call = self._call()  # type: ignore[call-arg]
        writing = asyncio.create_task(self._write(call))
        try:
            while True:
                data = await call.read()
                if data is grpc.aio.EOF:  # type: ignore[attr-defined]
                    self._trouble = None
                    return None
                response = pb.PublishStreamResponse.FromString(cast(bytes, data))
                if response.WhichOneof("outcome") == "ack":
                    self._acknowledged(response.ack)
                    if self._sealed and self._sealed[0].refused:
                        return 0.0
                else:
                    return self._refused(error_of(response.error))
        finally:
            writing.cancel()
            call.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        while True:
            while self._sent >= min(len(self._sealed), self._window) or self._sealed[self._sent].refused:
                self._changed.clear()
                await self._changed.wait()
            batch = self._sealed[self._sent]
            self._sent += 1
            batch.tried = True
            await call.write(batch.request(self.id, self._epoch))

    def _acknowledged(self, ack: pb.PublishResponse) -> None:
        self._trouble = None
        self._take_first().delivered(ack)

    def _refused(self, error: RatError) -> float | None:
        """The first unacknowledged batch was refused: what to do about it, and how long to wait."""
        if isinstance(error, ProducerFenced):
            self._dead = error
            self._fail_all(error)
            return 0.0
        if is_retryable(error):
            self._trouble = error
            return error.retry_after_s
        if not isinstance(error, OutOfSequence):
            self._fail(self._take_first(), error)
        self._renumber()
        return 0.0

    def _renumber(self) -> None:
        """Begins a new epoch for everything that is not stored."""
        self._epoch = max(self._epoch + 1, int(time() * 1000))
        self._next = 1
        for batch in self._sealed:
            batch.sequence = self._next
            self._next += len(batch.records)

    def _expire(self) -> None:
        """Gives up what is too late, and with it all that was sent behind it: what may be stored must not be sent
        again under another number."""
        expired = False
        while self._sealed and (monotonic() > self._sealed[0].deadline or (expired and self._sealed[0].tried)):
            self._fail(self._take_first(), self._too_late())
            expired = True
        if expired:
            self._renumber()

    def _too_late(self) -> RatError:
        trouble = self._trouble
        late = f"not delivered to {self.address} in {self._timeout_s:g} s"
        if isinstance(trouble, Busy | DiskFull):  # said of the first of them: what follows it cannot be stored either
            return type(trouble)(f"{late}: {trouble.detail}")
        why = f" ({trouble.detail})" if trouble else ""
        return Unavailable(f"{late}{why}; it may be stored all the same")

    def _take_first(self) -> _Batch:
        batch = self._sealed.popleft()
        self._sent -= 1
        self._buffered -= batch.size
        self._room.set()
        self._changed.set()
        if not self._sealed and not self._open:
            self._idle.set()
        return batch

    def _fail(self, batch: _Batch, error: RatError) -> None:
        self._error = self._error or error
        batch.failed(error)

    def _fail_all(self, error: RatError) -> None:
        for stream in list(self._open):
            self._seal(stream)
        while self._sealed:
            self._fail(self._take_first(), error)
