"""HTTP by hand, for requests that no client library would send."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    """A response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool
    """Whether the server closed the connection after it."""

    def problem(self) -> dict[str, Any]:
        """The problem in the body."""
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


async def send(port: int, data: bytes, *, rest: bytes = b"") -> Answer:
    """Sends `data` on a connection of its own (and then `rest`), and reads one response and nothing after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            if rest:
                writer.write(rest)
            status, headers = parse_head(head)
            length = int(headers.get("content-length", "0"))
            body = await reader.readexactly(length)
        try:
            wait = 5.0 if headers.get("connection") == "close" else 0.05
            more = await asyncio.wait_for(reader.read(65536), wait)
            assert not more, f"a second response: {more[:200]!r}"
            closed = True
        except TimeoutError:
            closed = False
        except ConnectionError:
            closed = True
        return Answer(status, headers, body, closed)
    finally:
        writer.transport.abort()


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """The status and the headers."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    return int(first.split(" ")[1]), {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }


def get(target: str, *headers: str, host: str = "localhost", method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")
