"""Clients that leave or are slow, streams that are forgotten: known at once, said once, and nothing stays."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from quart import Response
from quart.typing import ResponseReturnValue

from ratsvc.streaming import (
    CONNECTIONS,
    Connections,
    Sender,
    StreamChannel,
    StreamFullError,
    get_streaming_stats,
    register_streaming_connection,
    segqueue_unified,
    unregister_streaming_connection,
)

from .conftest import Site

Until = Callable[[Callable[[], object]], Awaitable[None]]


async def test_a_closed_tab_is_known_at_once_said_once_and_leaves_nothing(site: Site, until: Until) -> None:
    reasons: list[str] = []
    senders: list[Sender] = []
    channels: list[weakref.ref[StreamChannel]] = []

    @site.app.route("/")
    def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel(heartbeat_s=0.2)
        senders.append(response.get_sender())
        channels.append(weakref.ref(response.get_channel()))
        assert register_streaming_connection("tab", "addr", senders[-1], None, reasons.append)
        senders[-1].send_sse_data("hello")
        return response

    reader, writer = await site.connect("/")
    await reader.readuntil(b"data: hello\n\n")
    assert senders[0].is_connected()
    assert get_streaming_stats()["by_state"] == {"streaming": 1}
    writer.transport.abort()
    before = time.monotonic()
    await until(lambda: not senders[0].is_connected())
    assert time.monotonic() - before < 1.0
    await until(lambda: reasons)
    assert not senders[0].send_sse_data("x")
    assert not unregister_streaming_connection("tab", "again")
    senders[0].end_stream()
    assert reasons == ["disconnected"]
    senders.clear()
    await asyncio.sleep(0.05)
    gc.collect()
    assert channels[0]() is None


async def test_a_thread_that_sends_for_ever_is_told_that_its_client_went(site: Site, until: Until) -> None:
    taken: list[int] = []

    def work(sender: Sender) -> None:
        n = 0
        while True:
            try:
                if not sender.send_sse_json({"n": n, "pad": "x" * 1000}):
                    break
                n += 1
            except StreamFullError:
                time.sleep(0.001)
        taken.append(n)

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel()
        threading.Thread(target=work, args=(response.get_sender(),)).start()
        return response

    reader, writer = await site.connect("/")
    await reader.readexactly(500_000)
    writer.transport.abort()
    await until(lambda: taken)


async def test_a_large_file_to_a_client_that_left_is_let_go(site: Site, until: Until) -> None:
    read: list[int] = []
    closed: list[str] = []

    def endless() -> object:
        while True:
            read.append(1)
            yield b"x" * 65_536

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_chunked_response()
        sender = response.get_sender()
        assert sender.send_large_file("file", endless())  # type: ignore[arg-type]
        assert sender.send_large_file("file", endless())  # type: ignore[arg-type]
        response.get_channel().on_close(closed.append)
        sender.end_stream()
        return response

    reader, writer = await site.connect("/")
    await reader.readexactly(1_000_000)
    assert len(read) < 400  # no more than the client and the buffers before it took
    writer.transport.abort()
    await until(lambda: closed == ["disconnected"])
    await asyncio.sleep(0.1)
    so_far = len(read)
    await asyncio.sleep(0.1)
    assert len(read) == so_far


async def test_files_whose_turn_never_comes_are_closed(site: Site, until: Until, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(20_000_000))
    closed: list[str] = []

    def opened() -> int:
        return sum(file.path.endswith("/large") for file in psutil.Process().open_files())

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_chunked_response()
        sender = response.get_sender()
        for _ in range(3):
            assert sender.send_large_file("file", tmp_path / "large")
        response.get_channel().on_close(closed.append)
        sender.end_stream()
        return response

    _, writer = await site.connect("/")
    assert opened() == 3
    writer.transport.abort()
    await until(lambda: closed == ["disconnected"])
    assert opened() == 0
    dropped = segqueue_unified.create_segqueue_chunked_response()
    assert dropped.get_sender().send_large_file("file", tmp_path / "large")
    assert opened() == 1
    del dropped
    assert opened() == 0


async def test_a_view_that_fails_after_it_made_a_response_leaks_nothing(
    site: Site, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    senders: list[Sender] = []

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel()
        senders.append(response.get_sender())
        assert register_streaming_connection("it", "addr", senders[0])
        return Response("no", 500)

    before = get_streaming_stats()["forgotten"]
    with caplog.at_level(logging.WARNING, "ratsvc.streaming"):
        assert (await site.http.get("/")).status_code == 500
        gc.collect()
        await until(lambda: not senders[0].is_connected())
    assert "a response was dropped without end_stream: ended a sse stream" in caplog.text
    assert isinstance(before, int)
    assert get_streaming_stats()["forgotten"] == before + 1
    assert CONNECTIONS.list() == []


async def test_a_stream_whose_senders_were_all_dropped_is_ended_and_counted(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    reasons: list[str] = []

    @site.app.route("/")
    def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel(idle_s=0.1)
        response.get_channel().on_close(reasons.append)
        response.get_sender().send_sse_data("only this")
        return response

    before = get_streaming_stats()["forgotten"]
    with caplog.at_level(logging.WARNING, "ratsvc.streaming"):
        body = (await site.http.get("/")).text
    assert body == 'data: only this\n\nevent: end\ndata: {"reason":"forgotten"}\n\n'
    assert "all senders were dropped without end_stream" in caplog.text
    assert isinstance(before, int)
    assert get_streaming_stats()["forgotten"] == before + 1
    assert reasons == ["forgotten"]


async def test_a_held_or_registered_sender_keeps_its_stream(site: Site) -> None:
    @site.app.route("/")
    def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel(idle_s=0.05, heartbeat_s=0.1)
        assert CONNECTIONS.register("held", "addr", response.get_sender())
        return response

    reader, writer = await site.connect("/")
    await reader.readuntil(b"\r\n:\n\n")
    await reader.readuntil(b"\r\n:\n\n")
    assert CONNECTIONS.broadcast("to all", "news") == 1
    await reader.readuntil(b"event: news\ndata: to all\n\n")
    assert unregister_streaming_connection("held")
    await reader.readuntil(b'event: end\ndata: {"reason":"forgotten"}\n\n')
    writer.close()


async def test_a_slow_clients_memory_is_bounded(site: Site) -> None:
    senders: list[Sender] = []

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_chunked_response(max_bytes=2_000_000)
        senders.append(response.get_sender())
        return response

    reader, writer = await site.connect("/")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    chunk = b"x" * 10_000
    sent, refused_since = 0, None
    rss = psutil.Process().memory_info().rss
    async with asyncio.timeout(20):
        while refused_since is None or time.monotonic() - refused_since < 0.3:
            try:
                sent += senders[0].send_binary_chunk(chunk)
                refused_since = None
            except StreamFullError:
                refused_since = refused_since or time.monotonic()
                await asyncio.sleep(0.01)
    assert senders[0].is_connected()
    assert sent * len(chunk) < 16_000_000  # the queue, the block before the socket, and the sockets' buffers
    assert psutil.Process().memory_info().rss - rss < 30_000_000
    senders[0].end_stream()
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    body = await asyncio.wait_for(reader.read(-1), 20)
    assert body.count(b"x") == sent * len(chunk)
    writer.close()


def ends(port: int) -> list[object]:
    """The server's connections."""
    return [c for c in psutil.Process().net_connections("tcp") if c.laddr.port == port and c.raddr]


