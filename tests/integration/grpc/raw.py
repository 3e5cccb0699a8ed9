"""gRPC by hand over HTTP/2, for calls that no client library would make."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived


def frame(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """A length-prefixed message (grpc/grpc: doc/PROTOCOL-HTTP2.md), with a wrong flag or length if asked."""
    return bytes([flag]) + (len(message) if length is None else length).to_bytes(4, "big") + message


class Connection:
    """One HTTP/2 connection; calls on it go on beside one another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._http = H2Connection(H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
        self._headers: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytes] = {}
        self._ended: set[int] = set()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._http.initiate_connection()
        self._flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()

    def call(
        self,
        method: str,
        body: bytes,
        *headers: tuple[str, str],
        half_close: bool = True,
        media_type: str = "application/grpc",
    ) -> int:
        """Begins a call with `body` as it is; returns its number."""
        number = self._http.get_next_available_stream_id()
        named = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost")]
        self._http.send_headers(number, [*named, ("te", "trailers"), ("content-type", media_type), *headers])
        self._headers[number], self._bodies[number] = {}, b""
        self.send(number, body, half_close=half_close)
        return number

    def send(self, number: int, body: bytes, *, half_close: bool = False) -> None:
        """Sends more of a call's body, at most what fits into HTTP/2's first window."""
        for at in range(0, len(body), 16_384):
            self._http.send_data(number, body[at : at + 16_384])
        if half_close:
            self._http.end_stream(number)
        self._flush()

    def reset(self, number: int) -> None:
        """Cancels a call."""
        self._http.reset_stream(number, 8)
        self._flush()

    async def messages(self, number: int, count: int) -> list[bytes]:
        """The first `count` messages of the answer."""
        while True:
            found, body = [], self._bodies[number]
            while len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5], "big"):
                end = 5 + int.from_bytes(body[1:5], "big")
                found.append(body[5:end])
                body = body[end:]
            if len(found) >= count:
                return found[:count]
            await self._receive()

    async def status(self, number: int) -> tuple[int, str]:
        """How the call ended: its status and message. -1 when it was reset without one."""
        while number not in self._ended:
            await self._receive()
        headers = self._headers[number]
        return int(headers.get("grpc-status", "-1")), unquote(headers.get("grpc-message", ""))

    async def _receive(self) -> None:
        async with asyncio.timeout(10):
            data = await self._reader.read(65_536)
        if not data:
            raise ConnectionError("the server closed the connection")
        for event in self._http.receive_data(data):
            match event:
                case ResponseReceived() | TrailersReceived():
                    self._headers[event.stream_id] |= dict(event.headers or ())  # type: ignore[arg-type]
                case DataReceived():
                    self._bodies[event.stream_id] += event.data or b""
                    self._http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                case StreamEnded() | StreamReset():
                    self._ended.add(event.stream_id)
        self._flush()

    def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())
