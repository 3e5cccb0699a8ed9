"""`/debug/`: there only with a token, for those who have it; real figures, from a busy service too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from xml.etree import ElementTree

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from rat.v1 import consumer_pb2, consumer_pb2_grpc

from ratsvc.observability import logs
from tests.conftest import Running, running
from tests.integration.http.raw import get, send

TOKEN = "0123456789abcdef-TOKEN"
PATHS = ["/debug/", "/debug/tasks", "/debug/memory", "/debug/profile", "/debug/log"]


@pytest_asyncio.fixture
async def watched() -> AsyncIterator[Running]:
    async with running(debug_token=TOKEN) as server:
        yield server


@pytest_asyncio.fixture
async def admin(watched: Running) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=watched.http_url, headers=headers, timeout=20) as client:
        yield client


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    before = logs.level()
    yield
    logs.set_level(before)


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_token_in_the_settings_there_is_nothing(server: Running, path: str) -> None:
    answer = await send(server.http_port, get(path, f"Authorization: Bearer {TOKEN}"))
    assert answer.status == 404
    assert answer.problem()["type"] == "/problems/not-found"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "given",
    [
        "",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer",
        "Bearer é",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer " + "x" * 9000,
    ],
)
async def test_without_the_token_nobody_gets_in(watched: Running, path: str, given: str) -> None:
    answer = await send(watched.http_port, get(path, *([f"Authorization: {given}"] if given else [])))
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.body.decode()


async def test_two_tokens_are_refused(watched: Running) -> None:
    both = [f"Authorization: Bearer {TOKEN}"] * 2
    assert (await send(watched.http_port, get("/debug/log", *both))).status == 400


async def test_tasks_say_where_they_wait(admin: httpx.AsyncClient) -> None:
    async def waits_here() -> None:
        await asyncio.Event().wait()

    mine = [asyncio.create_task(waits_here(), name=f"mine-{number}") for number in range(300)]
    found = (await admin.get("/debug/tasks")).json()
    everything = (await admin.get("/debug/tasks?limit=1000")).json()["tasks"]
    for task in mine:
        task.cancel()
    assert found["count"] >= 300
    assert len(found["tasks"]) == 200
    assert next(iter(found["waiting_at"])).startswith("asyncio.locks.Event.wait:")
    [one] = [task for task in everything if task["name"] == "mine-7"]
    assert one["runs"].endswith("waits_here")
    assert one["waits"][0].startswith(f"{__name__}.test_tasks_say_where_they_wait.<locals>.waits_here:")
    assert one["waits"][1].startswith("asyncio.locks.Event.wait:")
    assert (await admin.get("/debug/tasks?limit=1001")).status_code == 400


async def test_memory_is_told_by_part(admin: httpx.AsyncClient, watched: Running) -> None:
    body = b"x" * 100 + b"\n"
    await admin.post("/v1/streams/s", content=body * 50, headers={"content-type": "text/plain"})
    await admin.get("/v1/streams/s?format=sse&from=earliest&until=now")
    async with grpc.aio.insecure_channel(watched.grpc_addr) as channel:
        ask = consumer_pb2.SubscribeRequest(streams=["s"])
        call = consumer_pb2_grpc.ConsumerServiceStub(channel).Subscribe(ask)
        await call.read()
        found = (await admin.get("/debug/memory")).json()
        call.cancel()
    broker = watched.broker
    assert found["log"] == {
        "engine": "memory", "in_memory": True, "streams": 1, "records": 50, "bytes": broker.log.bytes, "producers": 0,
    }  # fmt: skip
    assert found["tail"]["bytes"] == broker.log.bytes
    assert found["encodings"]["bytes"] == found["encodings"]["by_format"]["sse"] > 5_000
    assert found["queue"] == {"records": 0, "bytes": 0, "max_records": 100_000, "max_bytes": 64 * 1024 * 1024}
    assert found["connections"]["http"] == 1
    assert found["connections"]["grpc_calls"] == {"Subscribe": 1}
    assert found["connections"]["subscriptions"] == 1
    assert found["process"]["resident_bytes"] > 10_000_000


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1_000))


async def test_a_profile_shows_what_uses_the_processor_while_the_loop_is_busy(admin: httpx.AsyncClient) -> None:
    async def busy() -> None:
        while True:
            burn(0.005)
            await asyncio.sleep(0)

    idle = asyncio.create_task(asyncio.to_thread(time.sleep, 0.5))
    task = asyncio.create_task(busy())
    try:
        text = (await admin.get("/debug/profile?seconds=0.6&format=text")).text
        answer = await admin.get("/debug/profile?seconds=0.3&rate=50")
    finally:
        task.cancel()
        await idle
    stacks = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in text.splitlines()}
    burning = sum(spent for stack, spent in stacks.items() if f"{__name__}.burn" in stack)
    assert burning > 0.5 * sum(stacks.values())
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "script" not in answer.text
    assert "style" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    drawing = ElementTree.fromstring(answer.text)
    titles = [one.text or "" for one in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith(f"{__name__}.burn (") for title in titles)
    assert any(title.startswith("all (") and "100.0 %" in title for title in titles)


async def test_one_profile_at_a_time_and_none_for_ever(admin: httpx.AsyncClient, watched: Running) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", watched.http_port)
    writer.write(get("/debug/profile?seconds=60", f"Authorization: Bearer {TOKEN}"))
    while (answer := await admin.get("/debug/profile?seconds=0.1")).status_code == 200:
        pass
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    writer.transport.abort()  # who asked has gone: it stops
    async with asyncio.timeout(10):
        while (await admin.get("/debug/profile?seconds=0.1")).status_code != 200:
            await asyncio.sleep(0.02)
    for query in ("seconds=61", "seconds=0", "rate=0", "rate=501", "format=png", "second=1"):
        assert (await admin.get(f"/debug/profile?{query}")).status_code == 400


async def test_the_log_level_is_told_changed_and_goes_back(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/debug/log")).json() == {"level": logs.level(), "returns": None}
    assert (await admin.put("/debug/log?level=warning")).json() == {"level": "warning", "returns": None}
    answer = (await admin.put("/debug/log?level=debug&for_s=60")).json()
    assert (answer["level"], answer["returns"]["level"]) == ("debug", "warning")
    answer = (await admin.put("/debug/log?level=error&for_s=1")).json()
    assert (logs.level(), answer["returns"]["level"]) == ("error", "warning")
    async with asyncio.timeout(10):
        while logs.level() != "warning":
            await asyncio.sleep(0.02)
    assert (await admin.get("/debug/log")).json() == {"level": "warning", "returns": None}
    for query in ("", "level=loud", "level=debug&for_s=0", "level=debug&for_s=x"):
        assert (await admin.put(f"/debug/log?{query}")).status_code == 400
    assert (await admin.post("/debug/log")).status_code == 405
