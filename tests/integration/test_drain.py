"""A served process that is told to stop under load: everyone is told, nothing is lost, exit 0 and no traceback."""

from __future__ import annotations

import asyncio
import re
import signal
import sys

import httpx
from httpx_sse import EventSource

from ratsvc.client import Producer
from ratsvc.errors import RatError

READERS = 100


async def test_sigterm_under_load_ends_everything_cleanly() -> None:
    command = ["-m", "ratsvc", "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--set", "drain_s=1.0"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=-1, stderr=-1)
    assert process.stdout is not None
    found = re.match(rb"ratsvc is ready: HTTP (\S+)  gRPC (\S+)", await process.stdout.readline())
    assert found
    http, grpc = found[1].decode(), found[2].decode()
    acknowledged: list[int] = []
    stopping = asyncio.Event()
    words: list[str] = []
    values: list[list[int]] = []

    async def publish() -> None:
        async with Producer(grpc, linger_ms=1, delivery_timeout_s=1.0) as producer:
            for n in range(100_000):
                try:
                    await producer.publish("s", n)
                except RatError:
                    return
                acknowledged.append(n)
                if stopping.is_set() and len(acknowledged) > 10_000:
                    return

    async def follow(client: httpx.AsyncClient) -> None:
        seen: list[int] = []
        values.append(seen)
        async with client.stream("GET", f"{http}/v1/streams/s?format=sse&from=earliest") as response:
            async for event in EventSource(response).aiter_sse():
                if event.event == "message" and event.data:
                    seen.append(int(event.data))
                elif event.event != "message":
                    words.append(event.event)

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=20, limits=limits) as client:
        readers = [asyncio.create_task(follow(client)) for _ in range(READERS)]
        publishing = asyncio.create_task(publish())
        while len(acknowledged) < 20 or len(values) < READERS or not all(values):
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        stopping.set()
        await asyncio.wait_for(asyncio.gather(*readers), 20)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    assert process.returncode == 0
    assert b"Traceback" not in errors
    assert words == ["reconnect"] * READERS
    for seen in values:
        assert seen == list(range(len(seen)))
