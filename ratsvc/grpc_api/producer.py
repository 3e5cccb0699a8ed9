"""ProducerService: requests are taken as bytes and parsed here, so that a malformed one gets its own answer and
the call goes on.

A publish stream has a reader, which parses and queues, and a writer, which answers in order as commits come. The
reader stops while the queue is full or while too much of its own call is unacknowledged: HTTP/2 flow control then
holds the producer back, and nothing is dropped.
Cost beside gRPC's own: 0.5 µs a record (parsing and checks) and about 25 µs a request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from rat.v1 import producer_pb2 as pb

from ratsvc.core.record import Draft
from ratsvc.errors import DigestMismatch, InvalidArgument, InvalidValue, RatError, TooLarge, Unavailable, Unsupported
from ratsvc.flow.broker import Ack, Broker
from ratsvc.grpc_api.envelope import parse
from ratsvc.grpc_api.status import abort, status_of
from ratsvc.names import check_name
from ratsvc.quickmem import ValueLimits, wire

_log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]

MAX_CHUNK_BYTES = 1024 * 1024
UPLOAD_WINDOW_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class _Answer:
    """What a request of a publish stream is answered with, when its commit is done."""

    number: int
    size: int
    outcome: asyncio.Future[Ack] | RatError


class Producer:
    """The service's handlers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._limits = broker.settings.limits
        self._checks = ValueLimits(value_bytes=self._limits.value_bytes)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """By method name, all from bytes to bytes."""
        return {
            "Publish": grpc.unary_unary_rpc_method_handler(self.publish),
            "PublishStream": grpc.stream_stream_rpc_method_handler(self.publish_stream),
            "Upload": grpc.stream_unary_rpc_method_handler(self.upload),
        }

    async def publish(self, data: bytes, context: Context) -> bytes:
        """One batch."""
        try:
            await self._broker.wait_for_room()
            draft = self._draft(data, "")
            return self._ack(await self._broker.submit(draft)).SerializeToString()
        except RatError as error:
            await abort(context, error)
            raise

    async def publish_stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Many batches, answered in order."""
        call = _PublishCall(self, self._broker, context)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(call.write())
            reading = group.create_task(call.read())
            draining = group.create_task(self._broker.drain_event.wait())
            draining.add_done_callback(lambda done: reading.cancel() if not done.cancelled() else None)
            await writing
            draining.cancel()
        if not call.half_closed:
            await abort(context, Unavailable("the service is draining", retry_after_s=1.0))

    async def upload(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """A file in chunks. What was stored stays when the upload breaks off."""
        try:
            return (await self._upload(requests)).SerializeToString()
        except RatError as error:
            await abort(context, error)
            raise

    def _draft(self, data: bytes, stream_before: str) -> Draft:
        """A request, checked. Raises RatError."""
        if len(data) > self._limits.request_bytes:
            raise TooLarge(f"the request has {len(data)} bytes; at most {self._limits.request_bytes} are taken")
        envelope = parse(data)
        stream = check_name(envelope.stream or stream_before)
        records = envelope.records
        if not 1 <= len(records) <= self._limits.batch_records:
            if not records:
                raise InvalidArgument("records must not be empty", field="records")
            most = self._limits.batch_records
            raise TooLarge(f"records has {len(records)} items; at most {most} are taken", field="records")
        if envelope.durability == pb.DURABILITY_FLUSHED and not self._broker.durable:
            raise Unsupported("this service keeps records in memory: it cannot flush them", field="durability")
        columns = wire.parse_records(records, self._checks)
        return Draft(stream, records, columns.keys, columns.events, columns.values, envelope.producer)

    def _ack(self, ack: Ack) -> pb.PublishResponse:
        return pb.PublishResponse(
            first_offset=ack.first,
            last_offset=ack.last,
            stored=ack.stored,
            duplicates=ack.duplicates,
            epoch=self._broker.epoch,
        )

    async def _upload(self, requests: AsyncIterator[bytes]) -> pb.UploadResponse:
        start: pb.UploadStart | None = None
        digest, size, chunks = hashlib.sha256(), 0, 0
        first = last = 0
        pending: deque[tuple[asyncio.Future[Ack], int]] = deque()
        waiting = 0
        expected = b""
        ended = False
        async for data in requests:
            part = _upload_part(data)
            kind = part.WhichOneof("part")
            if ended or (kind == "start") == (start is not None) or kind is None:
                raise InvalidArgument("an upload is one start, then chunks, then one end", field="part")
            if kind == "start":
                start = part.start
                check_name(start.stream)
                continue
            if kind == "end":
                expected, ended = part.end.sha256, True
                continue
            assert start is not None
            chunk = part.chunk
            if not 0 < len(chunk) <= min(MAX_CHUNK_BYTES, self._limits.value_bytes - 1024):
                raise TooLarge("a chunk must have 1 byte to just under the limit of a value", field="chunk")
            digest.update(chunk)
            size += len(chunk)
            headers = None if chunks else {"name": start.name, "content-type": start.content_type}
            record = wire.record(chunk, headers={k: v for k, v in (headers or {}).items() if v})
            chunks += 1
            await self._broker.wait_for_room()
            pending.append((self._broker.submit(Draft(start.stream, [record])), len(record)))
            waiting += len(record)
            while waiting > UPLOAD_WINDOW_BYTES:
                done, freed = pending.popleft()
                ack = await done
                first, last, waiting = first or ack.first, ack.last, waiting - freed
        for done, _ in pending:
            ack = await done
            first, last = first or ack.first, ack.last
        if start is None or not ended:
            raise InvalidArgument("the upload broke off: it has no end", field="part")
        if (start.size and start.size != size) or (expected and expected != digest.digest()):
            raise DigestMismatch(f"{size} bytes arrived, and they are not those that were announced", field="end")
        if start.end_stream:
            await self._broker.end(start.stream)
        return pb.UploadResponse(
            size=size,
            sha256=digest.digest(),
            first_offset=first,
            last_offset=last,
            records=chunks,
            epoch=self._broker.epoch,
        )


def _upload_part(data: bytes) -> pb.UploadRequest:
    try:
        return pb.UploadRequest.FromString(data)
    except DecodeError:
        raise InvalidValue("malformed UploadRequest") from None


class _PublishCall:
    """One PublishStream call."""

    def __init__(self, producer: Producer, broker: Broker, context: Context) -> None:
        self._producer = producer
        self._broker = broker
        self._context = context
        self._limits = broker.settings.limits
        self._answers: asyncio.Queue[_Answer | None] = asyncio.Queue()
        self._pending_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self.half_closed = False

    async def read(self) -> None:
        """Parses and queues until the producer is done, or the service drains."""
        stream, number = "", 0
        try:
            while (data := await self._context.read()) is not grpc.aio.EOF:
                number += 1
                outcome: asyncio.Future[Ack] | RatError
                try:
                    draft = self._producer._draft(data, stream)
                    stream = draft.stream
                    outcome = self._broker.submit(draft)
                except RatError as error:
                    outcome = error
                self._take(_Answer(number, len(data), outcome))
                if not self._broker.has_room:
                    await self._broker.wait_for_room()
                await self._room.wait()
            self.half_closed = True
        finally:
            self._answers.put_nowait(None)

    def _take(self, answer: _Answer) -> None:
        self._pending_bytes += answer.size
        self._answers.put_nowait(answer)
        limits = self._limits
        if self._answers.qsize() >= limits.unacknowledged_requests or self._pending_bytes > limits.unacknowledged_bytes:
            self._room.clear()

    async def write(self) -> None:
        """Answers in order, as commits come."""
        while (answer := await self._answers.get()) is not None:
            await self._context.write(await self._response(answer))
            self._pending_bytes -= answer.size
            self._room.set()

    async def _response(self, answer: _Answer) -> bytes:
        response = pb.PublishStreamResponse(request=answer.number)
        try:
            if isinstance(answer.outcome, RatError):
                raise answer.outcome
            response.ack.CopyFrom(self._producer._ack(await answer.outcome))
        except RatError as error:
            where = f"at message {answer.number}"
            detail = f"{error.detail} {where}"
            named = type(error)(detail, field=error.field, retry_after_s=error.retry_after_s)
            response.error.CopyFrom(status_of(named))
        return response.SerializeToString()
