"""Streaming bodies on real sockets: live and catching up, slow and gone readers, gaps, heartbeats, drains."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import pytest
import uvloop
from httpx_sse import EventSource

from ratsvc.core.draft import Draft
from ratsvc.core.retention import Retention
from ratsvc.flow.broker import Broker
from ratsvc.quickmem import wire
from tests.conftest import Running, running
from tests.integration.http.raw import parse_head


async def put(broker: Broker, stream: str, *values: object) -> int:
    return (await broker.submit(Draft(stream, [wire.record(value) for value in values]))).last


async def opened(
    port: int, path: str, buffer: int | None = None, version: str = "1.1", headers: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with a stream opened on it; its head was read."""
    sock = socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**16 if buffer is None else buffer)
    writer.write(f"GET {path} HTTP/{version}\r\nHost: x\r\n{headers}\r\n".encode())
    status, _ = parse_head(await reader.readuntil(b"\r\n\r\n"))
    assert status == 200
    return reader, writer


async def chunk(reader: asyncio.StreamReader) -> bytes:
    """The next chunk of a chunked body."""
    size = int(await reader.readline(), 16)
    data = await reader.readexactly(size)
    assert await reader.readexactly(2) == b"\r\n"
    return data


async def until(condition: object, seconds: float = 10.0) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


async def test_a_connection_serves_on_after_a_stream_that_ended(server: Running) -> None:
    await put(server.broker, "s", 1, 2, 3)
    reader, writer = await opened(server.http_port, "/v1/streams/s?from=earliest&limit=2")
    assert await chunk(reader) == b"1\n2\n"
    assert await chunk(reader) == b""
    writer.write(b"GET /v1/streams/s?from=-1&limit=1&format=text HTTP/1.1\r\nHost: x\r\n\r\n")
    assert parse_head(await reader.readuntil(b"\r\n\r\n"))[0] == 200
    assert await chunk(reader) == b"3\n"
    writer.close()


async def test_many_readers_get_the_same_records_live_one_write_a_commit(server: Running) -> None:
    readers = [await opened(server.http_port, "/v1/streams/s?format=ndjson") for _ in range(50)]
    await until(lambda: sum(len(lane.members) for lane in _lanes(server.broker)) == 50)
    for n in range(20):
        await put(server.broker, "s", n, n)
    for reader, _ in readers:
        assert [await chunk(reader) for _ in range(20)] == [b"%d\n%d\n" % (n, n) for n in range(20)]
    assert len(_lanes(server.broker)) == 1
    for _, writer in readers:
        writer.transport.abort()
    await until(lambda: not server.broker.subscriptions)
    assert not _lanes(server.broker) or not _lanes(server.broker)[0].members


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_large_records_come_byte_for_byte_to_fast_and_slow_readers_live_and_later(
    server: Running, version: str
) -> None:
    blobs = [bytes([n]) * (300_000 + n) for n in range(1, 9)]
    expected = b"".join(b"%x\r\n%b\r\n" % (len(blob), blob) if version == "1.1" else blob for blob in blobs)
    path = "/v1/streams/s?format=chunked&from=earliest"
    live = [await opened(server.http_port, path, buffer, version) for buffer in (None, 4096)]
    await until(lambda: sum(len(lane.members) for lane in _lanes(server.broker)) == 2)
    for blob in blobs:
        await put(server.broker, "s", blob)
    later = [await opened(server.http_port, path, buffer, version) for buffer in (None, 4096)]
    for reader, writer in live + later:
        assert await reader.readexactly(len(expected)) == expected
        writer.transport.abort()


def _lanes(broker: Broker) -> list:  # type: ignore[type-arg]
    return [lane for selection in broker.hub._selections.values() for lane in selection.lanes.values()]


async def test_a_slow_reader_falls_behind_and_catches_up_without_loss(server: Running) -> None:
    reader, writer = await opened(server.http_port, "/v1/streams/s?format=text", buffer=4096)
    total = 3_000
    for n in range(total):
        await put(server.broker, "s", f"{n} ".ljust(2_000, "x"))
        await asyncio.sleep(0)
    assert max(t.get_write_buffer_size() for t in [writer.transport]) == 0
    seen: list[int] = []
    rest = b""
    while len(seen) < total:
        *lines, rest = (rest + await asyncio.wait_for(chunk(reader), 10)).split(b"\n")
        seen += [int(line.split()[0]) for line in lines]
    assert seen == list(range(total))
    await put(server.broker, "s", "live again")
    assert await asyncio.wait_for(chunk(reader), 10) == b"live again\n"
    writer.close()


