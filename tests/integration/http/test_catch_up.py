"""Readers who catch up together get the bytes that each would get alone, in every format and with every filter."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from ratsvc.core.draft import Draft
from ratsvc.core.history import History
from ratsvc.core.retention import Retention
from ratsvc.quickmem import wire
from tests.conftest import Running, running
from tests.integration.http.test_metrics import samples

QUERIES = [
    *(f"format={name}{more}" for name in ("sse", "ndjson", "json-seq", "binary") for more in ("", "&view=record")),
    "format=text",
    "format=chunked",
    "format=sse&key=k1",
    "format=ndjson&event=x&view=record",
    "format=ndjson&key=k2&event=x",
    "format=sse&limit=37",
    "format=ndjson&int64=string",
    "format=ndjson&delta=json-patch",
    "format=sse&delta=json-patch&key=k0",
    "format=page&limit=1000",
]
LIMITS = {"tail_bytes": 1024, "reader_bytes": 4096}


@pytest_asyncio.fixture(params=["memory", "lmdb"])
async def filled(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Running]:
    """A service whose streams s and t are, but for their ends, beyond the tail."""
    place = {} if request.param == "memory" else {"data_dir": str(tmp_path / "log")}
    async with running(limits=LIMITS, **place) as server:
        for number in range(0, 400, 4):
            values = [{"n": 2**60 + at, "key": at % 3, "text": "é\n" * (at % 7)} for at in range(number, number + 4)]
            await server.broker.submit(
                Draft(
                    "s" if number % 12 else "t",
                    [wire.record(value, f"k{value['key']}", "x" if value["key"] else "") for value in values],
                    [f"k{value['key']}" for value in values],
                    ["x" if value["key"] else "" for value in values],
                )
            )
        yield server


@pytest_asyncio.fixture
async def client(filled: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=filled.http_url, timeout=20) as one:
        yield one


async def answers(client: httpx.AsyncClient, query: str, readers: int, coding: str = "identity") -> set[bytes]:
    url, headers = f"/v1/subscribe?stream=s&stream=t&{query}", {"Accept-Encoding": coding}
    found = await asyncio.gather(*(client.get(url, headers=headers) for _ in range(readers)))
    assert {response.status_code for response in found} == {200}
    return {re.sub(rb"^retry: \d+\n", b"", response.content) for response in found}  # how long to wait is jittered


async def test_what_is_shared_is_the_same_to_the_byte(filled: Running, client: httpx.AsyncClient) -> None:
    broker = filled.broker
    shared, middle = broker.history, f"{broker.epoch}-150"
    queries = [f"from=earliest&until=now&{query}" for query in QUERIES]
    queries += [f"from={middle}&until={broker.epoch}-333&{query}" for query in QUERIES[:4]]
    queries.append("snapshot=key&until=now&format=sse")
    for query in queries:
        if "format=page" in query:
            query = query.replace("until=now&", "")
        broker.history = History(broker.log.registry, 0)
        [alone] = await answers(client, query, 1)
        assert len(alone) > 500
        broker.history = shared
        before = shared.hits
        assert await answers(client, query, 3) == {alone}, query
        assert await answers(client, query, 2, "gzip") == {alone}, query
        assert shared.hits > before or "snapshot" in query, query
    told = await samples(client)
    assert told["ratsvc_history_hits_total", ()] == shared.hits
    assert told["ratsvc_history_bytes", ()] == shared.bytes > 0


async def test_deltas_from_many_places_keep_within_the_bound(filled: Running, client: httpx.AsyncClient) -> None:
    """Each place has patches of its own, which are kept with the batches."""
    broker = filled.broker
    broker.history = History(broker.log.registry, 300_000)
    for place in range(40):
        query = f"from={broker.epoch}-{place}&until=now&format=ndjson&delta=json-patch"
        await answers(client, query, 2)
        assert broker.history.bytes <= 300_000
        assert broker.tail.bytes <= max(1024, broker.tail.batches[0].size + broker.tail.batches[0].encoded_size)
    assert broker.history.hits > 0


async def test_a_stream_that_was_made_again_has_nothing_of_the_one_before(
    filled: Running, client: httpx.AsyncClient
) -> None:
    query = "from=earliest&until=now&format=ndjson"
    await answers(client, query, 3)
    await filled.broker.delete("s")
    await filled.broker.update("t", Retention(max_records=1))
    for number in range(50):
        await filled.broker.submit(Draft("s", [wire.record(f"again {number}".ljust(100))]))
    [found] = await answers(client, query, 3)
    *gaps, newest = found.partition(b'"again 0')[0].splitlines()
    assert [b'"$rat"' in line for line in gaps] == [True] * len(gaps)
    assert newest.startswith(b'{"n":')
    assert [int(line.split()[1]) for line in found.splitlines()[len(gaps) + 1 :]] == [*range(50)]
