"""For the in-process API: a Quart app under stock hypercorn, on a port that the system chooses."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import pytest_asyncio
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart

from ratsvc.streaming import CONNECTIONS, connections


class Site:
    """A served app."""

    def __init__(self, app: Quart, port: int, http: httpx.AsyncClient) -> None:
        self.app = app
        self.port = port
        self.http = http
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, path: str, method: str = "GET") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Asks for a path on a connection of its own, and reads the head of the response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 200"), head
        return reader, writer

    async def leave(self) -> None:
        """Drops the connections that are left."""
        for writer in self._writers:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def served(app: Quart) -> AsyncIterator[Site]:
    """The app, served by hypercorn as it comes."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    port = sock.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.accesslog = None
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.5
    stop = asyncio.Event()
    task = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            site = Site(app, port, http)
            yield site
    finally:
        await site.leave()
        for channel in list(connections.serving.values()):
            channel.end("test over")
        stop.set()
        await task


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    """A served app, to which the test adds its views."""
    async with served(Quart("user")) as found:
        yield found


@pytest.fixture(autouse=True)
def no_connections() -> Iterator[None]:
    """Every test leaves the registry of the process empty."""
    yield
    for info in CONNECTIONS.list():
        CONNECTIONS.unregister(info.connection_id)


@pytest.fixture(autouse=True)
def no_errors_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test leaves a traceback in the log, unless it says so by clearing it."""
    yield
    assert not [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Waits, at most 10 s, for something to be true."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    return wait
