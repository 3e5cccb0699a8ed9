"""The registry of connections: who is there, what they got, and word when they go.

A connection is a sender under a name. It leaves the registry when its stream closes, when it is unregistered, or at
shutdown; whichever comes first says the reason to `on_disconnect`, exactly once.
Registering takes a lock; sending does not come by here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Condition
from time import time
from typing import Final
from warnings import warn
from weakref import ref

from ratsvc.streaming import encoding
from ratsvc.streaming.channel import Channel, serving
from ratsvc.streaming.counts import forgotten_streams, skipped_chunks
from ratsvc.streaming.encoding import ResponseType
from ratsvc.streaming.errors import StreamFullError
from ratsvc.streaming.response import StreamingResponse
from ratsvc.streaming.sender import Sender, StreamChannel

MAXIMUM: Final = 1_000
GRACE_S: Final = 5.0
_log = logging.getLogger("ratsvc.streaming")
OnDisconnect = Callable[[str], object]


@dataclass(slots=True, frozen=True)
class ConnectionInfo:
    """A connection as it is now."""

    connection_id: str
    remote_addr: str
    metadata: object
    response_type: ResponseType
    state: str
    """`waiting`, `streaming` or `ending`."""
    connected_at: float
    """Unix time, seconds."""
    bytes: int
    messages: int


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Connection:
    connection_id: str
    remote_addr: str
    sender: Sender
    metadata: object
    on_disconnect: OnDisconnect | None
    connected_at: float = field(default_factory=time)

    def info(self) -> ConnectionInfo:
        channel = self.sender.channel
        return ConnectionInfo(
            self.connection_id, self.remote_addr, self.metadata, channel.kind, channel.state, self.connected_at,
            channel.sent_bytes, channel.sent_messages,
        )  # fmt: skip


class Connections:
    """A registry.

    Args:
        maximum: how many connections there may be at once.
    """

    def __init__(self, maximum: int = MAXIMUM) -> None:
        self.maximum = maximum
        self._by_id: dict[str, _Connection] = {}
        self._changed = Condition()
        self._shut = False
        self._total = 0
        self._gone_bytes = 0
        self._gone_messages = 0

    def register(
        self,
        connection_id: str,
        remote_addr: str,
        sender: Sender | StreamChannel | StreamingResponse,
        metadata: Mapping[str, object] | str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> bool:
        """Puts a connection in.

        Args:
            connection_id: its name, free now.
            remote_addr: where the client is, for people to read.
            sender: what to send to it with; a whole channel or response is taken too, with a warning.
            metadata: whatever belongs to it.
            on_disconnect: called once with the reason when it has left: `ended` (all was written), `disconnected`
                (the client went), `stalled` (it took nothing), `forgotten`, `dropped`, `shutdown`, or what
                `unregister` was given.

        Returns:
            False when the name is taken, the maximum is reached, or the registry was shut down.

        Raises:
            TypeError: `sender` is none.
        """
        if isinstance(sender, StreamChannel | StreamingResponse):
            warn("register the sender (get_sender()), not the whole channel", DeprecationWarning, stacklevel=2)
            sender = sender.get_sender()
        if not isinstance(sender, Sender):
            raise TypeError(f"Expected a sender, got {type(sender).__name__}")
        connection = _Connection(connection_id, remote_addr, sender, metadata, on_disconnect)
        with self._changed:
            if self._shut or connection_id in self._by_id or len(self._by_id) >= self.maximum:
                return False
            self._by_id[connection_id] = connection
            self._total += 1
        # The registry alone keeps the sender: a stream whose connection is unregistered may be forgotten like any.
        sender.channel.on_close(partial(self._closed, ref(connection)))
        return True

    def unregister(self, connection_id: str, reason: str = "unregistered") -> bool:
        """Takes a connection out; its stream goes on. Returns whether it was there."""
        with self._changed:
            connection = self._by_id.get(connection_id)
        return connection is not None and self._leave(connection, reason)

    def stats(self) -> dict[str, object]:
        """Returns what there is and was: `active`, `total`, `by_state`, `by_type`, `bytes` and `messages` handed to the
        server (those of connections that left among them), `maximum`; and of the whole process `forgotten` streams
        and `skipped_chunks`."""
        with self._changed:
            infos = [connection.info() for connection in self._by_id.values()]
            return {
                "active": len(infos),
                "total": self._total,
                "by_state": dict(Counter(info.state for info in infos)),
                "by_type": dict(Counter(str(info.response_type) for info in infos)),
                "bytes": self._gone_bytes + sum(info.bytes for info in infos),
                "messages": self._gone_messages + sum(info.messages for info in infos),
                "maximum": self.maximum,
                "forgotten": forgotten_streams.value,
                "skipped_chunks": skipped_chunks.value,
            }

    def list(self) -> list[ConnectionInfo]:
        """Returns the connections in the order they came."""
        with self._changed:
            return [connection.info() for connection in self._by_id.values()]

    def broadcast(self, data: object, event: str = "message") -> int:
        """Sends `data` to every connection whose type can bring it, encoded once for each type.

        Args:
            data: text for any type but binary, bytes for chunked and binary, anything for SSE and JSON.
            event: the type of the event, for SSE.

        Returns:
            How many took it: a connection that is full or gone did not.

        Raises:
            ValueError: the data has no encoding.
        """
        with self._changed:
            channels = [connection.sender.channel for connection in self._by_id.values()]
        encoded: dict[ResponseType, bytes | None] = {}
        taken = 0
        for channel in channels:
            if channel.kind not in encoded:
                encoded[channel.kind] = _encoded(channel.kind, event, data)
            item = encoded[channel.kind]
            try:
                taken += item is not None and channel.push(item)
            except StreamFullError:
                continue
        return taken

    def shutdown(self, grace: float = GRACE_S) -> bool:
        """Ends every stream and takes no more connections; after `grace` seconds what is not written is cut.

        Call it before the server stops. In a thread it returns when all streams have closed; on an event loop, which
        has to write them, it returns at once and cuts later.

        Returns:
            Whether all had closed in time; on an event loop, whether there were none.
        """
        with self._changed:
            self._shut = True
            channels = {id(connection.sender.channel): connection.sender.channel for connection in self._by_id.values()}
        channels |= serving
        for channel in channels.values():
            channel.on_close(self._tell)
            channel.end("shutdown")
        left = list(channels.values())
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            with self._changed:
                in_time = self._changed.wait_for(lambda: _all_closed(left), max(0.0, grace))
            _cut(left)
            return in_time
        if left:
            loop.call_later(grace, _cut, left)
        return not left

    def _closed(self, known: ref[_Connection], reason: str) -> None:
        connection = known()
        if connection is not None:
            self._leave(connection, reason)

    def _leave(self, connection: _Connection, reason: str) -> bool:
        """Takes a connection out, if it is still in; whether it was."""
        with self._changed:
            if self._by_id.get(connection.connection_id) is not connection:
                return False
            del self._by_id[connection.connection_id]
            self._gone_bytes += connection.sender.channel.sent_bytes
            self._gone_messages += connection.sender.channel.sent_messages
        if connection.on_disconnect is not None:
            try:
                connection.on_disconnect(reason)
            except Exception:  # a program's callback: its error is its own
                _log.exception("on_disconnect failed")
        return True

    def _tell(self, reason: str) -> None:
        with self._changed:
            self._changed.notify_all()


def _encoded(kind: ResponseType, event: str, data: object) -> bytes | None:
    """None when a stream of that type cannot bring the data."""
    try:
        return encoding.for_type(kind, event, data)
    except TypeError:
        return None


def _all_closed(channels: list[Channel]) -> bool:
    return all(channel.close_reason is not None for channel in channels)


def _cut(channels: list[Channel]) -> None:
    for channel in channels:
        if channel.close_reason is None:
            channel.cut("shutdown")


CONNECTIONS: Final = Connections()
"""The registry of the process."""
register_streaming_connection = CONNECTIONS.register
unregister_streaming_connection = CONNECTIONS.unregister
get_streaming_stats = CONNECTIONS.stats
list_streaming_connections = CONNECTIONS.list
broadcast = CONNECTIONS.broadcast
shutdown_streaming_system = CONNECTIONS.shutdown
