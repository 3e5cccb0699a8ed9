"""What the service answered, as the error classes of `ratsvc.errors`, and which of them are worth a retry."""

from __future__ import annotations

import random
from typing import cast

import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from ratsvc import errors
from ratsvc.errors import RatError

_BY_REASON = {
    kind.slug.upper().replace("-", "_"): kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RatError)
}
_BY_SLUG = {kind.slug: kind for kind in _BY_REASON.values()}
_RETRYABLE = (errors.Busy, errors.DiskFull, errors.Unavailable, errors.RequestTimeout)
#: How gRPC itself, at either end, refuses a message over its limit.
_OVER_GRPC_LIMIT = "larger than max"


def error_of(status: status_pb2.Status) -> RatError:
    """The error that a status says."""
    kind: type[RatError] = {3: errors.InvalidArgument, 4: errors.Unavailable, 5: errors.StreamNotFound, 8: errors.Busy,
                            14: errors.Unavailable}.get(status.code, RatError)  # fmt: skip
    field, retry_after_s = None, None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            kind = _BY_REASON.get(info.reason, kind)
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    return kind(status.message, field=field, retry_after_s=retry_after_s)


def error_of_call(error: grpc.aio.AioRpcError) -> RatError:
    """The error that a failed call says; a connection that failed is Unavailable."""
    status = rpc_status.from_call(cast(grpc.Call, error))
    if status is not None:
        return error_of(status)
    code, details = error.code(), error.details() or error.code().name.lower()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _OVER_GRPC_LIMIT in details:
        return errors.TooLarge(f"the request is too large: {details}")
    return error_of(status_pb2.Status(code=code.value[0], message=details))


def error_of_problem(status: int, problem: object) -> RatError:
    """The error that a problem document (RFC 9457) says."""
    document = problem if isinstance(problem, dict) else {}
    slug = str(document.get("type", "")).rpartition("/")[2]
    fallback = errors.Unavailable if status >= 500 else errors.InvalidArgument
    detail = str(document.get("detail") or document.get("title") or f"HTTP status {status}")
    return _BY_SLUG.get(slug, fallback)(detail)


def is_retryable(error: RatError) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, _RETRYABLE)


def backoff_s(attempt: int, least_s: float = 0.05, most_s: float = 5.0) -> float:
    """How long to wait before the `attempt`-th retry (from 1): exponential, with full jitter."""
    return random.uniform(0, min(most_s, least_s * 2 ** min(attempt, 30)))