async def fill(sender: Sender) -> None:
    """Sends until the client has long taken nothing."""
    since = None
    async with asyncio.timeout(20):
        while since is None or (sender.is_connected() and time.monotonic() - since < 0.2):
            try:
                sender.send_binary_chunk(b"x" * 100_000)
                since = None
            except StreamFullError:
                since = since or time.monotonic()
                await asyncio.sleep(0.01)


async def test_a_client_that_takes_nothing_is_cut_said_once_and_leaves_nothing(site: Site, until: Until) -> None:
    reasons: list[str] = []
    senders: list[Sender] = []
    channels: list[weakref.ref[StreamChannel]] = []

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_chunked_response(stall_s=0.4)
        senders.append(response.get_sender())
        channels.append(weakref.ref(response.get_channel()))
        assert register_streaming_connection("stuck", "addr", senders[0], None, reasons.append)
        return response

    client = socket.create_connection(("127.0.0.1", site.port))
    try:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: senders)
        await fill(senders[0])
        await until(lambda: reasons)
        assert reasons == ["stalled"]
        assert not senders[0].is_connected()
        assert not senders[0].send_binary_chunk(b"x")
        await until(lambda: not ends(site.port))
        assert CONNECTIONS.list() == []
        senders.clear()
        await until(lambda: not gc.collect() and channels[0]() is None)
        client.settimeout(10)
        with pytest.raises(ConnectionResetError):
            deque(iter(partial(client.recv, 1_000_000), b""), 0)
    finally:
        client.close()
    assert reasons == ["stalled"]


