"""Errors as `google.rpc.Status`, with ErrorInfo, BadRequest and RetryInfo (google/rpc/error_details.proto)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ratsvc.errors import RatError

DOMAIN = "ratsvc"
_log = structlog.get_logger()
_T = TypeVar("_T")


def status_of(error: RatError, where: str = "") -> status_pb2.Status:
    """The status that says `error`; `where` begins its message."""
    reason = error.slug.upper().replace("-", "_")
    details = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)]
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
    return status_pb2.Status(code=error.grpc_code, message=where + error.detail, details=packed)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: RatError) -> None:
    """Ends the call with the error's status."""
    status = rpc_status.to_status(status_of(error))
    context.set_trailing_metadata(status.trailing_metadata)
    await context.abort(status.code, status.details)


def guarded(handler: Callable[[Any, Any, Any], Awaitable[_T]]) -> Callable[[Any, Any, Any], Awaitable[_T]]:
    """Turns what a unary-response handler raises into a status; an unexpected error is logged and says nothing."""

    @wraps(handler)
    async def call(self: Any, request: Any, context: Any) -> _T:
        try:
            return await handler(self, request, context)
        except RatError as error:
            await abort(context, error)
            raise
        except (grpc.aio.AbortError, grpc.aio.UsageError):
            raise
        except Exception:
            _log.exception("call_failed", call=handler.__name__)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")
            raise

    return call


INVALID_ARGUMENT = code_pb2.INVALID_ARGUMENT
