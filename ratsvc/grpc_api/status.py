"""Errors as `google.rpc.Status`, with ErrorInfo, BadRequest and RetryInfo (google/rpc/error_details.proto), and
handlers that turn what is raised into them, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from ratsvc.errors import InvalidValue, RatError, RequestTimeout
from ratsvc.grpc_api.calls import answer_metadata

DOMAIN = "ratsvc"
_log = structlog.get_logger()
Request = TypeVar("Request", bound=Message)


def status_of(error: RatError) -> status_pb2.Status:
    """The status that says `error`."""
    reason = error.slug.upper().replace("-", "_")
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.detail)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=error.grpc_code, message=error.detail, details=packed)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    """Ends the call with the error's status; raises what ends the handler. An unexpected error is logged and says
    nothing."""
    try:
        if isinstance(error, RatError):
            status = rpc_status.to_status(status_of(error))
            await context.abort(status.code, status.details, (*status.trailing_metadata, *answer_metadata()))
        _log.error("call_failed", exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, "internal error")
    except grpc.aio.InternalError:  # the peer has gone while the status waited for it
        raise asyncio.CancelledError from None


def parsed(kind: type[Request], data: bytes) -> Request:
    """A request message. Raises InvalidValue."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidValue(f"malformed {kind.DESCRIPTOR.name}") from None


def unary(
    kind: type[Request], handle: Callable[[Request], Awaitable[Message]], wait_s: float
) -> grpc.RpcMethodHandler[Any, Any]:
    """A unary method from bytes to bytes. Its request must come within `wait_s` seconds."""

    async def answer(data: bytes) -> bytes:
        return (await handle(parsed(kind, data))).SerializeToString()

    return single(answer, wait_s)


def single(answer: Callable[[bytes], Awaitable[bytes]], wait_s: float) -> grpc.RpcMethodHandler[Any, Any]:
    """A unary method from bytes to bytes, taken as a stream of one request: it is the same on the wire, and a call
    that ends before its request is whole gets an answer, where grpc.aio's own unary calls never do."""

    async def call(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        async def run() -> bytes:
            return await answer(await only(requests, wait_s))

        return await guarded(context, run())

    return grpc.stream_unary_rpc_method_handler(call)


async def only(requests: AsyncIterator[bytes], wait_s: float) -> bytes:
    """The request of a unary call. Raises InvalidValue when there is none, RequestTimeout after `wait_s` seconds."""
    try:
        async with asyncio.timeout(wait_s):
            return await anext(requests)
    except StopAsyncIteration:
        raise InvalidValue("the call ended before its request was whole") from None
    except TimeoutError:
        raise RequestTimeout(f"the request did not come within {wait_s:g} s") from None


async def guarded(context: grpc.aio.ServicerContext[Any, Any], answer: Awaitable[bytes]) -> bytes:
    """Awaits `answer`; what it raises becomes the call's status."""
    try:
        return await answer
    except Exception as error:
        await abort(context, error)
    raise AssertionError("abort raises")
