"""The Python consumer on a real service: every format, resume over cut connections, gaps, ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Literal

import pytest

from ratsvc.client import Consumer, GapSeen, Producer, Received
from ratsvc.core.draft import Draft
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument, Unavailable
from ratsvc.flow.broker import Broker
from ratsvc.quickmem import wire
from tests.conftest import Running, running
from tests.proxy import cutting

Name = Literal["sse", "ndjson", "binary"]
FORMATS: list[Name] = ["sse", "ndjson", "binary"]


async def put(broker: Broker, stream: str, *values: object) -> None:
    await broker.submit(Draft(stream, [wire.record(value) for value in values]))


@pytest.mark.parametrize("name", FORMATS)
async def test_records_come_whole_until_the_stream_ends(server: Running, name: Name) -> None:
    record = wire.record({"a": [1, "x\r\ny", None, True]}, "key", "event", {"h": "v"})
    await server.broker.submit(Draft("s", [record], ["key"], ["event"]))
    await put(server.broker, "s", "\ufefftext\n\nevent: gap", -1.5)
    await server.broker.end("s")
    found = [item async for item in Consumer(server.http_url, "s", from_="earliest", format=name)]
    assert all(isinstance(item, Received) for item in found)
    first, second, third = found
    assert isinstance(first, Received)
    assert (first.stream, first.offset, first.key, first.event) == ("s", 1, "key", "event")
    assert (first.headers, first.value) == ({"h": "v"}, {"a": [1, "x\r\ny", None, True]})
    assert first.cursor == f"{server.broker.epoch}-1"
    assert abs((datetime.now(UTC) - first.time).total_seconds()) < 60
    assert [second.value, third.value] == ["\ufefftext\n\nevent: gap", -1.5]  # type: ignore[union-attr]


async def test_binary_keeps_types(server: Running) -> None:
    value = {"n": 2**63, "b": b"\x00\xff", "t": True, "i": 1, "f": 1.0, "at": datetime(2026, 1, 2, tzinfo=UTC)}
    await put(server.broker, "s", value)
    async for item in Consumer(server.http_url, "s", from_="earliest", limit=1):
        assert isinstance(item, Received)
        assert item.value == value
        assert [type(v) for v in item.value.values()] == [type(v) for v in value.values()]  # type: ignore[attr-defined]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", FORMATS)
async def test_cut_connections_neither_lose_nor_repeat_a_record(name: Name) -> None:
    total = 3_000
    async with running(retry_ms=100) as server, cutting(server.http_port, 5_000, seed=len(name)) as proxy:

        async def publish() -> None:
            async with Producer(server.grpc_addr, linger_ms=1, max_batch_records=7) as producer:
                for n in range(total):
                    await producer.send(f"s.{n % 3}", n)
                    if n % 50 == 0:
                        await asyncio.sleep(0.01)
            for n in range(3):
                await server.broker.end(f"s.{n}")

        publishing = asyncio.create_task(publish())
        url = f"http://127.0.0.1:{proxy.port}"
        consumer = Consumer(url, ["s.0", "s.1", "s.2"], from_="earliest", format=name)
        seen = [item.value async for item in consumer]  # type: ignore[union-attr]
        await publishing
        assert proxy.cuts >= 10
    # Records of several streams may be committed in another order than they were sent; of one they may not.
    assert sorted(seen) == list(range(total))  # type: ignore[type-var]
    for n in range(3):
        assert [v for v in seen if v % 3 == n] == list(range(n, total, 3))  # type: ignore[operator]


async def test_what_is_gone_is_said(server: Running) -> None:
    await server.broker.create("s", Retention(max_records=3))
    await put(server.broker, "s", *range(10))
    cursor = f"{server.broker.epoch}-2"
    consumer = Consumer(server.http_url, "s", from_=cursor, limit=3, format="ndjson")
    gap, *records = [item async for item in consumer]
    assert gap == GapSeen(cursor, f"{server.broker.epoch}-7", "retention")
    assert [record.value for record in records] == [7, 8, 9]  # type: ignore[union-attr]
    gaps: list[GapSeen] = []
    other = Consumer(server.http_url, "s", from_="zz-5", limit=3, on_gap=gaps.append)
    assert [item.value async for item in other] == [7, 8, 9]  # type: ignore[union-attr]
    assert [one.reason for one in gaps] == ["epoch"]


async def test_filters_and_a_cursor_to_go_on_from(server: Running) -> None:
    for n in range(10):
        await server.broker.submit(Draft("s", [wire.record(n, "ab"[n % 2])], ["ab"[n % 2]]))
    consumer = Consumer(server.http_url, "s", from_="earliest", keys=["b"], limit=2)
    assert [item.value async for item in consumer] == [1, 3]  # type: ignore[union-attr]
    assert consumer.cursor is not None
    rest = Consumer(server.http_url, "s", from_=consumer.cursor, keys=["b"], until="now")
    assert [item.value async for item in rest] == [5, 7, 9]  # type: ignore[union-attr]


async def test_a_refusal_is_raised_and_an_unreachable_service_too(server: Running) -> None:
    with pytest.raises(InvalidArgument, match="stream must be"):
        [item async for item in Consumer(server.http_url, "a b")]
    with pytest.raises(Unavailable):
        [item async for item in Consumer("http://127.0.0.1:1", "s", retries=1)]


async def test_a_reader_survives_a_drain_and_a_new_service() -> None:
    async with running(retry_ms=100) as first:
        port = first.http_port
        consumer = Consumer(first.http_url, "s", from_="earliest", format="sse")
        stream = aiter(consumer)
        await put(first.broker, "s", "before")
        assert (await anext(stream)).value == "before"  # type: ignore[union-attr]
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
    async with running(http=f"127.0.0.1:{port}", retry_ms=100) as second:
        await put(second.broker, "s", "after")
        item = await asyncio.wait_for(following, 20)
        assert isinstance(item, GapSeen | Received)
        if isinstance(item, GapSeen):  # the new service has a memory of its own
            assert item.reason == "epoch"
            item = await anext(stream)
        assert item.value == "after"  # type: ignore[union-attr]
    await stream.aclose()  # type: ignore[attr-defined]
