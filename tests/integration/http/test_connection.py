"""What happens on one connection from request to request: pipelining, `Expect`, and heads that are not the first."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ratsvc.server import http
from tests.conftest import Running, running
from tests.integration.http.raw import Answer, get, parse_head, send

TEXT = "Content-Type: text/plain"
EXPECT = "Expect: 100-continue"


class Wire:
    """A connection: what is sent on it, and the responses as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Sends in a segment of its own, as far as that can be done."""
        self._writer.write(data)
        await self._writer.drain()
        await asyncio.sleep(0.01)

    def end(self, data: bytes = b"") -> None:
        """Sends the last that there is, and closes this half behind it."""
        self._writer.write(data)
        self._writer.write_eof()

    async def answer(self) -> Answer:
        """The next response; a 1xx has no body."""
        async with asyncio.timeout(10):
            status, headers = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(status, headers, body, headers.get("connection") == "close")

    async def closed(self) -> bool:
        """Whether the service closed the connection, with nothing more on it."""
        async with asyncio.timeout(10):
            try:
                return not await self._reader.read(1)
            except ConnectionError:
                return True


@asynccontextmanager
async def connected(server: Running) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def post(stream: str, body: bytes, *headers: str) -> bytes:
    return get(f"/v1/streams/{stream}", TEXT, f"Content-Length: {len(body)}", *headers, method="POST") + body


GOOD = [post("s", b"one"), get("/v1/streams/s?from=earliest&until=now&format=page"), get("/healthz")]


@pytest.mark.parametrize("cut", [None, *range(5, len(b"".join(GOOD)), 17), len(GOOD[0]), len(GOOD[0] + GOOD[1])])
async def test_good_requests_that_come_together_are_answered_in_order(server: Running, cut: int | None) -> None:
    data = b"".join(GOOD)
    async with connected(server) as wire:
        await wire.send(data[:cut])
        if cut is not None:
            await wire.send(data[cut:])
        published, page, health = [await wire.answer() for _ in GOOD]
    assert (published.status, page.status, health.status) == (200, 200, 200)
    assert b'"one"' in page.body


async def test_a_head_may_come_byte_by_byte(server: Running) -> None:
    async with connected(server) as wire:
        for at in range(len(GOOD[2])):
            await wire.send(GOOD[2][at : at + 1])
        assert (await wire.answer()).status == 200


async def test_a_request_after_a_stream_that_ended_may_have_come_with_it(server: Running) -> None:
    async with connected(server) as wire:
        await wire.send(GOOD[0] + get("/v1/streams/s?format=text&from=earliest&limit=1", version="1.1") + GOOD[2])
        assert (await wire.answer()).status == 200
        stream = await wire.answer()
        assert stream.headers["transfer-encoding"] == "chunked"
        async with asyncio.timeout(10):
            assert await wire._reader.readuntil(b"0\r\n\r\n") == b"4\r\none\n\r\n0\r\n\r\n"
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize(
    "bad",
    [
        get("/healthz", "X-A: b\r\n folded"),
        get("/healthz", "X-A: b\r\n\tfolded"),
        get("/healthz").replace(b"\r\n", b"\n"),
        get("/healthz", "X-A: a\nX-B: b"),
        get("/healthz", "X-A: a\rb"),
        get("/healthz", "X-A: a\0b"),
        get("/healthz", "X-A : b"),
        post("s", b"hello").replace(b": 5", b": 5,5"),
        post("s", b"hello", "Content-Length: 5"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_a_malformed_head_is_refused_wherever_it_stands(server: Running, bad: bytes, together: bool) -> None:
    async with connected(server) as wire:
        if together:
            await wire.send(GOOD[2] + bad + GOOD[0])
        else:
            await wire.send(GOOD[2])
            await wire.send(bad + GOOD[0])
        assert (await wire.answer()).status == 200
        refused = await wire.answer()
        assert (refused.status, refused.closed) == (400, True)
        refused.problem()
        assert await wire.closed()
    assert not server.broker.list()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (get("/v1/streams/s", "Content-Type: application/json", "Content-Length: 5000000", EXPECT, method="POST"), 413),
        (get("/v1/streams/s", "Content-Length: 20000", EXPECT, method="PUT"), 413),
        (get("/v1/nowhere", TEXT, "Content-Length: 5", EXPECT, method="POST"), 404),
        (get("/healthz", TEXT, "Content-Length: 5", EXPECT, method="POST"), 405),
        (get("/v1/streams/s", "Content-Type: text/html", "Content-Length: 5", EXPECT, method="POST"), 415),
        (get("/v1/streams/s", TEXT, "Content-Encoding: gzip", "Content-Length: 5", EXPECT, method="POST"), 415),
        (get("/v1/streams/s", "Content-Length: 5", EXPECT), 413),
        (get("/v1/streams/s", "Transfer-Encoding: chunked", EXPECT), 413),
        (get("/v1/streams/a..b", TEXT, "Content-Length: 5", EXPECT, method="POST"), 400),
        (get("/v1/streams/s?kye=a", TEXT, "Content-Length: 5", EXPECT, method="POST"), 400),
        (get("/v1/streams/s", TEXT, "Content-Length: 5,5", EXPECT, method="POST"), 400),
    ],
)
async def test_a_body_that_will_be_refused_is_not_asked_for(server: Running, head: bytes, status: int) -> None:
    async with connected(server) as wire:
        await wire.send(head)
        answer = await wire.answer()
        assert (answer.status, answer.closed) == (status, True)
        answer.problem()
        assert await wire.closed()


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_taken_is_asked_for_once(server: Running, framing: str) -> None:
    body = b"hello" if framing.startswith("C") else b"5\r\nhello\r\n0\r\n\r\n"
    async with connected(server) as wire:
        for _ in range(2):
            await wire.send(get("/v1/streams/s", TEXT, framing, EXPECT, method="POST"))
            assert (await wire.answer()).status == 100
            await wire.send(body)
            answer = await wire.answer()
            assert (answer.status, answer.closed) == (200, False)
        await wire.send(
            get("/v1/streams/t", "Content-Length: 2", EXPECT, "Content-Type: application/json", method="PUT")
        )
        assert (await wire.answer()).status == 100
        await wire.send(b"{}")
        assert (await wire.answer()).status in (200, 201)


async def test_a_client_that_does_not_wait_is_not_told_to_go_on(server: Running) -> None:
    async with connected(server) as wire:
        await wire.send(post("s", b"hello", EXPECT))
        assert (await wire.answer()).status == 200
        await wire.send(get("/healthz", EXPECT))
        assert (await wire.answer()).status == 200


async def test_clients_that_reset_their_connection_at_once_leave_nothing(server: Running) -> None:
    for _ in range(200):
        client = socket.create_connection(("127.0.0.1", server.http_port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert (await send(server.http_port, get("/healthz"))).status == 200
    async with asyncio.timeout(10):
        while server.broker.figures.http_open:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("count", [1, 2])
async def test_a_connection_that_takes_no_more_requests_is_closed_with_its_last_answer(
    monkeypatch: pytest.MonkeyPatch, count: int, together: bool
) -> None:
    monkeypatch.setattr(http, "HEAD_TIMEOUT_S", 3600)
    async with running() as server, connected(server) as wire:
        if together:
            wire.end(GOOD[0] * count)
        else:
            await wire.send(GOOD[0] * count)
            wire.end()
        for _ in range(count):
            assert (await wire.answer()).status == 200
        assert await wire.closed()


async def test_a_reader_that_closes_its_half_is_taken_to_have_left(server: Running) -> None:
    async with connected(server) as wire:
        await wire.send(get("/v1/streams/s?format=sse"))
        assert (await wire.answer()).status == 200
        assert len(server.broker.subscriptions) == 1
        wire.end()
        async with asyncio.timeout(10):
            while not await wire.closed():
                pass  # what the stream had begun with
    assert not server.broker.subscriptions
