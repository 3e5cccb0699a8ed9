"""Positions: `<epoch>-<offset>`, and where a subscription may start or stop.

An epoch is 1 to 32 of `[a-z0-9]` and names one incarnation of a log. A cursor from another epoch is
well-formed but never trusted: the reader gets a gap and starts with the oldest record.
A position within a snapshot is `<epoch>-<offset>~<point>`: of the records up to the point, the newest of each key
were given up to the offset; what comes after the point was not given yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ratsvc.errors import InvalidArgument, InvalidCursor

MAX_OFFSET = 2**64 - 1
_CURSOR = re.compile(r"([a-z0-9]{1,32})-(0|[1-9][0-9]{0,19})(?:~([1-9][0-9]{0,19}))?\Z")
_LAST = re.compile(r"-([1-9][0-9]{0,8})\Z")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)\Z")


@dataclass(slots=True, frozen=True)
class Cursor:
    """The position after the record with this offset."""

    epoch: str
    offset: int
    point: int = 0
    """The point of the snapshot that it lies in; 0: it lies in none."""

    def __str__(self) -> str:
        return cursor_text(self.epoch, self.offset, self.point)


def cursor_text(epoch: str, offset: int, point: int = 0) -> str:
    """A cursor, written."""
    return f"{epoch}-{offset}~{point}" if point else f"{epoch}-{offset}"


@dataclass(slots=True, frozen=True)
class Latest:
    """After the newest record."""


@dataclass(slots=True, frozen=True)
class Earliest:
    """Before the oldest record."""


@dataclass(slots=True, frozen=True)
class LastN:
    """Before the newest `count` records."""

    count: int


@dataclass(slots=True, frozen=True)
class SinceTime:
    """Before the first record committed at or after this time (Unix, nanoseconds)."""

    time_ns: int


Start = Latest | Earliest | LastN | SinceTime | Cursor
Until = Cursor | Literal["now"]


def parse_cursor(text: str, field: str = "cursor") -> Cursor:
    """Reads `<epoch>-<offset>` or `<epoch>-<offset>~<point>`.

    Raises:
        InvalidCursor: it is of neither form, a number is over 2^64-1, or the offset over the point.
    """
    found = _CURSOR.match(text) if len(text) <= 80 else None
    if found is not None:
        offset, point = int(found[2]), int(found[3] or 0)
        if max(offset, point) <= MAX_OFFSET and (not point or offset <= point):
            return Cursor(found[1], offset, point)
    raise InvalidCursor(f"{field} must be a cursor, <epoch>-<offset>", field=field)


def parse_start(text: str, field: str = "from") -> Start:
    """Reads `latest`, `earliest`, `-N`, an RFC 3339 time or a cursor; "" is latest.

    Raises:
        InvalidArgument: it is none of them.
    """
    if text in ("", "latest"):
        return Latest()
    if text == "earliest":
        return Earliest()
    if found := _LAST.match(text):
        return LastN(int(found[1]))
    if _RFC3339.match(text):
        return SinceTime(_time_ns(text, field))
    try:
        return parse_cursor(text, field)
    except InvalidCursor:
        raise InvalidArgument(
            f"{field} must be 'latest', 'earliest', '-N', an RFC 3339 time or a cursor, <epoch>-<offset>", field=field
        ) from None


def parse_until(text: str, field: str = "until") -> Until:
    """Reads `now` or a cursor.

    Raises:
        InvalidArgument: it is neither.
    """
    if text == "now":
        return "now"
    try:
        return parse_cursor(text, field)
    except InvalidCursor:
        raise InvalidArgument(f"{field} must be 'now' or a cursor, <epoch>-<offset>", field=field) from None


def _time_ns(text: str, field: str) -> int:
    whole, fraction, zone = re.match(r"(.{19})(?:\.(\d+))?(.*)\Z", text).groups()  # type: ignore[union-attr]
    try:
        moment = datetime.fromisoformat(whole.upper() + ("+00:00" if zone in "Zz" else zone))
    except ValueError:
        raise InvalidArgument(f"{field} is not a time that exists", field=field) from None
    return int(moment.timestamp()) * 10**9 + int((fraction or "").ljust(9, "0"))
