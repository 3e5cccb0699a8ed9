"""ProducerService: requests are taken as bytes and parsed here, so that a malformed one gets its own answer and
the call goes on.

A publish stream has a reader, which parses and queues, and a writer, which answers in order as commits come. The
reader stops while the queue is full or while too much of its own call is unacknowledged: HTTP/2 flow control then
holds the producer back, and nothing is dropped.
Cost beside gRPC's own: 0.5 µs a record (parsing and checks) and about 25 µs a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from rat.v1 import producer_pb2 as pb

from ratsvc.core.draft import Draft
from ratsvc.errors import InvalidArgument, RatError, TooLarge, Unavailable, Unsupported
from ratsvc.flow.broker import Ack, Broker
from ratsvc.grpc_api import upload
from ratsvc.grpc_api.envelope import parse
from ratsvc.grpc_api.peer import peer_of
from ratsvc.grpc_api.status import abort, guarded, single, status_of, unary
from ratsvc.grpc_api.writing import GONE, Answers, Stalled
from ratsvc.names import check_name
from ratsvc.quickmem import ValueLimits, wire

Context = grpc.aio.ServicerContext[Any, Any]
_DURABILITIES = frozenset(pb.Durability.values())


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
            "Publish": single(self.publish, self._limits.body_timeout_s),
            "PublishStream": grpc.stream_stream_rpc_method_handler(self.publish_stream),
            "Upload": grpc.stream_unary_rpc_method_handler(self.upload),
            "GetUpload": unary(pb.GetUploadRequest, partial(upload.tell, self._broker), self._limits.body_timeout_s),
        }

    async def publish(self, data: bytes) -> bytes:
        """One batch."""
        await self._broker.wait_for_room()
        answer = pb.PublishResponse()
        self.acknowledge(answer, await self._broker.submit(self.draft(data, "")))
        return answer.SerializeToString()

    async def publish_stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Many batches, answered in order."""
        call = _PublishCall(self, self._broker, context)
        with self._broker.connections.opened(peer_of(context), "grpc", call):
            await self._run(call, context)

    async def _run(self, call: _PublishCall, context: Context) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(call.write())
                reading = group.create_task(call.read())
                draining = group.create_task(self._broker.drain_event.wait())
                draining.add_done_callback(lambda done: reading.cancel() if not done.cancelled() else None)
                await writing
                draining.cancel()
        except ExceptionGroup as failures:
            if failures.split(GONE)[1] is None:
                return  # the producer has gone: there is nobody to answer
            if stalled := failures.subgroup(Stalled):
                await abort(context, stalled.exceptions[0])
            await abort(context, failures)
        if not call.half_closed:
            await abort(context, Unavailable("the service is draining", retry_after_s=1.0))

    async def upload(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """A file in chunks. What was stored stays when the upload breaks off."""

        async def run() -> bytes:
            return (await upload.take(self._broker, requests, peer_of(context))).SerializeToString()

        return await guarded(context, run())

    def draft(self, data: bytes, stream_before: str) -> Draft:
        """A request, checked. Raises RatError, which is counted."""
        try:
            return self._draft(data, stream_before)
        except RatError as error:
            self._broker.figures.refused[error.slug] += 1
            if self._broker.tracing is not None:
                self._broker.tracing.refused_publish(error)
            raise

    def _draft(self, data: bytes, stream_before: str) -> Draft:
        if len(data) > self._limits.request_bytes:
            raise TooLarge(f"the request has {len(data)} bytes; at most {self._limits.request_bytes} are taken")
        envelope = parse(data, self._checks)
        stream = check_name(envelope.stream or stream_before)
        kept = envelope.kept
        count = len(kept)
        if not 1 <= count <= self._limits.batch_records:
            if not count:
                raise InvalidArgument("records must not be empty", field="records")
            most = self._limits.batch_records
            raise TooLarge(f"records has {count} items; at most {most} are taken", field="records")
        if envelope.durability not in _DURABILITIES:
            raise InvalidArgument("durability must be a value of rat.v1.Durability", field="durability")
        if envelope.durability == pb.DURABILITY_FLUSHED and not self._broker.durable:
            raise Unsupported("this service keeps records in memory: it cannot flush them", field="durability")
        columns = envelope.columns or wire.parse_records(kept.each, self._checks, kept.sizes.tolist())
        return Draft(
            stream, kept, columns.keys, columns.events, columns.values, envelope.producer,
            flushed=envelope.durability == pb.DURABILITY_FLUSHED,
        )  # fmt: skip

    def acknowledge(self, answer: pb.PublishResponse, ack: Ack) -> None:
        """Writes an acknowledgement into its answer."""
        answer.first_offset, answer.last_offset = ack.first, ack.last
        answer.stored, answer.duplicates = ack.stored, ack.duplicates
        answer.epoch = self._broker.epoch


class _PublishCall:
    """One PublishStream call."""

    def __init__(self, producer: Producer, broker: Broker, context: Context) -> None:
        self._producer = producer
        self._broker = broker
        self._context = context
        self._limits = broker.settings.limits
        self._sent = Answers(context, broker.settings.stall_timeout_s)
        self._answers: asyncio.Queue[_Answer | None] = asyncio.Queue()
        self._pending_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self.half_closed = False
        self.stream = ""
        self.received = 0

    async def read(self) -> None:
        """Parses and queues until the producer is done, or the service drains."""
        number = 0
        try:
            while (data := await self._context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                number += 1
                self.received += len(data)
                outcome: asyncio.Future[Ack] | RatError
                try:
                    draft = self._producer.draft(data, self.stream)
                    self.stream = draft.stream
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
        if not self._has_room:
            self._room.clear()

    @property
    def _has_room(self) -> bool:
        waiting, limits = self._answers.qsize(), self._limits
        return waiting < limits.unacknowledged_requests and self._pending_bytes <= limits.unacknowledged_bytes

    async def write(self) -> None:
        """Answers in order, as commits come."""
        with self._sent:
            while (answer := await self._answers.get()) is not None:
                await self._sent.write(await self._response(answer))
                self._pending_bytes -= answer.size
                if self._has_room:
                    self._room.set()

    async def _response(self, answer: _Answer) -> bytes:
        response = pb.PublishStreamResponse(request=answer.number)
        try:
            if isinstance(answer.outcome, RatError):
                raise answer.outcome
            self._producer.acknowledge(response.ack, await answer.outcome)
        except RatError as error:
            where = f"at message {answer.number}"
            detail = f"{error.detail} {where}"
            named = type(error)(detail, field=error.field, retry_after_s=error.retry_after_s)
            response.error.CopyFrom(status_of(named))
        return response.SerializeToString()
