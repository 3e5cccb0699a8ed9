"""client.js in Node.js, driven by the tests: what it gave out, and a service that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from rat.v1 import record_pb2 as pb

from ratsvc.core.run import varint
from tests.e2e.conftest import HERE

Said = dict[str, Any]
Answer = Callable[[int, str, asyncio.StreamWriter], Awaitable[None]]
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
BINARY_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.rat.v1.frames+protobuf\r\nConnection: close\r\n\r\n"


class NodeClient:
    """A Node.js process that reads with client.js; see node/client.mjs for the options."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[Said] = []

    async def until(self, word: str) -> Said:
        """Reads what it says, until it says something with `word`."""
        assert self.process.stdout is not None
        while line := await asyncio.wait_for(self.process.stdout.readline(), 60):
            self.said.append(json.loads(line))
            if word in self.said[-1]:
                return self.said[-1]
        assert self.process.stderr is not None
        raise AssertionError(f"no {word}: {(await self.process.stderr.read()).decode()}")

    async def go_on(self) -> None:
        """Lets it go on after a pause."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        await self.process.stdin.drain()

    async def over(self) -> Said:
        """Waits for its end; what it said last."""
        over: Said = (await self.until("over"))["over"]
        _, errors = await asyncio.wait_for(self.process.communicate(), 20)
        assert (self.process.returncode, errors.decode()) == (0, "")
        return over

    def all(self, word: str) -> list[Any]:
        """Everything that it said so far with `word`."""
        return [said[word] for said in self.said if word in said]

    def values(self) -> list[Any]:
        """The values of the records so far."""
        return [record["value"] for record in self.all("record")]


@asynccontextmanager
async def node_client(node: str, url: str, **options: Any) -> AsyncIterator[NodeClient]:
    """Reads `url` with these options."""
    process = await asyncio.create_subprocess_exec(
        node, str(HERE / "node/client.mjs"), json.dumps({"url": url, **options}),
        stdin=-1, stdout=-1, stderr=-1, limit=2**24,
    )  # fmt: skip
    try:
        yield NodeClient(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def read_with(node: str, url: str, **options: Any) -> NodeClient:
    """Reads `url` to the end."""
    async with node_client(node, url, **options) as client:
        await client.over()
    return client


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """A service whose connections are answered by `answer(number, head, writer)` and closed after; its URL."""
    connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await answer(connections, head.decode(), writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/streams/s"
    finally:
        server.close()


def problem(status: str, body: str = "", headers: str = "") -> bytes:
    """A refusal."""
    media = "application/problem+json" if body else "text/plain"
    headers += f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status}\r\n{headers}\r\n{body}".encode()


def frames(*some: pb.Frame) -> bytes:
    return b"".join(varint(one.ByteSize()) + one.SerializeToString() for one in some)


START = pb.Frame(start=pb.Start(cursor="e-0", epoch="e"))
