"""Which format a request gets: `?format=` wins, else `Accept` by RFC 9110, section 12.5.1.

The most specific range that covers a type gives its quality, and the highest quality wins. Of equals the one that is
named wins over one that a wildcard covers, then the one that the client names first (so axios, which sends
`application/json, text/plain, */*` and waits for the whole body, gets a page), then the order of `OFFERED`.
JSON lines are for `*/*` and for no `Accept` (curl). Parameters other than q are not looked at.
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
_QUALITY = re.compile(r"(?:0(?:\.[0-9]*)?|\.[0-9]+|1(?:\.0*)?)\Z")
#: A quoted string, or one that is never closed: matching is linear.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.S)


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
    if not ranges:
        return "ndjson"
    best = max(OFFERED, key=lambda media_type: _preference(ranges, media_type))
    if _preference(ranges, best)[0] == 0:
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
    html, _ = ranges.get("text/html", (0.0, 0))
    return html > 0 and all(html >= ranges[media_type][0] for media_type in OFFERED if media_type in ranges)


def _ranges(accept: str) -> dict[str, tuple[float, int]]:
    """Quality and place in the list of each media range."""
    if len(accept) > MAX_ACCEPT_BYTES:
        raise InvalidArgument(f"Accept must be at most {MAX_ACCEPT_BYTES} bytes", field="accept")
    ranges: dict[str, tuple[float, int]] = {}
    for place, part in enumerate(_QUOTED.sub("", accept).split(",")):
        media_range, *parameters = (piece.strip(" \t") for piece in part.split(";"))
        if not media_range and not parameters:
            continue
        media_range = "*/*" if media_range == "*" else media_range.lower()  # Java's URLConnection sends "*".
        if not _RANGE.match(media_range):
            raise InvalidArgument("Accept must be a list of media ranges, type/subtype", field="accept")
        quality = _read_quality(parameters)
        if media_range not in ranges or quality > ranges[media_range][0]:
            ranges[media_range] = quality, place
    return ranges


def _read_quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.lower() == "q":
            if not _QUALITY.match(value):
                raise InvalidArgument("Accept has a q that is not between 0 and 1", field="accept")
            return float(value)
    return 1.0


def _preference(ranges: dict[str, tuple[float, int]], media_type: str) -> tuple[float, int, int]:
    """How much a type is wanted: quality, how specific the range is that says so, how early it is listed."""
    for specificity, media_range in ((2, media_type), (1, media_type.partition("/")[0] + "/*"), (0, "*/*")):
        if media_range in ranges:
            quality, place = ranges[media_range]
            return quality, specificity, -place
    return 0.0, 0, 0
