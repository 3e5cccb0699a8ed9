"""Compressed streams in Chromium, Node.js and curl: each record is there before the next one is published."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser

from ratsvc.core.draft import Draft
from ratsvc.quickmem import wire
from tests.conftest import Running
from tests.e2e.conftest import HERE

COUNT = 60


def value(n: int) -> str:
    """Small ones, and some that are compressed alone."""
    return f"record {n} " + "in some words " * (n % 4 if n % 20 else 2_000)


async def in_step(server: Running, seen: Callable[[], Awaitable[str]]) -> None:
    """Publishes a record when the one before was seen; others join and leave meanwhile."""
    await until_live(server)
    async with others(server) as joined:
        for n in range(COUNT):
            if n % 15 == 0:
                await joined()
            await server.broker.submit(Draft("s", [wire.record(value(n))]))
            assert await asyncio.wait_for(seen(), 20) == value(n)
    figures = server.broker.figures
    assert figures.compressed_to["text"] + figures.compressed_to["sse"] > 0
    assert figures.compressions["window"] > COUNT // 2


async def until_live(server: Running) -> None:
    async with asyncio.timeout(20):
        while not any(one.is_live for one in server.broker.subscriptions):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def others(server: Running) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Readers that take what they get."""
    writers: list[asyncio.StreamWriter] = []

    async def joined() -> None:
        for name in (b"sse", b"text"):
            _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
            writer.write(b"GET /v1/streams/s?format=%b HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n" % name)
            writers.append(writer)

    yield joined
    for writer in writers:
        writer.transport.abort()


async def lines_of(server: Running, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1, limit=2**20)
    assert process.stdout is not None

    async def seen() -> str:
        assert process.stdout is not None
        return (await process.stdout.readline()).decode().removesuffix("\n")

    await in_step(server, seen)
    await server.broker.end("s")  # the right end: no client complains
    out, errors = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, out, errors) == (0, b"", b"")


async def test_curl(server: Running) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    await lines_of(server, curl, "-sSN", "--compressed", f"{server.http_url}/v1/streams/s?format=text")


@pytest.mark.parametrize("how", ["fetch", "http"])
async def test_node(server: Running, node: str, how: str) -> None:
    await lines_of(server, node, str(HERE / "node/compressed.js"), how, f"{server.http_url}/v1/streams/s?format=text")


READERS = {
    "EventSource": """(url) => new Promise((resolve) => {
        const source = new EventSource(url + "?format=sse");
        source.onmessage = (event) => { if (event.data) seen(event.data); };
        source.addEventListener("end", () => { source.close(); resolve("gzip"); });
    })""",
    "fetch": """async (url) => {
        const response = await fetch(url + "?format=text");
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return response.headers.get("content-encoding");
            const lines = (rest + value).split("\\n");
            rest = lines.pop();
            lines.forEach((line) => seen(line));
        }
    }""",
}


@pytest.mark.parametrize("how", READERS)
async def test_chromium(server: Running, browser: Browser, how: str) -> None:
    page = await browser.new_page()
    await page.goto(f"{server.http_url}/docs")
    queue: asyncio.Queue[str] = asyncio.Queue()
    await page.expose_function("seen", queue.put_nowait)
    reading = asyncio.create_task(page.evaluate(READERS[how], "/v1/streams/s"))
    await in_step(server, queue.get)
    await server.broker.end("s")
    assert await asyncio.wait_for(reading, 20) == "gzip"
    assert queue.empty()
