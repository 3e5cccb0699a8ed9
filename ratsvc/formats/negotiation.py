"""Which format a request gets: `?format=` wins, else `Accept` by RFC 9110, section 12.5.1.

The most specific range that covers a type gives its quality; the highest quality wins, then the order in which the
types stand in `OFFERED`. JSON lines are for `*/*` and for no `Accept` (curl).
"""

from __future__ import annotations

import re

from ratsvc.errors import InvalidArgument, NotAcceptable

OFFERED: dict[str, str] = {
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/event-stream": "sse",
    "application/json-seq": "json-seq",
    "text/plain": "text",
    "application/octet-stream": "chunked",
    "application/vnd.rat.v1.frames+protobuf": "binary",
    "application/json": "page",
}
NAMES = tuple(dict.fromkeys(OFFERED.values()))
MAX_ACCEPT_BYTES = 4096
_RANGE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\Z")


def negotiate(accept: str | None, format: str | None) -> str:
    """The name of the format to send.

    Raises:
        InvalidArgument: `format` is not one, or `accept` is malformed.
        NotAcceptable: nothing on offer satisfies `accept`.
    """
    if format is not None:
        if format not in NAMES:
            raise InvalidArgument(f"format must be one of {', '.join(NAMES)}", field="format")
        return format
    if accept is None or not accept.strip():
        return "ndjson"
    ranges = _ranges(accept)
    best = max(OFFERED, key=lambda media_type: _quality(ranges, media_type))
    if _quality(ranges, best) == 0:
        raise NotAcceptable(f"none of the accepted types is on offer: {', '.join(OFFERED)}", field="accept")
    return OFFERED[best]


def wants_html(accept: str | None) -> bool:
    """Whether a browser navigates: `text/html` is named, and nothing on offer is named with a higher quality."""
    if not accept or "text/html" not in accept.lower():
        return False
    try:
        ranges = _ranges(accept)
    except InvalidArgument:
        return False
    html = ranges.get("text/html", 0.0)
    return html > 0 and all(html >= ranges.get(media_type, 0.0) for media_type in OFFERED)


def _ranges(accept: str) -> dict[str, float]:
    if len(accept) > MAX_ACCEPT_BYTES:
        raise InvalidArgument(f"Accept must be at most {MAX_ACCEPT_BYTES} bytes", field="accept")
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        if not media_range and not parameters:
            continue
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                if not _QUALITY.match(value.strip()):
                    raise InvalidArgument("Accept has a q that is not between 0 and 1", field="accept")
                quality = float(value)
        if not _RANGE.match(media_range):
            raise InvalidArgument("Accept must be a list of media ranges, type/subtype", field="accept")
        ranges[media_range.lower()] = quality
    return ranges


def _quality(ranges: dict[str, float], media_type: str) -> float:
    for media_range in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
