"""Clients that take nothing: found, and their connections reset.

A server's `send` waits for ever for a client that does not read. To cancel it frees what waits here, but not the
connection: a server that closes one waits until its last byte is taken. ASGI gives an app no hold of the connection,
so its socket is found among those of the process by the two addresses that the request names, and reset. The server
then sees a client that went, and clears up as after any. Sockets are looked at by their own descriptors, in the thread
that closes them: to close a copy would take the locks that the process has on a file, if it turned out to be one.
A block may take a slow client longer than the timeout, so what it took is asked of the kernel (Linux); elsewhere a
block has to be written in that time.
Cost: a timer a response; what is written passes by. The sockets are looked through when a client first seems to stall.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from errno import ENOTCONN
from stat import S_ISSOCK
from types import AsyncGeneratorType
from typing import Any, Final, cast

from ratsvc.streaming.channel import Channel

_LOOKS: Final = 4
"""How often within the timeout."""
_BYTES_ACKED: Final = struct.Struct("=120xQ")
"""Where Linux' `struct tcp_info` has `tcpi_bytes_acked` (include/uapi/linux/tcp.h)."""
_RESET: Final = struct.pack("ii", 1, 0)
_log = logging.getLogger("ratsvc.streaming")
_Addresses = tuple[tuple[str, int], tuple[str, int]]
#: The descriptors of the process's connections when they were last looked through: each is checked before it is used.
_descriptors: Final[dict[_Addresses, int]] = {}


@dataclass(slots=True, frozen=True)
class Connection:
    """The connection that a request came by, known by its ends."""

    ends: _Addresses

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Connection | None:
        """The one of an ASGI scope; None where it carries other requests too (HTTP/2), or is not of TCP."""
        own, peer = scope.get("server"), scope.get("client")
        if scope.get("http_version") == "2" or not own or not peer or not own[1] or not peer[1]:
            return None
        return cls(((own[0], own[1]), (peer[0], peer[1])))

    def acknowledged(self) -> int | None:
        """How many bytes the client's system has taken; None where that cannot be told."""
        with suppress(OSError, AttributeError, struct.error), self._socket() as sock:
            acked: int = _BYTES_ACKED.unpack_from(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128))[0]
            return acked
        return None

    def reset(self) -> bool:
        """Breaks it off, with what waits in it. Returns whether it is gone."""
        try:
            with self._socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
        return True

    def _socket(self) -> AbstractContextManager[socket.socket]:
        """Its socket. Raises OSError when it is not there."""
        for _ in range(2):
            descriptor = _descriptors.get(self.ends)
            if descriptor is not None and _ends(descriptor) == self.ends:
                return _borrowed(descriptor)
            _look_through()
        raise OSError(ENOTCONN, "the connection is not one of this process")


class Watch:
    """Cuts a response whose client takes nothing for `channel.stall_s`.

    Args:
        blocks: what its body iterates over: while it is not running, the server writes.
        connection: None when it is not known; then only the time of each block counts.
    """

    def __init__(
        self, channel: Channel, blocks: AsyncGenerator[bytes, None], connection: Connection | None = None
    ) -> None:
        self._channel = channel
        self._blocks = cast(AsyncGeneratorType[bytes, None], blocks)
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._given = -1
        self._acked: int | None = None
        self._moved_at = self._loop.time()
        self._again()

    def stop(self) -> None:
        """Looks no more."""
        self._timer.cancel()

    def _again(self) -> None:
        self._timer = self._loop.call_later(self._channel.stall_s / _LOOKS, self._look)

    def _look(self) -> None:
        channel, now = self._channel, self._loop.time()
        if self._blocks.ag_running or channel.sent_bytes != self._given:
            self._given, self._acked, self._moved_at = channel.sent_bytes, None, now
        elif self._connection is not None and (acked := self._connection.acknowledged()) != self._acked:
            self._acked, self._moved_at = acked, now
        elif now - self._moved_at >= channel.stall_s:
            _log.info("a client took nothing for %g s: cut a %s stream", channel.stall_s, channel.kind)
            channel.cut("stalled")
            return
        self._again()


def _look_through() -> None:
    """Notes which connections there are."""
    _descriptors.clear()
    with suppress(OSError):
        for descriptor in map(int, os.listdir("/dev/fd")):
            if (ends := _ends(descriptor)) is not None:
                _descriptors[ends] = descriptor


def _ends(descriptor: int) -> _Addresses | None:
    """The addresses and ports of a TCP connection; None of anything else."""
    try:
        if not S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with _borrowed(descriptor) as sock:
            own, peer = sock.getsockname(), sock.getpeername()
            is_stream = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    except OSError:
        return None
    is_internet = isinstance(own, tuple) and isinstance(peer, tuple)
    return ((own[0], own[1]), (peer[0], peer[1])) if is_stream and is_internet else None


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """A descriptor as a socket: nothing of it is changed, and it stays open. The family only says how long addresses
    may be."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0), 0, descriptor)
    try:
        yield sock
    finally:
        sock.detach()
