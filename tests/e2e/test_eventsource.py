"""Stock SSE clients over connections that are cut at random moments: no loss and no repeat."""

from __future__ import annotations

import asyncio
import random

import httpx
import pytest
from httpx_sse import EventSource
from playwright.async_api import Browser

from ratsvc.client import Producer
from tests.conftest import Running, running
from tests.e2e.conftest import HERE
from tests.proxy import CuttingProxy, cutting

TOTAL = 1_500
#: With what does not shrink: the responses are compressed, and long enough to be cut.
NOISE = [random.Random(n).randbytes(12).hex() for n in range(TOTAL)]
EXPECTED = [f'{{"n":{n},"noise":"{NOISE[n]}"}}' for n in range(TOTAL)]


async def publish(server: Running) -> None:
    async with Producer(server.grpc_addr, linger_ms=1, max_batch_records=9) as producer:
        for n in range(TOTAL):
            await producer.send("s", {"n": n, "noise": NOISE[n]})
            if n % 25 == 0:
                await asyncio.sleep(0.02)
    await server.broker.end("s")


def url(proxy: CuttingProxy) -> str:
    return f"http://127.0.0.1:{proxy.port}/v1/streams/s?from=earliest"


@pytest.mark.timeout(100)
async def test_the_npm_eventsource_resumes(node: str) -> None:
    async with running(retry_ms=100) as server, cutting(server.http_port, 3_000, seed=11, least_bytes=1_600) as proxy:
        publishing = asyncio.create_task(publish(server))
        process = await asyncio.create_subprocess_exec(
            node, str(HERE / "node/eventsource.js"), url(proxy), stdout=-1, stderr=-1, cwd=HERE
        )
        out, errors = await asyncio.wait_for(process.communicate(), 90)
        await publishing
        assert proxy.cuts >= 5
    assert out.decode().splitlines() == EXPECTED, errors.decode()


@pytest.mark.timeout(100)
async def test_chromium_resumes(browser: Browser) -> None:
    async with running(retry_ms=100) as server, cutting(server.http_port, 3_000, seed=12, least_bytes=1_600) as proxy:
        proxy.cutting = False
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{proxy.port}/docs")
        proxy.cutting = True
        publishing = asyncio.create_task(publish(server))
        seen = await page.evaluate(
            """(url) => new Promise((resolve) => {
                const seen = [], source = new EventSource(url);
                source.onmessage = (event) => { if (event.data) seen.push(event.data); };
                source.addEventListener("gap", (event) => seen.push("gap " + event.data));
                source.addEventListener("end", () => { source.close(); resolve(seen); });
                // Cut between the last record and the end, it comes back to a 204, and closes by itself.
                source.onerror = () => { if (source.readyState === EventSource.CLOSED) resolve(seen); };
            })""",
            "/v1/streams/s?from=earliest",
        )
        await publishing
        assert proxy.cuts >= 5
    assert seen == EXPECTED


@pytest.mark.timeout(100)
async def test_chromium_stops_at_the_end_of_an_ended_stream(server: Running, browser: Browser) -> None:
    await server.broker.create("s")
    await server.broker.end("s")
    page = await browser.new_page()
    await page.goto(f"{server.http_url}/docs")
    closed = await page.evaluate(
        """() => new Promise((resolve) => {
            const source = new EventSource("/v1/streams/s");
            source.onerror = () => resolve(source.readyState === EventSource.CLOSED);
        })"""
    )
    assert closed


@pytest.mark.timeout(100)
async def test_httpx_sse_resumes() -> None:
    async with running(retry_ms=100) as server, cutting(server.http_port, 3_000, seed=13, least_bytes=1_600) as proxy:
        publishing = asyncio.create_task(publish(server))
        seen: list[str] = []
        last, ended = "", False
        async with httpx.AsyncClient(timeout=10) as client:
            while not ended:
                headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
                try:
                    async with client.stream("GET", url(proxy), headers=headers) as response:
                        if response.status_code == 204:
                            break  # cut between the last record and the end, it comes back to an ended stream
                        async for event in EventSource(response).aiter_sse():
                            last = event.id or last
                            if event.event == "message" and event.data:
                                seen.append(event.data)
                            ended = ended or event.event == "end"
                except httpx.TransportError:
                    continue
        await publishing
        assert proxy.cuts >= 5
    assert seen == EXPECTED
