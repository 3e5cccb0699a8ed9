"""Query strings, read strictly: what is unknown, repeated or malformed is refused by its name.

A misspelt parameter that is silently ignored gives the reader another stream than it asked for; so an unknown one
is an error that names the nearest known one. `_` and `lastEventId`, which libraries add, are let pass.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from ratsvc.errors import InvalidArgument, UnknownParameter

MAX_PARAMETERS = 256
IGNORED = frozenset({"_", "lastEventId"})

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INTEGER = re.compile(r"-?[0-9]{1,20}\Z")
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?\Z")


class Query:
    """The parameters of a request.

    Args:
        query_string: as it came, still percent-encoded.
        known: the names that the route takes.
        repeatable: those of them that may come more than once.

    Raises:
        InvalidArgument: a parameter is unknown, malformed, or comes twice.
    """

    def __init__(self, query_string: bytes, known: Iterable[str], repeatable: Iterable[str] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        known, repeatable = frozenset(known), frozenset(repeatable)
        pairs = query_string.decode("ascii", "replace").split("&")
        if len(pairs) > MAX_PARAMETERS:
            raise InvalidArgument(f"there must be at most {MAX_PARAMETERS} query parameters", field="query")
        for pair in filter(None, pairs):
            raw_name, _, raw_value = pair.partition("=")
            name = _decoded(raw_name, "the name of a query parameter")
            if name in IGNORED:
                continue
            if name not in known:
                raise _unknown(name, known)
            if name in self._values and name not in repeatable:
                raise InvalidArgument(f"{name} must come once", field=name)
            self._values.setdefault(name, []).append(_decoded(raw_value, name, name))

    def many(self, name: str) -> list[str]:
        """All values of a parameter, in order."""
        return self._values.get(name, [])

    def one(self, name: str) -> str | None:
        """The value of a parameter, or None."""
        values = self._values.get(name)
        return values[0] if values else None

    def choice(self, name: str, options: Iterable[str], default: str) -> str:
        """One of `options`. Raises InvalidArgument."""
        options, value = list(options), self.one(name)
        if value is None:
            return default
        if value not in options:
            raise InvalidArgument(f"{name} must be one of {', '.join(options)}", field=name)
        return value

    def flag(self, name: str) -> bool:
        """`1` or `true` is True, `0` or `false` or nothing is False. Raises InvalidArgument."""
        return self.choice(name, ("1", "true", "0", "false"), "0") in ("1", "true")

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`, or None. Raises InvalidArgument."""
        value = self.one(name)
        if value is None:
            return None
        if not _INTEGER.match(value) or not low <= int(value) <= high:
            raise InvalidArgument(f"{name} must be a whole number from {low} to {high}", field=name)
        return int(value)

    def number(self, name: str, low: float, high: float) -> float | None:
        """A decimal number from `low` to `high`, or None. Raises InvalidArgument."""
        value = self.one(name)
        if value is None:
            return None
        if not _NUMBER.match(value) or not low <= float(value) <= high:
            raise InvalidArgument(f"{name} must be a number from {low:g} to {high:g}", field=name)
        return float(value)


def _decoded(text: str, what: str, field: str = "query") -> str:
    if _BAD_ESCAPE.search(text):
        raise InvalidArgument(f"{what} has a '%' that is not followed by two hexadecimal digits", field=field)
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{what} must be UTF-8", field=field) from None


def _unknown(name: str, known: frozenset[str]) -> UnknownParameter:
    shown = ascii(name if len(name) <= 40 else name[:40] + "…")
    near = difflib.get_close_matches(name[:40], sorted(known), 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else f"; this route takes {', '.join(sorted(known)) or 'none'}"
    return UnknownParameter(f"unknown query parameter {shown}{hint}", field=name[:40])
