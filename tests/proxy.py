"""A TCP proxy that cuts connections at random moments: for clients that must not care."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

Way = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def forward(
    port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: Way, answers: Way
) -> None:
    """Connects to `port` for a client, and forwards by `requests` and `answers` until one of them is over; then both
    connections are broken with a reset."""
    try:
        there, back = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.transport.abort()
        return
    ways = [asyncio.ensure_future(requests(reader, back)), asyncio.ensure_future(answers(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        writer.transport.abort()
        back.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)


class CuttingProxy:
    """Forwards to a port; cuts a connection after a random number of bytes, in either direction, with a reset.

    Chromium takes the head of a response that was cut for the whole of it, and an EventSource whose media type is
    missing never comes back: with `least_bytes` over a request and a head, no head is cut.
    A reset also takes what the client has not read yet: after `grace_s` it has read it, and gets on with each try.
    """

    def __init__(self, port: int, most_bytes: int, seed: int, least_bytes: int, grace_s: float) -> None:
        self._target = port
        self._most = most_bytes
        self._least = least_bytes
        self._grace_s = grace_s
        self._random = random.Random(seed)
        self.port = 0
        self.cuts = 0
        self.cutting = True

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        budget = [self._random.randint(self._least, self._most)]
        copy = partial(self._copy, budget)
        await forward(self._target, reader, writer, copy, copy)

    async def _copy(self, budget: list[int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            if self.cutting and len(data) >= budget[0]:
                writer.write(data[: budget[0]])
                await asyncio.sleep(self._grace_s)
                self.cuts += 1
                return
            if self.cutting:
                budget[0] -= len(data)
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def cutting(
    port: int, most_bytes: int = 20_000, seed: int = 1, *, least_bytes: int = 1, grace_s: float = 0.0
) -> AsyncIterator[CuttingProxy]:
    """A running proxy in front of `port`."""
    proxy = CuttingProxy(port, most_bytes, seed, least_bytes, grace_s)
    server = await proxy.start()
    try:
        yield proxy
    finally:
        server.close()
