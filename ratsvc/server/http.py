"""The one place that knows hypercorn: HTTP/1.1 connections on sockets of our own.

What hypercorn's `serve()` does otherwise, and why not here: it cancels open streams at shutdown with a traceback
each, always accepts HTTP/2 in cleartext, keeps connections without limit, and hides the transport. Here each
connection runs hypercorn's `TCPServer` with an HTTP/1.1 protocol that refuses upgrades and malformed heads, and the
transport is handed to the app in the scope's `extensions`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

import h11
import structlog
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ASGIFramework, ConnectionState
from hypercorn.utils import parse_socket_addr

from ratsvc.core.figures import Figures
from ratsvc.errors import SettingsError
from ratsvc.http_api.delivery import ClientTransport
from ratsvc.http_api.problem import malformed
from ratsvc.http_api.strict import StrictConnection
from ratsvc.settings import Limits

_log = structlog.get_logger()

SEND_BUFFER_BYTES = 64 * 1024
USER_TIMEOUT_MS = 30_000
BACKLOG = 1_024
HEAD_TIMEOUT_S = 5
_BUSY_BODY = b'{"type":"/problems/busy","title":"Too many connections","status":503}'
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 5\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_BUSY_BODY), _BUSY_BODY)
)


class HttpServer:
    """Accepts connections and runs `app` on them."""

    def __init__(self, app: ASGIFramework, address: str, limits: Limits, figures: Figures) -> None:
        self._app = app
        self._figures = figures
        self._limits = limits
        self._socket = listening_socket(address)
        self.port: int = self._socket.getsockname()[1]
        self._connections: set[asyncio.Task[None]] = set()
        self._addresses: Counter[str] = Counter()
        self._context = WorkerContext(None)
        self._config = Config()
        self._config.h11_max_incomplete_size = limits.header_bytes + limits.uri_bytes
        self._config.keep_alive_timeout = HEAD_TIMEOUT_S
        self._config.include_server_header = False
        self._config.accesslog = None
        self._config.errorlog = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to accept."""
        self._server = await asyncio.start_server(self._connected, sock=self._socket, backlog=BACKLOG)

    async def stop(self, grace_s: float) -> None:
        """Stops accepting, lets requests that are under way end for `grace_s`, then closes what is left."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        await self._context.terminated.set()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace_s)
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=1)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        full = len(self._connections) >= self._limits.connections
        if full or self._addresses[address] >= self._limits.connections_per_address:
            self._figures.http_connections_refused += 1
            writer.write(_BUSY)
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._addresses[address] += 1
        self._figures.http_open[task] = writer.transport.get_write_buffer_size
        try:
            await _Connection(self._app, self._config, self._context, reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        except Exception as error:  # one connection's failure is its own
            if not _is_of_socket(error):  # else the client had gone before the first look at it
                _log.exception("connection_failed")
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            del self._figures.http_open[task]
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]


def listening_socket(address: str) -> socket.socket:
    """A listening socket at `host:port`; its settings are inherited by what it accepts.

    Raises:
        SettingsError: the address is malformed, or cannot be had.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"http must be host:port, got {address!r}")
    host = host.strip("[]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    try:
        sock.bind((host, int(port)))
    except OSError as error:
        sock.close()
        raise SettingsError(f"cannot listen for HTTP at {address}: {error.strerror or error}") from None
    sock.setblocking(False)
    return sock


class _Connection(TCPServer):
    """hypercorn's connection, with our protocol."""

    def __init__(
        self,
        app: ASGIFramework,
        config: Config,
        context: WorkerContext,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(ASGIWrapper(_App(app, self)), asyncio.get_running_loop(), config, context, {}, reader, writer)

    async def run(self) -> None:
        """As in hypercorn, for cleartext HTTP/1.1 alone."""
        sock = self.writer.get_extra_info("socket")
        try:
            async with TaskGroup(self.loop) as task_group:
                self._task_group = task_group
                self.http11 = _Http11(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state),
                    False,
                    parse_socket_addr(sock.family, sock.getpeername()),
                    parse_socket_addr(sock.family, sock.getsockname()),
                    self.protocol_send,
                )
                self.protocol = self.http11  # type: ignore[assignment]
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
                await self.idle_task.stop()  # else a connection whose client has gone is kept until it is idle for long
        except OSError:
            pass
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """As in hypercorn, but nothing is waited for on a connection whose other half was closed: `run` ends with its
        last answer."""
        if not (isinstance(event, Updated) and event.idle and self.reader.at_eof()):
            await super().protocol_send(event)


class _Http11(H11Protocol):
    """HTTP/1.1 alone, and strictly (`StrictConnection`): no upgrade to HTTP/2."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.strict = StrictConnection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        self.connection = self.strict

    async def proceed(self) -> None:
        """Tells a client that waits for it to send its body."""
        if data := self.strict.proceed():
            await self.send(RawData(data=data))

    async def _send_error_response(self, status_code: int) -> None:
        reply = malformed(status_code, "the request is not valid HTTP/1.1")
        headers = [*reply.fields.items(), ("connection", "close")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=reply.body))
        await self._send_h11_event(h11.EndOfMessage())

    async def _check_protocol(self, event: h11.Request) -> None:
        """Upgrades are ignored: the gate answers what asks for another version."""


class _App:
    """The app, with what a connection has for it: its transport, and `100 Continue` when a body is first asked for."""

    def __init__(self, app: ASGIFramework, connection: _Connection) -> None:
        self._app = app
        self._connection = connection

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        chunked = scope.get("http_version") == "1.1"
        scope["extensions"]["ratsvc.transport"] = ClientTransport(self._connection.writer, chunked)

        async def pulled() -> Any:
            await self._connection.http11.proceed()
            return await receive()

        await self._app(scope, pulled, send)


def _is_of_socket(error: Exception) -> bool:
    return isinstance(error, OSError) or (isinstance(error, ExceptionGroup) and error.split(OSError)[1] is None)
