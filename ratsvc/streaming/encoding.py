"""The bytes of what is sent, by type of stream: made in the sender's thread, at the time of the call.

So an error is raised where the mistake is, a value may be changed after it was sent, and what waits is counted in
the bytes that it will be. (Encoding whole bursts in the loop instead was measured: see docs/decisions.md.)
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

from ratsvc.core.run import varint
from ratsvc.errors import InvalidValue
from ratsvc.formats import sse
from ratsvc.names import MAX_EVENT_BYTES
from ratsvc.quickmem.codec import CODEC
from ratsvc.streaming.errors import StreamTypeError

HEARTBEAT = b":\n\n"
"""An SSE comment, which a reader does not see."""
_BREAKS = re.compile(r"[\r\n\0]")


class ResponseType(StrEnum):
    """What a stream sends."""

    SSE = "sse"
    CHUNKED = "chunked"
    JSON = "json"
    TEXT = "text"
    BINARY = "binary"


def sse_event(event: str, data: object) -> bytes:
    """One event: a string is its text, anything else JSON.

    Raises:
        ValueError: the type has a line break or NUL, or the data has no encoding.
        TypeError: the type is not text, or the data holds something that has no encoding.
    """
    lines = sse.text_lines(data) if isinstance(data, str) else CODEC.encode_json(data)
    return sse.block(lines, event_type(event))


@lru_cache(maxsize=1024)
def event_type(event: str) -> bytes:
    """The bytes of an event's type; none for `message`, which is what an event without one is.

    Raises:
        ValueError: it has a line break or NUL, or more than 128 bytes.
        TypeError: it is not text.
    """
    if not isinstance(event, str):
        raise TypeError(f"Expected text as event type, got {type(event).__name__}")
    if _BREAKS.search(event):
        raise InvalidValue("event must not contain line breaks or NUL", field="event")
    name = event.encode()
    if len(name) > MAX_EVENT_BYTES:
        raise InvalidValue(f"event must be at most {MAX_EVENT_BYTES} bytes", field="event")
    return b"" if event == "message" else name


def sse_text(text: str) -> bytes:
    """An event without a type. Raises TypeError when it is not text."""
    if not isinstance(text, str):
        raise TypeError(f"Expected text, got {type(text).__name__}")
    return sse.block(sse.text_lines(text))


def sse_json(value: object) -> bytes:
    """An event without a type. Raises what `QuickCodec.encode_json` does."""
    return sse.block(CODEC.encode_json(value))


def sse_end(reason: str) -> bytes:
    """The last event."""
    return sse.block(CODEC.encode_json({"reason": reason}), b"end")


def json_line(value: object) -> bytes:
    """One document and a line feed. Raises what `QuickCodec.encode_json` does."""
    return CODEC.encode_json(value) + b"\n"


def text(chunk: str) -> bytes:
    """The text alone. Raises TypeError when it is not text."""
    if not isinstance(chunk, str):
        raise TypeError(f"Expected text, got {type(chunk).__name__}")
    return chunk.encode()


def raw(chunk: bytes | bytearray | memoryview) -> bytes:
    """The bytes alone. Raises TypeError when they are not bytes."""
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise TypeError(f"Expected bytes data, got {type(chunk).__name__}")
    return bytes(chunk)


def delimited(chunk: bytes | bytearray | memoryview) -> bytes:
    """The bytes after their number as a varint. Raises TypeError when they are not bytes."""
    data = raw(chunk)
    return varint(len(data)) + data


def for_type(kind: ResponseType, event: str, data: object) -> bytes:
    """What `data` is in a stream of any type; only SSE has room for `event`.

    Raises:
        StreamTypeError: a stream of that type cannot bring such data.
        ValueError, TypeError: it has no encoding.
    """
    if kind is ResponseType.SSE:
        return sse_event(event, data)
    if kind is ResponseType.JSON:
        return json_line(data)
    if isinstance(data, str) and kind in (ResponseType.TEXT, ResponseType.CHUNKED):
        return text(data)
    if isinstance(data, bytes) and kind is not ResponseType.TEXT:
        return delimited(data) if kind is ResponseType.BINARY else data
    raise StreamTypeError(f"a {kind} stream cannot bring a {type(data).__name__}", field="data")
