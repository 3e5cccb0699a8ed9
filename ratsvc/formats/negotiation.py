"""Which format a request gets: `?format=` wins, else `Accept` by RFC 9110, section 12.5.1; and whether it gets it
compressed, by `Accept-Encoding` (section 12.5.3).

The most specific range that covers a type gives its quality, and the highest quality wins. Of equals the one that is
named wins over one that a wildcard covers, then the one that the client names first (so axios, which sends
`application/json, text/plain, */*` and waits for the whole body, gets a page), then the order of `OFFERED`.
JSON lines are for `*/*` and for no `Accept` (curl). Parameters other than q are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

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
_CODING = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_QUALITY = re.compile(r"(?:0(?:\.[0-9]*)?|\.[0-9]+|1(?:\.0*)?)\Z")
_LISTS = {
    "accept": ("Accept", _RANGE, "media ranges, type/subtype"),
    "accept-encoding": ("Accept-Encoding", _CODING, "content codings"),
}
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
    ranges = _qualities(accept, "accept")
    if not ranges:
        return "ndjson"
    best = max(OFFERED, key=lambda media_type: _preference(ranges, media_type))
    if _preference(ranges, best)[0] == 0:
        raise NotAcceptable(f"none of the accepted types is on offer: {', '.join(OFFERED)}", field="accept")
    return OFFERED[best]


def negotiate_coding(accept_encoding: str | None, offered: Sequence[str]) -> str:
    """How to compress: only where the client asks for it by name, and likes nothing better. `*` is taken for gzip.

    Args:
        accept_encoding: the header.
        offered: the codings that can be had, the best first.

    Returns:
        One of them, or `identity`.

    Raises:
        InvalidArgument: the header is malformed.
        NotAcceptable: the client takes neither what can be had nor plain bytes.
    """
    codings = {name: quality for name, (quality, _) in _qualities(accept_encoding or "", "accept-encoding").items()}
    if "x-gzip" in codings:
        codings["gzip"] = max(codings.get("gzip", 0.0), codings["x-gzip"])
    codings.setdefault("gzip", codings.get("*", 0.0))
    identity = codings.get("identity", 0.0 if codings.get("*") == 0 else -1.0)
    best = max(offered, key=lambda name: codings.get(name, 0.0), default="identity")
    if codings.get(best, 0.0) > 0 and codings[best] >= identity:
        return best
    if identity == 0:
        among = f": {', '.join(offered)}" if offered else ""
        raise NotAcceptable(
            f"plain bytes are refused, and nothing else that is accepted is on offer{among}", field="accept-encoding"
        )
    return "identity"


def wants_html(accept: str | None) -> bool:
    """Whether a browser navigates: `text/html` is named, and nothing on offer is named with a higher quality."""
    if not accept or "text/html" not in accept.lower():
        return False
    try:
        ranges = _qualities(accept, "accept")
    except InvalidArgument:
        return False
    html, _ = ranges.get("text/html", (0.0, 0))
    return html > 0 and all(html >= ranges[media_type][0] for media_type in OFFERED if media_type in ranges)


def _qualities(accept: str, field: Literal["accept", "accept-encoding"]) -> dict[str, tuple[float, int]]:
    """Quality and place in the list of each media range, or of each coding."""
    name, pattern, kind = _LISTS[field]
    if len(accept) > MAX_ACCEPT_BYTES:
        raise InvalidArgument(f"{name} must be at most {MAX_ACCEPT_BYTES} bytes", field=field)
    found: dict[str, tuple[float, int]] = {}
    for place, part in enumerate(_QUOTED.sub("", accept).split(",")):
        one, *parameters = (piece.strip(" \t") for piece in part.split(";"))
        if not one and not parameters:
            continue
        one = "*/*" if one == "*" and field == "accept" else one.lower()  # Java's URLConnection sends "*".
        if not pattern.match(one):
            raise InvalidArgument(f"{name} must be a list of {kind}", field=field)
        quality = _read_quality(parameters, name, field)
        if one not in found or quality > found[one][0]:
            found[one] = quality, place
    return found


def _read_quality(parameters: list[str], header: str, field: str) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.lower() == "q":
            if not _QUALITY.match(value):
                raise InvalidArgument(f"{header} has a q that is not between 0 and 1", field=field)
            return float(value)
    return 1.0


def _preference(ranges: dict[str, tuple[float, int]], media_type: str) -> tuple[float, int, int]:
    """How much a type is wanted: quality, how specific the range is that says so, how early it is listed."""
    for specificity, media_range in ((2, media_type), (1, media_type.partition("/")[0] + "/*"), (0, "*/*")):
        if media_range in ranges:
            quality, place = ranges[media_range]
            return quality, specificity, -place
    return 0.0, 0, 0