async def test_a_client_that_takes_a_little_is_not_cut(site: Site) -> None:
    closed: list[str] = []

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_chunked_response(stall_s=1.0)
        response.get_channel().on_close(closed.append)
        for _ in range(60):
            response.get_sender().send_binary_chunk(b"~" * 100_000)
        response.get_sender().end_stream()
        return response

    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # a large one is told of in large steps
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", site.port))
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        size, slow_until = 0, time.monotonic() + 3.0
        while block := await asyncio.wait_for(loop.sock_recv(client, 10_000), 10):
            size += block.count(b"~")
            if time.monotonic() < slow_until:  # so slow that one write takes longer than the time that is given
                await asyncio.sleep(0.05)
    assert closed == ["ended"]
    assert size == 6_000_000


async def test_a_stalled_client_of_an_unknown_connection_gives_back_what_waited(
    site: Site, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []
    senders: list[Sender] = []

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        make = partial(segqueue_unified.create_segqueue_chunked_response, stall_s=0.2)
        response = await asyncio.get_running_loop().run_in_executor(None, make)  # there it knows of no request
        senders.append(response.get_sender())
        response.get_channel().on_close(closed.append)
        return response

    _, writer = await site.connect("/")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await fill(senders[0])
    await until(lambda: closed == ["stalled"])
    assert not senders[0].channel.take()
    writer.transport.abort()
    await until(lambda: not ends(site.port))
    caplog.clear()  # Quart 0.23 is told of it by an error


async def test_shutdown_ends_streams_with_the_reason_and_cuts_what_does_not_end(site: Site, until: Until) -> None:
    connections = Connections()
    reasons: dict[str, str] = {}

    @site.app.route("/<name>")
    async def view(name: str) -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel(max_bytes=50_000_000)
        sender = response.get_sender()
        assert connections.register(name, "addr", sender, None, lambda reason: reasons.update({name: reason}))
        sender.send_sse_data("hello")
        if name == "stuck":
            for _ in range(30):
                sender.send_sse_data("y" * 1_000_000)
        return response

    reader, writer = await site.connect("/good")
    _, stuck = await site.connect("/stuck")
    stuck.transport.pause_reading()  # type: ignore[attr-defined]
    await reader.readuntil(b"hello\n\n")
    assert await asyncio.to_thread(connections.shutdown, 0.3) is False
    assert b'event: end\ndata: {"reason":"shutdown"}\n\n' in await reader.read(-1)
    await until(lambda: len(reasons) == 2)
    assert reasons == {"good": "shutdown", "stuck": "shutdown"}
    writer.close()
    stuck.transport.abort()


async def test_shutdown_on_the_loop_returns_at_once(site: Site, until: Until) -> None:
    connections = Connections()
    reasons: list[str] = []

    @site.app.route("/")
    async def view() -> ResponseReturnValue:
        response = segqueue_unified.create_segqueue_sse_channel()
        assert connections.register("it", "addr", response.get_sender(), None, reasons.append)
        return response

    reader, writer = await site.connect("/")
    assert connections.shutdown(5) is False
    assert b'{"reason":"shutdown"}' in await reader.read(-1)
    await until(lambda: reasons == ["shutdown"])
    assert connections.shutdown() is True
    refused = segqueue_unified.create_segqueue_sse_channel()
    assert not connections.register("late", "addr", refused.get_sender())
    refused.get_sender().end_stream()
    writer.close()
