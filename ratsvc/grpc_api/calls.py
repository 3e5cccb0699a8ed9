"""What is done around every call: it gets an id, which goes back in its metadata; it is counted and timed by method;
what publishes is traced where tracing is on; and a call that was not served has one log line.

The id is the client's `x-request-id` where it is well formed. It comes back in the trailers of a call that had one or
that was refused, and at the start of a stream of answers. A unary call that neither asked nor failed is spared it: it
would cost more than all the rest here.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import grpc
import structlog

from ratsvc.core.trace import TRACEPARENT, TRACESTATE, trace_context
from ratsvc.flow.broker import Broker
from ratsvc.observability import logs
from ratsvc.observability.request import REQUEST_ID, begin, current

PUBLISHING = frozenset({"Publish", "PublishStream", "Upload"})
_WANTED = frozenset({REQUEST_ID, TRACEPARENT, TRACESTATE})
_log = structlog.get_logger("ratsvc.grpc")


def answer_metadata() -> tuple[tuple[str, str], ...]:
    """The id of the call that is being served, as metadata."""
    request = current()
    return ((REQUEST_ID, request.id),) if request is not None else ()


def served(
    service: str, method: str, handler: grpc.RpcMethodHandler[Any, Any], broker: Broker, **also: str
) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler with all this around it. `also`: what its log line says beside the rest."""
    unary = handler.stream_unary is not None
    inner: Any = handler.stream_unary or handler.stream_stream
    figures, tracing = broker.figures, broker.tracing

    async def call(requests: Any, context: Any) -> Any:
        began, code = perf_counter(), "CANCELLED"
        metadata = _metadata(context)
        request = begin(metadata.get(REQUEST_ID))
        if REQUEST_ID in metadata:
            context.set_trailing_metadata(answer_metadata())
        if tracing is not None:
            trace = trace_context(metadata.get(TRACEPARENT), metadata.get(TRACESTATE))
            if method in PUBLISHING:
                named = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
                each = method == "PublishStream"
                tracing.publishing(request, f"{service}/{method}", named, trace, each=each)
            else:
                request.trace = trace
        figures.open_calls[method] += 1
        try:
            answer = await inner(requests, context)
            code = "OK"
            return answer
        except grpc.aio.AbortError:
            code = _code_name(context.code())
            raise
        finally:
            figures.open_calls[method] -= 1
            seconds = perf_counter() - began
            figures.called(method, code, seconds)
            if tracing is not None:
                tracing.answered(request, None if code == "OK" else code, {"rpc.response.status_code": code})
            _tell(method, code, seconds, also)

    wrap: Any = grpc.stream_unary_rpc_method_handler if unary else grpc.stream_stream_rpc_method_handler
    found: grpc.RpcMethodHandler[Any, Any] = wrap(call)
    return found


def _metadata(context: Any) -> dict[str, str]:
    """Of the metadata, what is looked at; what comes twice is as good as not there, but for `tracestate`."""
    found: dict[str, str] = {}
    twice = set()
    for name, value in context.invocation_metadata():
        if name in _WANTED and isinstance(value, str):
            if name in found:
                twice.add(name)
            found[name] = f"{found[name]},{value}" if name == TRACESTATE and name in found else value
    return {name: value for name, value in found.items() if name == TRACESTATE or name not in twice}


def _tell(method: str, code: str, seconds: float, also: dict[str, str]) -> None:
    """One line of a call: of those that were served, and of readers that went, only where debug lines are written."""
    quiet = code in ("OK", "CANCELLED")
    if not quiet or logs.shows("debug"):
        (_log.debug if quiet else _log.info)("call", method=method, code=code, ms=round(seconds * 1000, 1), **also)


def _code_name(code: Any) -> str:
    return next((one.name for one in grpc.StatusCode if code in (one, one.value[0])), "UNKNOWN")
