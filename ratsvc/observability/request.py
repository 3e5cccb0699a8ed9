"""The request that is being served: its id, and the trace it belongs to.

Each edge sets it for the task that serves a request or call; whatever runs for it finds it here: log lines get its id
(`logs`), problems and gRPC trailers name it, and a publish takes its trace from it (`tracing`).
An id comes from the client where it is well formed, so that the ids of a whole chain of services are one.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from ratsvc.core.trace import TraceContext

if TYPE_CHECKING:
    from ratsvc.observability.tracing import Ingest

REQUEST_ID = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_PROCESS = secrets.token_hex(6)
_numbers = count(1)


@dataclass(slots=True)
class Request:
    """One HTTP request or gRPC call."""

    id: str
    trace: TraceContext | None = None
    """As the client sent it."""
    ingest: Ingest | None = None
    """Of a publish, where tracing is on."""

    @property
    def trace_id(self) -> str:
        """Of the trace it belongs to; "" where there is none, or tracing is off."""
        if self.trace is not None:
            return self.trace.trace_id
        span = self.ingest.span if self.ingest is not None else None
        return f"{span.get_span_context().trace_id:032x}" if span is not None else ""


_current: ContextVar[Request | None] = ContextVar("ratsvc_request", default=None)


def begin(given_id: str | None) -> Request:
    """Makes a request and sets it for this task, and those that it starts.

    Args:
        given_id: what the client calls it; replaced unless it is 1 to 128 of `A-Z a-z 0-9 . _ : / + = @ -`.
    """
    made = Request(given_id if given_id and _ID.match(given_id) else f"{_PROCESS}-{next(_numbers):x}")
    _current.set(made)
    return made


def current() -> Request | None:
    """The request that this task serves; None where it serves none."""
    return _current.get()
