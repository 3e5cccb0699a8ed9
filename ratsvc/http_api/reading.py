"""What a reader asks for, from its query and headers: a `Reading`. No I/O; every error names the parameter.

`Last-Event-ID` wins over `last_event_id`, and that over `from`: an EventSource that comes back sends the header to
the very URL that it first opened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ratsvc.core.cursor import Cursor, Start, parse_cursor, parse_start, parse_until
from ratsvc.errors import InvalidArgument
from ratsvc.flow.broker import Overflow, ReadRequest
from ratsvc.formats import View, negotiate, negotiate_coding, wants_html
from ratsvc.http_api.head import Head
from ratsvc.http_api.query import Query
from ratsvc.names import check_event, check_key, check_pattern
from ratsvc.settings import Settings

MAX_LIMIT = 2**53
MAX_PAGE = 10_000
DEFAULT_PAGE = 1_000
MAX_WAIT_S = 60.0
_ZONE = re.compile(r" (\d\d:\d\d)\Z")


class ReadParameters(msgspec.Struct, rename={"from_": "from"}):
    """The query of a read, as `/openapi.json` shows it."""

    format: Annotated[str, Meta(description="sse, ndjson, json-seq, text, chunked, binary, page")] = ""
    view: Annotated[Literal["value", "record"], Meta(description="The value alone, or all of the record")] = "value"
    int64: Annotated[Literal["number", "string"], Meta(description="How integers beyond ±2^53 are written")] = "number"
    from_: Annotated[str, Meta(description="latest, earliest, a cursor, an RFC 3339 time, or -N")] = "latest"
    last_event_id: Annotated[str, Meta(description="A cursor; wins over from; the header over it")] = ""
    limit: Annotated[int, Meta(description="Ends after so many records; for a page 1,000 by default", ge=1)] = 0
    until: Annotated[str, Meta(description="Ends at 'now', or at a cursor")] = ""
    key: Annotated[list[str], Meta(description="Only records with one of these keys; repeatable")] = []
    event: Annotated[list[str], Meta(description="Only records of these event types; repeatable")] = []
    snapshot: Annotated[Literal["", "key"], Meta(description="First the newest record of each key, then live")] = ""
    delta: Annotated[
        Literal["", "json-patch"], Meta(description="Changed documents as JSON patches (RFC 6902), in the record view")
    ] = ""
    overflow: Annotated[
        Literal["catch-up", "latest", "disconnect"], Meta(description="What happens when the reader is too slow")
    ] = "catch-up"
    heartbeat: Annotated[
        float, Meta(description="The longest silence, in seconds; the service's default else", ge=1, le=3600)
    ] = 0
    must_exist: Annotated[bool, Meta(description="404 for a stream that does not exist, instead of waiting")] = False
    wait: Annotated[float, Meta(description="For a page: how many seconds it may wait for a record", ge=0, le=60)] = 0


class SubscribeParameters(ReadParameters, rename={"from_": "from"}, kw_only=True):
    """The query of a read of several streams."""

    stream: Annotated[list[str], Meta(description="A stream name or pattern; repeatable")]


#: What streams and what whole responses come in, the best first.
STREAM_CODINGS = ("gzip",)
WHOLE_CODINGS = ("zstd", "gzip")
PARAMETERS = frozenset(ReadParameters.__struct_encode_fields__)


@dataclass(slots=True, frozen=True)
class Reading:
    """A read, checked."""

    request: ReadRequest
    format: str
    view: View
    int64_as_string: bool
    wait_s: float
    coding: str

    @property
    def cursor(self) -> Cursor | None:
        """The position that the reader came with."""
        return self.request.start if isinstance(self.request.start, Cursor) else None


def parse(name: str | None, head: Head, query_string: bytes, settings: Settings) -> Reading:
    """Reads a request for the stream or pattern `name`, or for those in `stream=` when it is None.

    Raises:
        RatError: what is wrong with it.
    """
    known = PARAMETERS if name is not None else PARAMETERS | {"stream"}
    query = Query(query_string, known, ("stream", "key", "event"))
    streams = _streams([name] if name is not None else query.many("stream"), settings)
    format_name = negotiate(_accept(head), query.one("format"))
    is_page = format_name == "page"
    if query.one("wait") is not None and not is_page:
        raise InvalidArgument("wait is for format=page alone", field="wait")
    delta = query.choice("delta", ("", "json-patch"), "") == "json-patch"
    if delta and format_name in ("text", "chunked"):
        raise InvalidArgument(f"delta and format={format_name} exclude each other", field="delta")
    if delta and query.one("view") == View.VALUE.value:
        raise InvalidArgument("delta and view=value exclude each other: patches come in the record view", field="delta")
    request = ReadRequest(
        streams=streams,
        start=_start(query, head),
        until=None if (until := query.one("until")) is None else parse_until(until),
        limit=query.integer("limit", 1, MAX_PAGE if is_page else MAX_LIMIT) or (DEFAULT_PAGE if is_page else None),
        keys=frozenset(map(check_key, query.many("key"))) or None,
        events=frozenset(map(check_event, query.many("event"))) or None,
        overflow=Overflow(query.choice("overflow", [one.value for one in Overflow], Overflow.CATCH_UP.value)),
        heartbeat_s=query.number("heartbeat", 1, 3600) or settings.heartbeat_s,
        must_exist=query.flag("must_exist") or is_page,
        snapshot=query.choice("snapshot", ("", "key"), "") == "key",
        delta=delta,
    )
    view = View(query.choice("view", [one.value for one in View], (View.RECORD if delta else View.VALUE).value))
    int64_as_string = query.choice("int64", ("number", "string"), "number") == "string"
    wait_s = query.number("wait", 0, MAX_WAIT_S) or 0.0
    # What is in chunks is often compressed already, and goes out from where it is kept.
    codings = WHOLE_CODINGS if is_page else STREAM_CODINGS if format_name != "chunked" else ()
    coding = accepted_coding(head, codings if settings.compression.enabled else ())
    return Reading(request, format_name, view, int64_as_string, wait_s, coding)


def is_navigation(head: Head, query_string: bytes) -> bool:
    """Whether a browser goes there as to a page: it likes HTML best, and names no format."""
    return b"format=" not in query_string and wants_html(_accept(head))


def accepted_coding(head: Head, offered: Sequence[str]) -> str:
    """How to encode a response's content: as one of what is offered, the best first, or `identity`.

    Raises InvalidArgument or NotAcceptable.
    """
    return negotiate_coding(_listed(head, b"accept-encoding"), offered)


def _accept(head: Head) -> str | None:
    return _listed(head, b"accept")


def _listed(head: Head, name: bytes) -> str | None:
    """A header that is a list, and may come in several lines."""
    return ", ".join(value.decode("latin-1") for value in head.headers.get(name, [])) or None


def _streams(names: list[str], settings: Settings) -> tuple[str, ...]:
    most = settings.limits.streams_per_subscription
    if not 1 <= len(names) <= most:
        raise InvalidArgument(f"stream must be given 1 to {most} times", field="stream")
    return tuple(dict.fromkeys(check_pattern(name) for name in names))


def _start(query: Query, head: Head) -> Start:
    start = parse_start(_ZONE.sub(r"+\1", query.one("from") or ""))
    if query.one("last_event_id"):
        start = parse_cursor(query.one("last_event_id") or "", "last_event_id")
    if last := head.one(b"last-event-id"):
        start = parse_cursor(last, "last-event-id")
    return start
