"""`snapshot=key` and `delta=json-patch` over real HTTP: every format, refusals, coming back, both clients' ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import httpx
import httpx_sse
import jsonpatch
import pytest
from google.protobuf.message import Message
from rat.v1 import record_pb2

from ratsvc.client import Consumer, GapSeen, Received
from ratsvc.client.frames import Word
from ratsvc.core.draft import Draft
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument
from ratsvc.quickmem import wire
from tests.conftest import Running, running

SSE = {"Accept": "text/event-stream"}
Format = Literal["sse", "ndjson", "binary"]


async def put(server: Running, stream: str, key: str, value: object, event: str = "") -> int:
    record = wire.record(value, key, event)
    ack = await server.broker.submit(Draft(stream, [record], [key] if key else None, [event] if event else None))
    return ack.last


def document(n: int, **changes: object) -> dict[str, object]:
    return {"id": n, "name": "a name that never changes, and is long enough", "tags": ["x", "y"], **changes}


async def words(http: httpx.AsyncClient, stream: str, **query: str) -> list[dict[str, Any]]:
    """What a read that ends gives, as JSON lines in the record view."""
    answer = await http.get(f"/v1/streams/{stream}", params={"view": "record", "until": "now"} | query)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines() if line]


async def sse_lines(response: httpx.Response) -> AsyncIterator[httpx_sse.ServerSentEvent]:
    async for event in httpx_sse.EventSource(response).aiter_sse():
        yield event


async def test_a_snapshot_is_the_newest_of_each_key_and_ends_where_its_cursor_is_plain(
    server: Running, http: httpx.AsyncClient
) -> None:
    for key, value in (("a", 1), ("b", 1), ("", "no key"), ("a", 2), ("c", None)):
        await put(server, "s", key, value)
    await put(server, "t", "a", "other")
    found = await words(http, "*", snapshot="key")
    epoch = server.broker.epoch
    assert [(w["stream"], w["key"], w["value"], w["cursor"]) for w in found[:4]] == [
        ("s", "b", 1, f"{epoch}-2~6"),
        ("s", "a", 2, f"{epoch}-4~6"),
        ("s", "c", None, f"{epoch}-5~6"),
        ("t", "a", "other", f"{epoch}-6~6"),
    ]
    assert found[4:] == [
        {"heartbeat": {"cursor": f"{epoch}-6"}},
        {"end": {"cursor": f"{epoch}-6", "reason": "until"}},
    ]
    assert [w["value"] for w in await words(http, "s", snapshot="key", key="a") if "value" in w] == [2]


async def test_the_newest_is_sought_among_the_event_types_that_are_asked_for(
    server: Running, http: httpx.AsyncClient
) -> None:
    for key, event, value in (("a", "price", 1), ("a", "trade", 2), ("b", "trade", 3), ("b", "", 4)):
        await put(server, "s", key, value, event)

    async def state(**query: str) -> list[object]:
        return [word["value"] for word in await words(http, "s", snapshot="key", **query) if "value" in word]

    assert await state() == [2, 4]
    assert await state(event="price") == [1]
    assert await state(event="trade") == [2, 3]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("snapshot=key&from=earliest", "from"),
        ("snapshot=key&from=-5", "from"),
        ("snapshot=key&from=2026-01-01T00:00:00Z", "from"),
        ("snapshot=key&until=e1-5", "until"),
        ("delta=json-patch&view=value", "view=value"),
        ("delta=json-patch&format=text", "format=text"),
        ("delta=json-patch&format=chunked", "format=chunked"),
        ("delta=merge-patch", "json-patch"),
        ("from=e1-7~5", "cursor"),
        ("from=e1-7~", "cursor"),
        ("from=e1-7~18446744073709551616", "cursor"),
    ],
)
async def test_what_contradicts_is_refused_by_its_names(
    server: Running, http: httpx.AsyncClient, query: str, named: str
) -> None:
    query = query.replace("e1-", f"{server.broker.epoch}-")
    answer = await http.get(f"/v1/streams/s?{query}")
    assert (answer.status_code, named in answer.json()["detail"]) == (400, True), answer.text
    assert answer.json()["errors"][0]["field"] in query if "errors" in answer.json() else True
    assert not server.broker.subscriptions


async def test_too_many_keys_refuse_the_snapshot_and_no_publish() -> None:
    async with running(limits={"snapshot_keys": 3}) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        for n in range(4):
            await put(server, "big", f"k{n}", n)
        await put(server, "small", "k", 1)
        answer = await http.get("/v1/streams/big", params={"snapshot": "key"})
        assert (answer.status_code, "limits.snapshot_keys" in answer.json()["detail"]) == (413, True)
        assert [word["value"] for word in await words(http, "small", snapshot="key") if "value" in word] == [1]
        for n in range(4):
            await put(server, "small", f"k{n}", n)
        assert (await http.get("/v1/streams/small", params={"snapshot": "key"})).status_code == 413
        assert server.broker.snapshots.keys <= 3


async def test_an_event_source_that_drops_anywhere_comes_back_to_the_rest(
    server: Running, http: httpx.AsyncClient
) -> None:
    """Each connection gives one event; the URL stays, and Last-Event-ID is what the browser would send."""
    for n in range(6):
        await put(server, "s", f"k{n % 3}", n)
    last_id, seen = None, []
    for _ in range(4):
        headers = SSE | ({"Last-Event-ID": last_id} if last_id else {})
        async with http.stream("GET", "/v1/streams/s", params={"snapshot": "key"}, headers=headers) as response:
            async for event in sse_lines(response):
                last_id = event.id or last_id
                if event.data:
                    seen.append(event.data)
                    break
                if len(seen) == 3 and last_id and "~" not in last_id:
                    await put(server, "s", "k0", "live")
    assert seen == ["3", "4", "5", "live"]


async def test_after_a_gap_the_state_begins_anew(server: Running, http: httpx.AsyncClient) -> None:
    for n in range(8):
        await put(server, "s", f"k{n % 2}", n)
    await server.broker.update("s", Retention(max_records=2))
    found = await words(http, "s", snapshot="key", last_event_id=f"{server.broker.epoch}-1")
    assert [next(iter(word)) for word in found] == ["gap", "heartbeat", "stream", "stream", "heartbeat", "end"]
    assert found[1] == {"heartbeat": {"cursor": f"{server.broker.epoch}-0~8"}}
    found = await words(http, "s", snapshot="key", last_event_id="other-99~100")
    assert [word["value"] for word in found if "value" in word] == [6, 7]
    assert found[0]["gap"]["reason"] == "epoch"


async def test_an_ended_stream_gives_its_state_then_its_end_and_then_204(
    server: Running, http: httpx.AsyncClient
) -> None:
    for n in range(4):
        await put(server, "s", f"k{n % 2}", n)
    await server.broker.end("s")
    answer = await http.get("/v1/streams/s", params={"snapshot": "key"}, headers=SSE)
    assert [line for line in answer.text.splitlines() if line.startswith("data: ")][:2] == ["data: 2", "data: 3"]
    last_id = [line[4:] for line in answer.text.splitlines() if line.startswith("id: ")][-1]
    answer = await http.get("/v1/streams/s", params={"snapshot": "key"}, headers=SSE | {"Last-Event-ID": last_id})
    assert answer.status_code == 204


async def test_pages_go_through_a_snapshot_and_on(server: Running, http: httpx.AsyncClient) -> None:
    for n in range(10):
        await put(server, "s", f"k{n % 5}", n)
    place, values = "latest", []
    for _ in range(3):
        query = {"format": "page", "snapshot": "key", "limit": "2", "from": place}
        page = (await http.get("/v1/streams/s", params=query)).json()
        values.append(page["records"])
        place = page["next"]
    assert values == [[5, 6], [7, 8], [9]]
    await put(server, "s", "", "after")
    query = {"format": "page", "snapshot": "key", "from": place}
    assert (await http.get("/v1/streams/s", params=query)).json()["records"] == ["after"]


async def test_a_snapshot_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with running(data_dir=tmp_path) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        for n in range(20):
            await put(server, "s", f"k{n % 3}", n)
        before = await words(http, "s", snapshot="key")
        rest = before[0]["cursor"]
    async with running(data_dir=tmp_path) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        assert await words(http, "s", snapshot="key") == before
        assert (await words(http, "s", snapshot="key", last_event_id=rest))[:2] == before[1:3]
        await put(server, "s", "k0", "new")
        assert [word["value"] for word in (await words(http, "s", snapshot="key"))[:3]] == [17, 19, "new"]


@pytest.mark.parametrize(
    ("name", "live"),
    [("page", False), *((name, live) for name in ("ndjson", "sse", "json-seq") for live in (False, True))],
)
async def test_documents_come_whole_first_and_then_as_patches(
    server: Running, http: httpx.AsyncClient, name: str, live: bool
) -> None:
    versions = [document(1), document(1, speed=3), document(1, speed=4, tags=["x", "z", "y"])]
    versions.append(versions[-1] | {"id": 2})
    for version in [] if live else versions:
        await put(server, "s", "a", version)
    query = {"delta": "json-patch", "format": name, "from": "earliest"}
    found: list[dict[str, Any]] = []
    async with http.stream("GET", "/v1/streams/s", params=query) as response:
        if name == "page":
            await response.aread()
            found = response.json()["records"]
        elif live:
            await put(server, "s", "a", versions[0])
        lines = response.aiter_lines()
        while len(found) < 4:
            line = (await anext(lines)).removeprefix("data: ").removeprefix("\x1e")
            if line.startswith('{"stream"'):
                found.append(json.loads(line))
                if live and len(found) < 4:
                    await put(server, "s", "a", versions[len(found)])
    assert ["patch" in word for word in found] == [False, True, True, True]
    whole = found[0]["value"]
    for word, version in zip(found[1:], versions[1:], strict=True):
        assert set(word) == {"stream", "offset", "cursor", "time", "key", "patch"}
        whole = jsonpatch.apply_patch(whole, word["patch"])
        assert whole == version
    assert [operation["op"] for operation in found[2]["patch"]] == ["add", "replace"]


async def test_a_patch_that_is_larger_than_the_whole_is_not_sent(server: Running, http: httpx.AsyncClient) -> None:
    for value in ({"a": 1}, {"b": 2}, "text", "text", [1, 2], b"bytes"):
        await put(server, "s", "", value)
    found = await words(http, "s", delta="json-patch", **{"from": "earliest"})
    assert ["patch" in word for word in found[:6]] == [False, False, False, True, False, False]
    assert found[3]["patch"] == []


async def test_readers_of_the_same_patches_share_their_bytes(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=10) as http:
        await put(server, "s", "a", document(0))

        async def read(count: int) -> list[str]:
            query = {"delta": "json-patch", "snapshot": "key"}
            found = []
            async with http.stream("GET", "/v1/streams/s", params=query) as response:
                async for line in response.aiter_lines():
                    if line.startswith('{"stream"'):
                        found.append(line)
                    if len(found) == count:
                        return found
            return found

        reading = [asyncio.create_task(read(4)) for _ in range(5)]
        while sum(one.is_live for one in server.broker.subscriptions) < 5:
            await asyncio.sleep(0.01)
        made = server.broker.figures.encodings["ndjson"]
        for n in range(3):
            await put(server, "s", "a", document(0, speed=n))
        results = await asyncio.gather(*reading)
        assert ["patch" in json.loads(line) for line in results[0]] == [False, True, True, True]
        assert all(result[1:] == results[0][1:] for result in results)
        assert server.broker.figures.encodings["ndjson"] - made == 3
        while server.broker.subscriptions:
            await put(server, "s", "other", 1)
            await asyncio.sleep(0.01)
        assert server.broker.deltas.bytes == 0


@pytest.mark.parametrize("name", ["sse", "ndjson", "binary"])
async def test_the_python_consumer_gives_whole_documents(server: Running, name: Format) -> None:
    versions: list[dict[str, object]] = [document(1, price=1.5), document(1, price=2.5, raw=[1, None, True])]
    await put(server, "s", "a", versions[0])
    consumer = Consumer(server.http_url, "s", snapshot=True, delta=True, format=name)
    found: list[Received] = []
    async for item in consumer:
        assert isinstance(item, Received)
        found.append(item)
        item.value["mine"] = True  # type: ignore[index]  # a record belongs to who got it
        if len(found) == 1:
            assert "~" in item.cursor
            await put(server, "s", "a", versions[1])
        else:
            break
    assert [(item.offset, item.key, item.value) for item in found] == [
        (n, "a", {**version, "mine": True}) for n, version in enumerate(versions, 1)
    ]


@pytest.mark.parametrize("most", [5, 8])
async def test_the_python_consumer_asks_anew_for_documents_that_it_has_forgotten(server: Running, most: int) -> None:
    documents = [document(n, key=key) for n in range(6) for key in (*range(8), 0, 0)]
    for one in documents:
        await put(server, "s", str(one["key"]), one)
    connections = 0

    class Counting(Consumer):
        def _connection(self, client: httpx.AsyncClient) -> AsyncIterator[Word]:
            nonlocal connections
            connections += 1
            return super()._connection(client)

    consumer = Counting(server.http_url, "s", from_="earliest", delta=True, max_documents=most, limit=55)
    assert [item.value async for item in consumer if isinstance(item, Received)] == documents[:55]
    assert connections == (6 if most == 5 else 1)
    with pytest.raises(InvalidArgument, match="max_documents"):
        Consumer(server.http_url, "s", delta=True, max_documents=0)


@pytest.mark.parametrize("name", ["sse", "ndjson", "binary"])
async def test_the_python_consumer_comes_back_into_a_snapshot(name: Format) -> None:
    """The first connection is cut in the middle of the snapshot; nothing is lost or repeated."""
    async with running(retry_ms=100, limits={"reader_bytes": 1024}) as server:
        for n in range(300):
            await put(server, "s", f"k{n % 100}", document(n))
        found: list[Received | GapSeen] = []
        async for item in Consumer(server.http_url, "s", snapshot=True, delta=True, format=name, until="now"):
            found.append(item)
            if len(found) == 40:
                for subscription in list(server.broker.subscriptions):
                    subscription.leave("drain")
        assert [item.value for item in found if isinstance(item, Received)] == [document(n) for n in range(200, 300)]


async def test_patches_in_binary_keep_types(server: Running, http: httpx.AsyncClient) -> None:
    await put(server, "s", "a", document(1, data=b"\x00"))
    await put(server, "s", "a", document(1, data=b"\xff" * 8))
    query = {"delta": "json-patch", "format": "binary", "from": "earliest", "until": "now"}
    body = (await http.get("/v1/streams/s", params=query)).content
    frames: list[Message] = []
    while body:
        size, at = 0, 0
        while True:
            size |= (body[at] & 0x7F) << (7 * at)
            at += 1
            if body[at - 1] < 0x80:
                break
        frames.append(record_pb2.Frame.FromString(body[at : at + size]))
        body = body[at + size :]
    kinds = [frame.WhichOneof("kind") for frame in frames]
    assert kinds == ["start", "batch", "patch", "end"]
    patch = frames[2].patch  # type: ignore[attr-defined]
    assert (patch.stream, patch.offset, patch.key) == ("s", 2, "a")
    assert [(one.op, one.path) for one in patch.operations] == [("replace", "/data")]


async def test_readers_in_different_states_share_a_compressed_lane(server: Running) -> None:
    """The second reader has not the first document of `a`: it is told that key whole once, the first a patch."""
    async with httpx.AsyncClient(base_url=server.http_url, timeout=10) as http:

        async def read(start: str, count: int) -> list[dict[str, Any]]:
            query = {"delta": "json-patch", "from": start, "heartbeat": "1"}
            found: list[dict[str, Any]] = []
            async with http.stream(
                "GET", "/v1/streams/s", params=query, headers={"Accept-Encoding": "gzip"}
            ) as response:
                assert response.headers["content-encoding"] == "gzip"
                async for line in response.aiter_lines():
                    if line.startswith('{"stream"'):
                        found.append(json.loads(line))
                    if len(found) == count:
                        break
            return found

        async def all_live(count: int) -> None:
            while sum(one.is_live for one in server.broker.subscriptions) < count:
                await asyncio.sleep(0.01)

        await put(server, "s", "a", document(0))
        early = asyncio.create_task(read("earliest", 4))
        await all_live(1)
        late = asyncio.create_task(read("latest", 3))
        await all_live(2)
        for n in range(3):
            await put(server, "s", "a", document(0, speed=n))
        first, second = await early, await late
    assert ["patch" in word for word in first] == [False, True, True, True]
    assert ["patch" in word for word in second] == [False, True, True]
    for words in (first, second):
        whole = words[0]["value"]
        for word in words[1:]:
            whole = jsonpatch.apply_patch(whole, word["patch"])
        assert whole == document(0, speed=2)
