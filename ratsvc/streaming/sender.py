"""Senders: what a program calls to send, from any thread, without waiting.

There is a class for each type of stream, and what does not fit a type raises before anything is queued. Each call
encodes in the caller's thread and returns whether it was taken.
"""

from __future__ import annotations

import weakref
from threading import Lock
from typing import Any, Final, NoReturn, Self

from ratsvc.streaming import encoding
from ratsvc.streaming.channel import Channel
from ratsvc.streaming.encoding import ResponseType
from ratsvc.streaming.errors import StreamTypeError
from ratsvc.streaming.large import CHUNK_BYTES, LargeData, Pieces, Source, SseFile

_making: Final = Lock()


class Sender:
    """The handle to send with. It can be shared between threads and tasks; a copy of it is itself.

    Every `send_…` returns True when it was taken and False when the stream has ended or its client is gone.

    Raises:
        StreamTypeError: the call does not fit the type of the stream. Nothing was queued.
        StreamFullError: more waits for the client than the stream's bounds let wait. Nothing was queued.
        ValueError, TypeError: what was given has no encoding. Nothing was queued.
    """

    __slots__ = ("__weakref__", "_channel")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        channel.sender_made()

    def send_sse_event(self, event: str, data: object) -> bool:
        """Sends an event of a type: a string as its text, anything else as JSON. SSE."""
        self._misfit("send_sse_event")

    def send_sse_data(self, text: str) -> bool:
        """Sends an event without a type, with a text of any number of lines. SSE."""
        self._misfit("send_sse_data")

    def send_sse_json(self, value: object) -> bool:
        """Sends an event without a type, with a value as JSON. SSE."""
        self._misfit("send_sse_json")

    def send_text_chunk(self, text: str) -> bool:
        """Sends a text as it is, without a line break. Text, chunked."""
        self._misfit("send_text_chunk")

    def send_json_chunk(self, value: object) -> bool:
        """Sends a value as one line of JSON. JSON."""
        self._misfit("send_json_chunk")

    def send_binary_chunk(self, data: bytes | bytearray | memoryview) -> bool:
        """Sends bytes: as they are (chunked), or after their number as a varint (binary)."""
        self._misfit("send_binary_chunk")

    def send_large_file(self, event: str, data: LargeData, chunk_size: int = CHUNK_BYTES) -> bool:
        """Sends large data in chunks, in constant memory; it is read when its turn comes. SSE, chunked, binary.

        Over SSE, each is an event of the type `event` with a JSON object: `{"part": "begin", "name", "size", "total",
        "chunk_size"}`, then for each chunk `{"part": "chunk", "index", "total", "offset", "data"}` with the data in
        base64, then `{"part": "end", "size", "total", "sha256"}`; or `{"part": "failed"}` when it cannot be read.
        What shows only at the end is null before. In the other types the bytes alone are sent, without the event.

        Args:
            event: the type of the events.
            data: bytes, a path, a binary file (from where it stands; it may be closed after the call) or an iterable
                of bytes. A buffer is not copied.
            chunk_size: bytes of a chunk, 1 to 1 MiB.

        Raises:
            OSError: the path cannot be opened.
        """
        self._misfit("send_large_file")

    def send_heartbeat(self) -> bool:
        """Sends a sign of life that readers do not see: a comment (SSE), an empty line (JSON)."""
        self._misfit("send_heartbeat")

    def send_event(self, event: str, data: object) -> bool:
        """The old name of `send_sse_event`."""
        return self.send_sse_event(event, data)

    def send_data(self, text: str) -> bool:
        """The old name of `send_sse_data`."""
        return self.send_sse_data(text)

    def is_connected(self) -> bool:
        """Whether a send can be taken: not ended, and the client, if there is one yet, has not gone."""
        return self._channel.end_reason is None

    def end_stream(self) -> None:
        """Ends the stream: what was sent is still written, then the response ends. Any number of times."""
        self._channel.end("ended")

    @property
    def channel(self) -> Channel:
        """What it sends to."""
        return self._channel

    def _misfit(self, call: str) -> NoReturn:
        kind = self._channel.kind
        fitting = ", ".join(name for name in FITTING[kind])
        raise StreamTypeError(f"{call} does not fit a {kind} stream, which takes {fitting}", field="type")

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if name == "send_json":
            hint = "; use send_sse_json on an SSE stream, send_json_chunk on a JSON stream"
        raise AttributeError(f"a sender has no {name!r}{hint}")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __del__(self) -> None:
        self._channel.sender_gone()


