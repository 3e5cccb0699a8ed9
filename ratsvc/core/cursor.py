"""Positions: `<epoch>-<offset>`, and where a subscription may start or stop.

An epoch is 1 to 32 of `[a-z0-9]` and names one incarnation of a log. A cursor from another epoch is
well-formed but never trusted: the reader gets a gap and starts with the oldest record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from ratsvc.errors import InvalidArgument, InvalidCursor

MAX_OFFSET = 2**64 - 1
_CURSOR = re.compile(r"([a-z0-9]{1,32})-(0|[1-9][0-9]{0,19})\Z")
_LAST = re.compile(r"-([1-9][0-9]{0,8})\Z")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)\Z")


@dataclass(slots=True, frozen=True)
class Cursor:
    """The position after the record with this offset."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"


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


def parse_cursor(text: str, field: str = "cursor") -> Cursor:
    """Reads `<epoch>-<offset>`.

    Raises:
        InvalidCursor: it is not of that form, or the offset is over 2^64-1.
    """
    found = _CURSOR.match(text) if len(text) <= 64 else None
    if found is None or int(found[2]) > MAX_OFFSET:
        raise InvalidCursor(f"{field} must be a cursor, <epoch>-<offset>", field=field)
    return Cursor(found[1], int(found[2]))


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


def _time_ns(text: str, field: str) -> int:
    whole, fraction, zone = re.match(r"(.{19})(?:\.(\d+))?(.*)\Z", text).groups()  # type: ignore[union-attr]
    try:
        moment = datetime.fromisoformat(whole.upper() + ("+00:00" if zone in "Zz" else zone))
    except ValueError:
        raise InvalidArgument(f"{field} is not a time that exists", field=field) from None
    return int(moment.timestamp()) * 10**9 + int((fraction or "").ljust(9, "0"))
