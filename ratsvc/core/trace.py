"""W3C Trace Context: which trace a publish belongs to, as its headers say it (https://www.w3.org/TR/trace-context/).

Read strictly and passed on as it came: a `traceparent` that breaks a rule is as good as none, a `tracestate` that does
is left out. Records carry both in headers of the same names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
MAX_STATE_BYTES = 512
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z", re.S)
_MEMBER = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]\Z"
)
_MAX_MEMBERS = 32
_SAMPLED = 0x01
_KNOWN_FLAGS = 0x03


@dataclass(slots=True, frozen=True)
class TraceContext:
    """A span that others can be children of, or link to."""

    trace_id: str
    """32 lower-case hexadecimal digits."""
    span_id: str
    """16 of them."""
    flags: int = 0
    state: str = ""
    """What vendors added, as it came."""

    @property
    def sampled(self) -> bool:
        """Whether whoever began the trace records it."""
        return bool(self.flags & _SAMPLED)

    @property
    def headers(self) -> dict[str, str]:
        """As headers: `traceparent`, and `tracestate` where there is one."""
        parent = {TRACEPARENT: f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"}
        return parent | {TRACESTATE: self.state} if self.state else parent


def trace_context(parent: str | None, state: str | None = None) -> TraceContext | None:
    """The context that these headers say; None when `parent` says none."""
    found = _PARENT.match(parent.strip(" \t")) if parent else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == "0" * 32 or span_id == "0" * 16:
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS, _state(state) if state else "")


def _state(text: str) -> str:
    """A `tracestate`, or "" where it breaks a rule."""
    members = [one.strip(" \t") for one in text.split(",") if one.strip(" \t")] if len(text) <= MAX_STATE_BYTES else []
    found = [match[1] for one in members if (match := _MEMBER.match(one))]
    whole = len(found) == len(members) == len(set(found)) <= _MAX_MEMBERS
    return ",".join(members) if whole else ""


@dataclass(slots=True, frozen=True)
class Traced:
    """What of a publish is traced."""

    request: TraceContext | None
    """The span of its request."""
    records: tuple[TraceContext, ...]
    """The contexts under which its records are delivered."""
