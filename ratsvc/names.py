"""Stream names and patterns, keys and event types: what is allowed, and matching.

A name is 1 to 16 tokens of `[A-Za-z0-9_-]` joined by `.`, at most 200 bytes. A pattern is a name in which a
whole token may be `*` (one token) and the last may be `>` (one or more): NATS subjects' rule. Matching costs
O(tokens) and runs no regular expression over what a user sent as a pattern.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ratsvc.errors import InvalidArgument

MAX_NAME_BYTES = 200
MAX_TOKENS = 16
MAX_KEY_BYTES = 256
MAX_EVENT_BYTES = 128
MAX_PRODUCER_BYTES = 64
#: Event types that the service itself sends in band (or that browsers' EventSource does).
RESERVED_EVENTS = frozenset({"gap", "end", "reconnect", "error"})

_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\Z")
_PRODUCER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_LINE_BREAKS = re.compile(r"[\r\n\0]")


@lru_cache(maxsize=8192)
def check_name(name: str, field: str = "stream") -> str:
    """Returns `name`, a stream name.

    Raises:
        InvalidArgument: it is not one; says the rule.
    """
    if len(name) > MAX_NAME_BYTES or not _NAME.match(name) or name.count(".") >= MAX_TOKENS:
        raise InvalidArgument(
            f"{field} must be 1 to {MAX_TOKENS} tokens of [A-Za-z0-9_-] joined by '.', at most {MAX_NAME_BYTES}"
            f" bytes; got {_shown(name)}",
            field=field,
        )
    return name


@lru_cache(maxsize=8192)
def check_pattern(pattern: str, field: str = "stream") -> str:
    """Returns `pattern`, a stream name or a pattern.

    Raises:
        InvalidArgument: it is neither.
    """
    tokens = pattern.split(".") if len(pattern) <= MAX_NAME_BYTES else []
    last = len(tokens) - 1
    good = 0 < len(tokens) <= MAX_TOKENS and all(
        _TOKEN.match(token) or token == "*" or (token == ">" and at == last) for at, token in enumerate(tokens)
    )
    if not good:
        raise InvalidArgument(
            f"{field} must be 1 to {MAX_TOKENS} tokens of [A-Za-z0-9_-] or '*' joined by '.', the last may be '>',"
            f" at most {MAX_NAME_BYTES} bytes; got {_shown(pattern)}",
            field=field,
        )
    return pattern


def is_pattern(text: str) -> bool:
    """Whether a checked name-or-pattern has wildcards."""
    return "*" in text or ">" in text


def matches(pattern: str, name: str) -> bool:
    """Whether a checked pattern covers a checked name."""
    if not is_pattern(pattern):
        return pattern == name
    wanted, tokens = pattern.split("."), name.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))


def check_key(key: str) -> str:
    """Returns `key`. Raises InvalidArgument when it is over 256 bytes or has a line break or NUL."""
    return _check_label(key, "key", MAX_KEY_BYTES)


def check_event(event: str) -> str:
    """Returns `event`. Raises InvalidArgument when it is too long, reserved, or has a line break or NUL."""
    if event in RESERVED_EVENTS:
        raise InvalidArgument(f"event {event!r} is reserved for the service", field="event")
    return _check_label(event, "event", MAX_EVENT_BYTES)


def check_producer_id(producer_id: str) -> str:
    """Returns `producer_id`: 1 to 64 of [A-Za-z0-9_-]. Raises InvalidArgument."""
    return _check_id(producer_id, "producer.id")


def check_upload_id(upload_id: str) -> str:
    """Returns `upload_id`: 1 to 64 of [A-Za-z0-9_-]. Raises InvalidArgument."""
    return _check_id(upload_id, "upload_id")


def _check_id(text: str, field: str) -> str:
    if not _PRODUCER.match(text):
        raise InvalidArgument(
            f"{field} must be 1 to {MAX_PRODUCER_BYTES} of [A-Za-z0-9_-]; got {_shown(text)}", field=field
        )
    return text


def _check_label(text: str, field: str, max_bytes: int) -> str:
    if _LINE_BREAKS.search(text):
        raise InvalidArgument(f"{field} must not contain line breaks or NUL", field=field)
    if len(text) * 4 > max_bytes and len(text.encode("utf-8", "replace")) > max_bytes:
        raise InvalidArgument(f"{field} must be at most {max_bytes} bytes", field=field)
    return text


def _shown(text: str) -> str:
    """Untrusted text for an error message: ASCII, quoted, short."""
    return ascii(text if len(text) <= 40 else text[:40] + "…")