class SseSender(Sender):
    """Sends Server-Sent Events."""

    __slots__ = ()

    def send_sse_event(self, event: str, data: object) -> bool:
        return self._channel.push(encoding.sse_event(event, data))

    def send_sse_data(self, text: str) -> bool:
        return self._channel.push(encoding.sse_text(text))

    def send_sse_json(self, value: object) -> bool:
        return self._channel.push(encoding.sse_json(value))

    def send_large_file(self, event: str, data: LargeData, chunk_size: int = CHUNK_BYTES) -> bool:
        kind = encoding.event_type(event)
        return _push_source(self._channel, SseFile(Pieces(data, chunk_size), kind))

    def send_heartbeat(self) -> bool:
        return self._channel.push(encoding.HEARTBEAT)


class JsonSender(Sender):
    """Sends JSON lines."""

    __slots__ = ()

    def send_json_chunk(self, value: object) -> bool:
        return self._channel.push(encoding.json_line(value))

    def send_heartbeat(self) -> bool:
        return self._channel.push(b"\n")


class TextSender(Sender):
    """Sends text."""

    __slots__ = ()

    def send_text_chunk(self, text: str) -> bool:
        return self._channel.push(encoding.text(text))


class ChunkedSender(TextSender):
    """Sends text and bytes with nothing between."""

    __slots__ = ()

    def send_binary_chunk(self, data: bytes | bytearray | memoryview) -> bool:
        return self._channel.push(encoding.raw(data))

    def send_large_file(self, event: str, data: LargeData, chunk_size: int = CHUNK_BYTES) -> bool:
        encoding.event_type(event)
        return _push_source(self._channel, Source(Pieces(data, chunk_size), encoding.raw))


class BinarySender(Sender):
    """Sends bytes, each piece after its length."""

    __slots__ = ()

    def send_binary_chunk(self, data: bytes | bytearray | memoryview) -> bool:
        return self._channel.push(encoding.delimited(data))

    def send_large_file(self, event: str, data: LargeData, chunk_size: int = CHUNK_BYTES) -> bool:
        encoding.event_type(event)
        return _push_source(self._channel, Source(Pieces(data, chunk_size), encoding.delimited))


class StreamChannel(Channel):
    """A channel that gives its sender."""

    __slots__ = ("_sender",)

    _sender: weakref.ref[Sender] | None

    def get_response_type(self) -> ResponseType:
        """Returns `sse`, `chunked`, `json`, `text` or `binary`."""
        return self.kind

    def get_sender(self) -> Sender:
        """Returns the handle to send with: the same one as long as somebody holds it."""
        with _making:
            known: weakref.ref[Sender] | None = getattr(self, "_sender", None)
            sender = None if known is None else known()
            if sender is None:
                sender = SENDERS[self.kind](self)
                self._sender = weakref.ref(sender)
            return sender


SENDERS: Final[dict[ResponseType, type[Sender]]] = {
    ResponseType.SSE: SseSender,
    ResponseType.JSON: JsonSender,
    ResponseType.TEXT: TextSender,
    ResponseType.CHUNKED: ChunkedSender,
    ResponseType.BINARY: BinarySender,
}
#: The calls that fit each type.
FITTING: Final[dict[ResponseType, list[str]]] = {
    kind: [
        name
        for name in vars(Sender)
        if name.startswith("send_")
        and name not in ("send_event", "send_data")
        and getattr(sender, name) is not getattr(Sender, name)
    ]
    for kind, sender in SENDERS.items()
}


def _push_source(channel: Channel, source: Source) -> bool:
    """Queues a source, and lets go of it when it is not taken."""
    taken = False
    try:
        taken = channel.push(source)
    finally:
        if not taken:
            source.close()
    return taken
