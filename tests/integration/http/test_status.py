"""What the dashboard reads: the service's figures, who is connected, and how one publish went, over real HTTP."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc.aio
import httpx
import pytest
from rat.v1 import consumer_pb2 as pb
from rat.v1 import consumer_pb2_grpc

from ratsvc.client import Producer
from ratsvc.core.figures import SECONDS
from ratsvc.settings import load
from tests.conftest import Running, running
from tests.integration.http.raw import get

BYTES = {"Content-Type": "application/octet-stream"}


async def listed(http: httpx.AsyncClient, query: str = "") -> list[dict[str, object]]:
    answer = await http.get(f"/v1/connections{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()["connections"]
    return found


async def until_listed(http: httpx.AsyncClient, count: int, query: str = "") -> list[dict[str, object]]:
    while len(found := await listed(http, query)) != count:
        await asyncio.sleep(0.01)
    return found


async def test_the_figures_grow_with_what_goes_through(http: httpx.AsyncClient) -> None:
    before = (await http.get("/v1/status")).json()
    async with http.stream("GET", "/v1/streams/a?format=sse") as response:
        for n in range(3):
            await http.post("/v1/streams/a", json=n)
        lines = response.aiter_lines()
        while await anext(lines) != "data: 2":
            pass
        now = (await http.get("/v1/status")).json()
    assert (before["epoch"], before["started"]) == (now["epoch"], now["started"])
    assert now["figures"]["records_total"] - before["figures"]["records_total"] == 3
    assert now["delivered"]["sse"]["records"] == 3
    assert now["delivered"]["sse"]["bytes"] > 0
    assert now["encodings"]["sse"] == 3
    assert now["encoding_hits"].get("sse", 0) == 0
    assert now["readers"] == {"sse": {"live": 1, "catching_up": 0}}
    assert (now["connections"], now["connections_shown"], now["draining"]) == (1, True, False)
    delivery = now["latency"]["delivery"]
    assert delivery["bounds"] == list(SECONDS)
    assert len(delivery["counts"]) == len(SECONDS) + 1
    assert sum(delivery["counts"]) == 3
    assert now["memory"]["resident"] > 1024 * 1024
    assert now["memory"]["durable"] is False
    assert now["cpu_seconds"] >= before["cpu_seconds"] > 0


async def test_a_stream_counts_what_was_committed_whatever_is_kept(http: httpx.AsyncClient) -> None:
    await http.put("/v1/streams/a", json={"max_records": 2})
    for n in range(5):
        await http.post("/v1/streams/a", json=n)
    shown = (await http.get("/v1/streams/a/info")).json()
    assert (shown["records"], shown["records_total"]) == (2, 5)
    assert shown["bytes_total"] > shown["bytes"]


async def test_counts_of_a_stream_on_disk_are_the_processes_own(tmp_path: object) -> None:
    for _ in range(2):
        async with running(data_dir=tmp_path) as server, httpx.AsyncClient(base_url=server.http_url) as http:
            await http.post("/v1/streams/a", json=1)
            await http.put("/v1/streams/a", json={"max_records": 7})
            shown = (await http.get("/v1/streams/a/info")).json()
            assert shown["records_total"] == 1
    assert shown["records"] == 2


async def test_readers_and_producers_are_listed_while_they_are_there(server: Running, http: httpx.AsyncClient) -> None:
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(Producer(server.grpc_addr))
        await producer.publish("orders.eu", {"n": 1})
        agent = {"User-Agent": ("Tester/1.0 \xe9<b>" + "x" * 500).encode("latin-1")}
        await stack.enter_async_context(http.stream("GET", "/v1/streams/orders.eu?format=sse", headers=agent))
        await stack.enter_async_context(http.stream("GET", "/v1/subscribe?stream=a&stream=b.*"))
        found = await until_listed(http, 3)
        assert [one["role"] for one in found] == ["producer", "reader", "reader"]
        made, first, second = found
        assert (made["protocol"], made["format"], made["streams"], made["state"]) == (
            "grpc", "grpc", ["orders.eu"], "publishing",
        )  # fmt: skip
        assert str(made["agent"]).startswith("grpc-python")
        assert str(made["address"]).startswith("127.0.0.1:")
        assert made["bytes"]
        assert (first["protocol"], first["format"], first["streams"]) == ("http", "sse", ["orders.eu"])
        assert str(first["agent"]).startswith("Tester/1.0 ?")
        assert len(str(first["agent"])) == 120
        assert (second["format"], second["streams"]) == ("ndjson", ["a", "b.*"])
        before = first["bytes"]
        await producer.publish("orders.eu", {"n": 2})
        found = await listed(http, "?stream=orders.eu&role=reader")
        assert [one["number"] for one in found] == [first["number"]]
        while (found := await listed(http, "?stream=orders.eu&role=reader"))[0]["lag"]:
            await asyncio.sleep(0.01)
        assert (found[0]["state"], found[0]["cursor"]) == ("live", f"{server.broker.epoch}-2")
        assert int(str(found[0]["bytes"])) > int(str(before))
        assert await listed(http, "?stream=nothing") == []
    await until_listed(http, 0)


async def test_a_reader_that_takes_nothing_is_seen_to_be_behind(server: Running, http: httpx.AsyncClient) -> None:
    async with http.stream("GET", "/v1/streams/files?format=chunked") as response:
        assert response.status_code == 200
        for _ in range(12):
            await http.post(
                "/v1/streams/files", content=b"x" * 1_000_000, headers={"Content-Type": "application/octet-stream"}
            )
        while not (await listed(http))[0]["lag"]:
            await asyncio.sleep(0.01)
        assert (await listed(http))[0]["state"] == "catching-up"
        assert (await http.get("/v1/status")).json()["readers"] == {"chunked": {"live": 0, "catching_up": 1}}


async def test_status_and_metrics_agree_on_who_is_live_and_how_far_others_are_behind(
    server: Running, http: httpx.AsyncClient
) -> None:
    await http.post("/v1/streams/busy", json=0)
    async with (
        http.stream("GET", "/v1/streams/files?format=chunked"),
        http.stream("GET", "/v1/streams/busy?format=sse"),
        http.stream("GET", "/v1/streams/busy?format=sse&limit=99"),
        http.stream("GET", "/v1/streams/quiet?format=text&limit=1"),
    ):
        while (await http.get("/v1/status")).json()["readers"].get("text", {}).get("live") != 1:
            await asyncio.sleep(0.01)
        for _ in range(12):
            await http.post("/v1/streams/files", content=b"x" * 1_000_000, headers=BYTES)
            await http.post("/v1/streams/busy", json=0)
        while (status := (await http.get("/v1/status")).json()["readers"]) != {
            "chunked": {"live": 0, "catching_up": 1}, "sse": {"live": 2, "catching_up": 0},
            "text": {"live": 1, "catching_up": 0},
        }:  # fmt: skip
            await asyncio.sleep(0.01)
        shown = await listed(http)
        metrics = (await http.get("/metrics")).text
    for name, states in status.items():
        for state, count in states.items():
            line = f'ratsvc_readers{{format="{name}",state="{state.replace("_", "-")}"}} {float(count)}'
            assert (line in metrics) == (count > 0), line
        lag = max(one["lag"] for one in shown if one["format"] == name)
        assert (lag > 0) == (name == "chunked")
        assert f'ratsvc_reader_lag_offsets_max{{format="{name}"}} {float(lag)}' in metrics


async def test_the_place_of_a_reader_inside_a_snapshot_is_one_to_come_back_to(
    server: Running, http: httpx.AsyncClient
) -> None:
    values = [str(n) * 300_000 for n in range(10)] * 2
    for n, value in enumerate(values):
        await http.post(f"/v1/streams/state?key={n % 10}", json=value)
    _, writer = await asyncio.open_connection("127.0.0.1", server.http_port, limit=1024)  # it takes next to nothing
    writer.write(get("/v1/streams/state?snapshot=key&format=ndjson"))
    while not (found := await listed(http)) or "~" not in str(found[0]["cursor"]):
        await asyncio.sleep(0.01)
    place = str(found[0]["cursor"])
    writer.transport.abort()
    rest = await http.get("/v1/streams/state", params={"snapshot": "key", "from": place, "until": "now"})
    whole = await http.get("/v1/streams/state", params={"snapshot": "key", "until": "now"})
    assert rest.status_code == 200
    assert whole.text.endswith(rest.text)
    assert 0 < len(rest.text) < len(whole.text)


async def test_grpc_readers_and_bodies_that_come_in_pieces_are_listed(server: Running, http: httpx.AsyncClient) -> None:
    going = asyncio.Event()

    async def body() -> object:
        yield b"first line\n"
        await going.wait()
        yield b"last line\n"

    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        reading = consumer_pb2_grpc.ConsumerServiceStub(channel).Subscribe(pb.SubscribeRequest(streams=["lines"]))
        assert (await reading.read()).HasField("start")
        (one,) = await until_listed(http, 1, "?role=reader")
        assert (one["protocol"], one["format"], one["streams"]) == ("grpc", "grpc", ["lines"])
        publish = http.post("/v1/streams/lines", content=body(), headers={"Content-Type": "text/plain"})
        publishing = asyncio.create_task(publish)
        (one,) = await until_listed(http, 1, "?role=producer")
        assert (one["protocol"], one["format"], one["streams"]) == ("http", "text/plain", ["lines"])
        while (await listed(http, "?role=producer"))[0]["bytes"] != 11:
            await asyncio.sleep(0.01)
        going.set()
        assert (await publishing).json()["stored"] == 2
        assert (await reading.read()).HasField("batch")
        assert int(str((await listed(http))[0]["bytes"])) > 0
    await until_listed(http, 0)


async def test_connections_come_in_pages(http: httpx.AsyncClient) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(http.stream("GET", "/v1/streams/a"))
        await until_listed(http, 5)
        first = (await http.get("/v1/connections?limit=3")).json()
        assert (len(first["connections"]), first["total"]) == (3, 5)
        rest = (await http.get(f"/v1/connections?limit=3&after={first['next']}")).json()
        assert (len(rest["connections"]), rest["next"]) == (2, None)
        numbers = [one["number"] for one in first["connections"] + rest["connections"]]
        assert numbers == sorted(set(numbers))


async def test_many_streams_of_a_reader_are_cut(http: httpx.AsyncClient) -> None:
    query = "&".join(f"stream=s{n}" for n in range(20))
    async with http.stream("GET", f"/v1/subscribe?{query}"):
        (one,) = await until_listed(http, 1)
    assert (one["streams"], one["more_streams"]) == ([f"s{n}" for n in range(8)], 12)


@pytest.mark.parametrize("query", ["role=x", "limit=0", "limit=1001", "after=-1", "stream=a/b", "rol=reader"])
async def test_a_wrong_parameter_of_the_list_is_named(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/v1/connections?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, query.partition("=")[0])


async def test_who_is_connected_is_not_told_where_the_setting_says_so() -> None:
    async with running(show_connections=False) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        answer = await http.get("/v1/connections")
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-shown")
        assert (await http.get("/v1/status")).json()["connections_shown"] is False


@pytest.mark.parametrize(
    ("http", "asked", "shown"),
    [
        ("127.0.0.1:8080", None, True), ("localhost:1", None, True), ("[::1]:0", None, True),
        ("127.9.9.9:1", None, True), ("0.0.0.0:8080", None, False), ("[::]:8080", None, False),
        ("10.0.0.1:80", None, False), ("host:80", None, False), ("0.0.0.0:8080", True, True),
        ("127.0.0.1:8080", False, False),
    ],
)  # fmt: skip
def test_connections_are_told_on_a_loopback_address_alone_unless_asked(
    http: str, asked: bool | None, shown: bool
) -> None:
    assert load(flags={"http": http, "show_connections": asked}).connections_are_shown is shown


async def test_a_publish_tells_its_journey_when_asked(http: httpx.AsyncClient) -> None:
    async with AsyncExitStack() as stack:
        for name in ("sse", "sse", "binary"):
            await stack.enter_async_context(http.stream("GET", f"/v1/streams/a?format={name}"))
        while (await http.get("/v1/status")).json()["readers"] != {
            "sse": {"live": 2, "catching_up": 0}, "binary": {"live": 1, "catching_up": 0},
        }:  # fmt: skip
            await asyncio.sleep(0.01)
        told = (await http.post("/v1/streams/a?journey=1", json={"n": 1})).json()["journey"]
    steps = ["received", "body", "checked", "queued", "commit_began", "committed", "delivered", "acknowledged"]
    assert list(told["steps"]) == steps
    assert told["steps"]["received"] == 0
    assert list(told["steps"].values()) == sorted(told["steps"].values())
    assert (told["commit_publishes"], told["commit_records"]) == (1, 1)
    assert told["readers"] == {"sse": 2, "binary": 1}
    assert told["others"] == 0
    made = {one["format"]: one for one in told["encodings"]}
    assert made.keys() == {"sse", "binary"}
    assert all(one["bytes"] > 0 and one["us"] > 0 and one["shared"] == 0 for one in made.values())
    assert "journey" not in (await http.post("/v1/streams/a", json=1)).json()


async def test_a_journey_is_for_what_is_published_at_once(http: httpx.AsyncClient) -> None:
    async def body() -> object:
        yield b"1\n"

    lines = {"Content-Type": "application/x-ndjson"}
    for content in (body(), b"1\n" * 10_001):
        answer = await http.post("/v1/streams/a?journey=1", content=content, headers=lines)
        assert (answer.status_code, answer.json()["field"]) == (400, "journey")
    assert (await http.get("/v1/streams/a/info")).status_code == 404
    assert (await http.post("/v1/streams/a?journey=1", content=b"1\n2\n", headers=lines)).json()["stored"] == 2
    again = {"Idempotency-Key": "k"}
    await http.post("/v1/streams/a", json=1, headers=again)
    told = (await http.post("/v1/streams/a?journey=1", json=1, headers=again)).json()
    assert (told["duplicates"], told["journey"]["commit_records"], told["journey"]["encodings"]) == (1, 0, [])
