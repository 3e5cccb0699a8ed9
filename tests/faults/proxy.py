"""A proxy before the service's gRPC port that cuts off acknowledgements: it lets a request through, and of its
answer nothing but the end of the connection.
"""

from __future__ import annotations

import asyncio
import random
from multiprocessing.connection import Connection

from tests.faults.producing import heard
from tests.proxy import forward

HEAD = 9
DATA = 0


class AckCuttingProxy:
    """Forwards to `port`. Of the server's DATA frames with content (RFC 9113, section 6.1), which carry the
    acknowledgements, it takes the share `cut` away and breaks their connection with a reset."""

    def __init__(self, port: int, cut: float, seed: int = 1) -> None:
        self._target = port
        self.cut = cut
        self._random = random.Random(seed)
        self.answers = 0
        self.cuts = 0

    async def start(self, port: int = 0) -> asyncio.Server:
        """Listens."""
        return await asyncio.start_server(self._connected, "127.0.0.1", port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await forward(self._target, reader, writer, self._requests, self._answers)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(HEAD)
            size = int.from_bytes(head[:3], "big")
            payload = await reader.readexactly(size)
            if head[3] == DATA and size:
                self.answers += 1
                if self._random.random() < self.cut:
                    self.cuts += 1
                    return
            writer.write(head + payload)
            await writer.drain()


def cut_acknowledgements(port: int, cut: float, pipe: Connection) -> None:
    """Runs the proxy in a process of its own: tells its port, and at the end how many answers it saw and cut."""

    async def run() -> None:
        proxy = AckCuttingProxy(port, cut)
        server = await proxy.start()
        pipe.send(("ready", server.sockets[0].getsockname()[1]))
        await asyncio.to_thread(heard, pipe)
        server.close()
        pipe.send((proxy.answers, proxy.cuts))
        await asyncio.to_thread(heard, pipe)

    asyncio.run(run())
