"""What readers ask for over gRPC, checked: `rat.v1` requests to `ReadRequest`."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from rat.v1 import consumer_pb2 as pb

from ratsvc.core.cursor import Earliest, parse_start, parse_until
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument, TooLarge
from ratsvc.flow.broker import Overflow, ReadRequest
from ratsvc.names import check_event, check_key, check_pattern
from ratsvc.settings import Settings

MAX_PAGE = 10_000
DEFAULT_PAGE = 100
MAX_WAIT_S = 60.0
MAX_FILTERS = 128
MAX_AGE_S = 86400.0 * 365 * 100
_OVERFLOWS = {
    pb.OVERFLOW_UNSPECIFIED: Overflow.CATCH_UP,
    pb.OVERFLOW_CATCH_UP: Overflow.CATCH_UP,
    pb.OVERFLOW_LATEST: Overflow.LATEST,
    pb.OVERFLOW_DISCONNECT: Overflow.DISCONNECT,
}


def subscription(request: pb.SubscribeRequest, settings: Settings) -> ReadRequest:
    """What a Subscribe asks for. Raises InvalidArgument or TooLarge."""
    if request.overflow not in _OVERFLOWS:
        raise InvalidArgument("overflow must be a value of rat.v1.Overflow", field="overflow")
    if request.delta not in pb.Delta.values():
        raise InvalidArgument("delta must be a value of rat.v1.Delta", field="delta")
    heartbeat_s = _seconds(request.heartbeat, "heartbeat", 1.0, 3600.0) if request.HasField("heartbeat") else None
    return ReadRequest(
        _streams(request.streams, settings),
        parse_start(getattr(request, "from")),
        parse_until(request.until) if request.until else None,
        request.limit or None,
        _filters(request.keys, "keys"),
        _filters(request.events, "events"),
        _OVERFLOWS[request.overflow],
        heartbeat_s,
        request.must_exist,
        request.snapshot,
        request.delta == pb.DELTA_JSON_PATCH,
    )


def page(request: pb.FetchRequest, settings: Settings) -> tuple[ReadRequest, float]:
    """What a Fetch asks for, and how long to wait (seconds). Raises InvalidArgument or TooLarge."""
    if request.limit > MAX_PAGE:
        raise InvalidArgument(f"limit must be 1 to {MAX_PAGE}", field="limit")
    start = getattr(request, "from")
    read = ReadRequest(
        _streams(request.streams, settings),
        parse_start(start) if start or request.snapshot else Earliest(),
        parse_until(request.until) if request.until else None,
        limit=request.limit or DEFAULT_PAGE,
        keys=_filters(request.keys, "keys"),
        events=_filters(request.events, "events"),
        must_exist=True,
        snapshot=request.snapshot,
    )
    return read, _seconds(request.wait, "wait", 0.0, MAX_WAIT_S)


def retention(max_records: int, max_bytes: int, max_age: Duration) -> Retention:
    """A retention policy. Raises InvalidArgument."""
    for count, field in ((max_records, "max_records"), (max_bytes, "max_bytes")):
        if count >= 2**63:
            raise InvalidArgument(f"retention.{field} must be below 2^63", field=f"retention.{field}")
    return Retention(max_records, max_bytes, _seconds(max_age, "retention.max_age", 0.0, MAX_AGE_S))


def _streams(streams: Sequence[str], settings: Settings) -> tuple[str, ...]:
    most = settings.limits.streams_per_subscription
    if not streams:
        raise InvalidArgument("streams must not be empty", field="streams")
    if len(streams) > most:
        raise TooLarge(f"streams has {len(streams)} items; at most {most} are taken", field="streams")
    return tuple(dict.fromkeys(check_pattern(stream, "streams") for stream in streams))


def _filters(wanted: Sequence[str], field: str) -> frozenset[str] | None:
    if len(wanted) > MAX_FILTERS:
        raise TooLarge(f"{field} has {len(wanted)} items; at most {MAX_FILTERS} are taken", field=field)
    for text in wanted:
        (check_key if field == "keys" else check_event)(text)
    return frozenset(wanted) or None


def _seconds(span: Duration, field: str, least: float, most: float) -> float:
    seconds = span.seconds + span.nanos / 1e9
    if not least <= seconds <= most:
        raise InvalidArgument(f"{field} must be {least:g} s to {most:g} s", field=field)
    return seconds