async def test_a_gap_breaks_off_what_has_no_room_for_it_and_is_said_elsewhere() -> None:
    async with running(limits={"reader_bytes": 4096}) as server:
        await server.broker.create("s", Retention(max_records=10))
        text, writer = await opened(server.http_port, "/v1/streams/s?format=text", buffer=4096)
        sse, other = await opened(server.http_port, "/v1/streams/s?format=sse", buffer=4096)
        await chunk(sse)
        for n in range(1_000):
            await put(server.broker, "s", f"{n} ".ljust(4_000, "x"))
        body = await asyncio.wait_for(text.read(-1), 10)
        assert not body.endswith(b"0\r\n\r\n")  # the client sees that it is incomplete
        seen = b""
        while b"event: gap" not in seen:
            seen += await asyncio.wait_for(chunk(sse), 10)
        assert b'"reason":"retention"' in seen
        while b"data: 999 " not in seen:
            seen = seen[-100:] + await asyncio.wait_for(chunk(sse), 10)
        writer.close()
        other.close()


async def test_a_replay_that_is_left_in_its_middle_keeps_the_service_awake(server: Running) -> None:
    for _ in range(200):
        await put(server.broker, "s", *["x" * 90] * 1_000)
    leavers = [await opened(server.http_port, "/v1/streams/s?from=earliest") for _ in range(10)]
    for reader, _ in leavers:
        await reader.read(1000)
    for _, writer in leavers:
        writer.transport.abort()
    async with httpx.AsyncClient(base_url=server.http_url, timeout=5) as client:
        for _ in range(10):
            assert (await client.get("/readyz")).status_code == 200
    await until(lambda: not server.broker.subscriptions)


async def test_a_quiet_stream_is_never_silent_for_two_heartbeats(server: Running) -> None:
    reader, writer = await opened(server.http_port, "/v1/streams/s?format=sse&heartbeat=1")
    assert (await chunk(reader)).startswith(b"retry: ")
    last = await put(server.broker, "elsewhere", 1)
    for _ in range(3):
        beat = await asyncio.wait_for(chunk(reader), 2)
    assert beat == f"id: {server.broker.epoch}-{last}\n\n".encode()
    writer.close()


async def test_a_drain_asks_every_reader_to_come_back_and_ends_each_response_cleanly() -> None:
    async with running() as server, httpx.AsyncClient(base_url=server.http_url, timeout=10) as client:
        ends: list[str] = []

        async def follow() -> None:
            async with client.stream("GET", "/v1/streams/s?format=sse") as response:
                async for event in EventSource(response).aiter_sse():
                    ends.append(event.event)

        readers = [asyncio.create_task(follow()) for _ in range(20)]
        await until(lambda: len(server.broker.subscriptions) == 20)
        await server.server.drain(0.3)
        await asyncio.gather(*readers)
    assert ends.count("reconnect") == 20


@pytest.mark.parametrize("overflow", ["latest", "disconnect"])
async def test_a_reader_that_is_too_slow_gets_what_it_chose(overflow: str) -> None:
    async with running(limits={"reader_bytes": 16_384}) as server:
        path = f"/v1/streams/s?format=sse&overflow={overflow}"
        reader, writer = await opened(server.http_port, path, buffer=4096)
        await until(lambda: any(lane.members for lane in _lanes(server.broker)))
        for n in range(2_000):
            await put(server.broker, "s", f"{n} ".ljust(2_000, "x"))
        seen = b""
        word = b"event: gap" if overflow == "latest" else b"event: reconnect"
        while word not in seen:
            seen = seen[-200:] + await asyncio.wait_for(chunk(reader), 10)
        if overflow == "latest":
            assert b'"reason":"slow"' in seen
            while b"data: 1999 " not in seen:
                seen = seen[-200:] + await asyncio.wait_for(chunk(reader), 10)
        else:
            assert b'"reason":"slow"' in seen
            assert await chunk(reader) == b""
        writer.close()


def test_readers_that_leave_before_their_first_record_are_no_failures() -> None:
    async def leave() -> None:
        async with running() as server:
            await put(server.broker, "a", "x" * 1000)
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
                writer.write(b"GET /v1/streams/a?from=earliest&format=sse HTTP/1.1\r\nHost: x\r\n\r\n")
                writer.close()
            async with asyncio.timeout(10):
                while server.broker.figures.disconnects.total() < 20:
                    await asyncio.sleep(0.01)

    uvloop.run(leave())  # Its transports raise when they are written to after their end, and that would be logged.
