"""client.js in Node.js: types, resume, gaps, ends, back-pressure."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rat.v1 import producer_pb2 as producer_pb
from rat.v1 import producer_pb2_grpc
from rat.v1 import record_pb2 as pb
from rat.v1.value_pb2 import DataValue, ListValue, MapValue

import ratsvc
from ratsvc.client import Producer
from tests.conftest import Running, running
from tests.e2e.client_js import BINARY_HEAD, SSE_HEAD, START, answering, frames, node_client, read_with
from tests.proxy import cutting

FORMATS = ["sse", "binary"]
PACKAGE = Path(ratsvc.__file__).parent / "web/client"
MOST_MINIFIED_BYTES = 8_000
WHEN = datetime(1969, 12, 31, 23, 59, 59, 678901, UTC)


def big(value: int) -> dict[str, str]:
    return {"bigint": str(value)}


async def publish_tree(server: Running, *values: DataValue) -> None:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        records = [pb.Record(value=value) for value in values]
        request = producer_pb.PublishRequest(stream="s", records=records)
        await producer_pb2_grpc.ProducerServiceStub(channel).Publish(request)


PACKED: list[tuple[object, object]] = [
    ({"n": 2**63, "b": b"\x00\xff", "t": True, "i": 1, "f": 1.0},
     {"n": big(2**63), "b": {"bytes": [0, 255]}, "t": True, "i": big(1), "f": 1.0}),
    (None, None), (False, False), (-1, big(-1)), (-(2**63), big(-(2**63))), (2**64 - 1, big(2**64 - 1)),
    (127, big(127)), (128, big(128)), (-33, big(-33)), (-129, big(-129)), (2**16, big(2**16)), (2**32, big(2**32)),
    (0.5, 0.5), (math.inf, {"float": "Infinity"}), ("", ""), ("é\U0001f600\r\n\0", "é\U0001f600\r\n\0"),
    ("\ufeffx", "\ufeffx"), ("a" * 40, "a" * 40), ("a" * 300, "a" * 300), ("a" * 70_000, "a" * 70_000),
    (b"b" * 300, {"bytes": [98] * 300}), ([], []), (list(range(20)), [big(n) for n in range(20)]),
    (["x"] * 65_000, ["x"] * 65_000), ({str(n): n for n in range(20)}, {str(n): big(n) for n in range(20)}),
    (WHEN, {"date": "1969-12-31T23:59:59.678Z"}),
    (datetime(2106, 2, 8, tzinfo=UTC), {"date": "2106-02-08T00:00:00.000Z"}),
    (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), {"date": "9999-12-31T23:59:59.000Z"}),
    ({"__proto__": {"x": 1}, "constructor": 2}, {"__proto__": {"x": big(1)}, "constructor": big(2)}),
]  # fmt: skip


async def test_packed_values_keep_their_types(server: Running, node: str) -> None:
    async with Producer(server.grpc_addr) as producer:
        for value, _ in PACKED:
            await producer.publish("s", value)
    read = await read_with(node, f"{server.http_url}/v1/streams/s?from=earliest&until=now", format="binary")
    assert read.values() == [expected for _, expected in PACKED]


async def test_tree_values_keep_their_types(server: Running, node: str) -> None:
    stamp = Timestamp()
    stamp.FromDatetime(WHEN)
    inner = DataValue(list_value=ListValue(items=[DataValue(int_value=-(2**63)), DataValue(list_value=ListValue())]))
    entries = {"a": inner, "__proto__": DataValue(uint_value=2**64 - 1), "": DataValue(map_value=MapValue())}
    await publish_tree(
        server, DataValue(null_value=0), DataValue(bool_value=False), DataValue(bool_value=True),  # type: ignore[arg-type]
        DataValue(int_value=-5), DataValue(int_value=2**53), DataValue(uint_value=0), DataValue(double_value=-0.5),
        DataValue(string_value=""), DataValue(bytes_value=b"\0\xff"), DataValue(timestamp_value=stamp),
        DataValue(map_value=MapValue(entries=entries)),
    )  # fmt: skip
    read = await read_with(node, f"{server.http_url}/v1/streams/s?from=earliest&until=now", format="binary")
    assert read.values() == [
        None, False, True, big(-5), big(2**53), big(0), -0.5, "", {"bytes": [0, 255]},
        {"date": "1969-12-31T23:59:59.678Z"}, {"a": [big(-(2**63)), []], "__proto__": big(2**64 - 1), "": {}},
    ]  # fmt: skip


JSON = {"Content-Type": "application/json"}
DOCUMENT = '{"i":1,"f":1.0,"e":1e3,"n":9007199254740993,"s":"12345678901234567890 \\"-7\\" \\\\","a":[-1,{}]}'
TEXT = '12345678901234567890 "-7" \\'


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("int64", ["bigint", "number"])
async def test_integers_in_json_are_exact(server: Running, node: str, format: str, int64: str) -> None:
    async with httpx.AsyncClient() as http:
        await http.post(
            f"{server.http_url}/v1/streams/s", content=DOCUMENT, headers={"Content-Type": "application/json"}
        )
    url = f"{server.http_url}/v1/streams/s?from=earliest&until=now"
    (value,) = (await read_with(node, url, format=format, int64=int64)).values()
    one, minus = (big(1), big(-1)) if int64 == "bigint" else (1, -1)
    assert value == {"i": one, "f": 1.0, "e": 1000, "n": big(2**53 + 1), "s": TEXT, "a": [minus, {}]}


@pytest.mark.parametrize("format", FORMATS)
async def test_a_record_has_all_that_it_was_published_with(server: Running, node: str, format: str) -> None:
    async with Producer(server.grpc_addr) as producer:
        await producer.publish("a.b", 1, key="k", event="e", headers={"h": "v"})
        await producer.publish("a.c", 2)
    url = f"{server.http_url}/v1/streams/a.*?until=now"
    read = await read_with(node, url, format=format, int64="number", **{"from": -5})
    epoch = server.broker.epoch
    first, second = read.all("record")
    assert datetime.fromisoformat(first.pop("time")["date"]) <= datetime.now(UTC)
    assert first == {"stream": "a.b", "offset": big(1), "cursor": f"{epoch}-1", "key": "k", "event": "e",
                     "headers": {"h": "v"}, "value": 1}  # fmt: skip
    assert (second["stream"], second["offset"], second["key"], second["event"], second["headers"]) == (
        "a.c", big(2), "", "", {},
    )  # fmt: skip
    filtered = await read_with(node, f"{url}&key=k", format=format, **{"from": -5})
    assert [record["cursor"] for record in filtered.all("record")] == [f"{epoch}-1"]


async def test_the_value_view_gives_text_as_event_source_does(server: Running, node: str) -> None:
    async with Producer(server.grpc_addr) as producer:
        for value in ("a\nb", "", {"n": 1}):
            await producer.publish("s", value, event="e")
    url = f"{server.http_url}/v1/streams/s?from=earliest&until=now"
    read = await read_with(node, url, view="value", onRecord=True)
    epoch = server.broker.epoch
    assert read.all("record") == [
        {"cursor": f"{epoch}-{n}", "event": "e", "value": value}
        for n, value in enumerate(("a\nb", "", '{"n":1}'), start=1)
    ]


TOTAL = 900


async def publish_numbers(server: Running) -> None:
    async with Producer(server.grpc_addr, linger_ms=1, max_batch_records=9) as producer:
        for n in range(TOTAL):
            await producer.send("s", n)
            if n % 25 == 0:
                await asyncio.sleep(0.01)
    await server.broker.end("s")


@pytest.mark.timeout(100)
@pytest.mark.parametrize("format", FORMATS)
async def test_cut_at_random_moments_it_loses_and_repeats_nothing(node: str, format: str) -> None:
    compression = {"enabled": format == "sse"}  # the few bytes of binary would be cut too seldom
    async with (
        running(retry_ms=100, compression=compression) as server,
        cutting(server.http_port, 3_000, seed=21, grace_s=0.02) as proxy,
    ):
        publishing = asyncio.create_task(publish_numbers(server))
        url = f"http://127.0.0.1:{proxy.port}/v1/streams/s?from=earliest"
        read = await read_with(node, url, format=format, int64="number", retry=50)
        await publishing
        assert proxy.cuts >= 5
    assert read.values() == list(range(TOTAL))
    assert (read.all("gap"), read.all("error")) == ([], [])
    assert read.all("end") == [{"cursor": read.all("over")[0]["cursor"], "reason": "ended"}]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("format", FORMATS)
async def test_a_limit_holds_over_lost_connections(node: str, format: str) -> None:
    async with (
        running(retry_ms=100, compression={"enabled": False}) as server,  # so few bytes would not be cut
        cutting(server.http_port, 20_000 if format == "sse" else 3_000, seed=5, grace_s=0.02) as proxy,
    ):
        await publish_numbers(server)
        url = f"http://127.0.0.1:{proxy.port}/v1/streams/s?from=earliest&limit=500"
        read = await read_with(node, url, format=format, int64="number", retry=50)
        assert proxy.cuts >= 1
    assert read.values() == list(range(500))
    assert read.all("end")[0]["reason"] == "limit"


@pytest.mark.parametrize("format", FORMATS)
async def test_a_gap_is_told_and_does_not_move_the_cursor(server: Running, node: str, format: str) -> None:
    async with Producer(server.grpc_addr) as producer:
        await producer.publish("s", 1)
        first = f"{server.broker.epoch}-1"
        await producer.publish("s", 2)
        await server.broker.purge("s")
        await producer.publish("s", 3)
    read = await read_with(node, f"{server.http_url}/v1/streams/s?until=now", format=format, **{"from": first})
    (said,) = [said for said in read.said if "gap" in said]
    assert (said["gap"]["from"], said["gap"]["reason"], said["cursor"]) == (first, "purged", first)
    assert [record["offset"] for record in read.all("record")] == [big(3)]


@pytest.mark.parametrize("format", FORMATS)
async def test_a_cursor_of_another_epoch_is_a_gap_and_then_everything(server: Running, node: str, format: str) -> None:
    async with Producer(server.grpc_addr) as producer:
        await producer.publish("s", 1)
    url = f"{server.http_url}/v1/streams/s?until=now"
    read = await read_with(node, url, format=format, int64="number", **{"from": "elsewhere-77"})
    (said,) = [said for said in read.said if "gap" in said]
    to = f"{server.broker.epoch}-0"
    assert said == {"gap": {"from": "elsewhere-77", "to": to, "reason": "epoch"}, "cursor": to}
    assert read.values() == [1]


@pytest.mark.parametrize("format", FORMATS)
async def test_an_ended_stream_ends_at_once(server: Running, node: str, format: str) -> None:
    await server.broker.create("s")
    await server.broker.end("s")
    read = await read_with(node, f"{server.http_url}/v1/streams/s", format=format)
    assert read.all("end") == [{"cursor": f"{server.broker.epoch}-0", "reason": "ended"}]
    assert read.all("state") == ["connecting", "ended"]


@pytest.mark.parametrize("format", FORMATS)
async def test_it_comes_back_when_the_service_asks_for_it(node: str, format: str) -> None:
    async with running(retry_ms=100, subscription_lifetime_s=0.3) as server, Producer(server.grpc_addr) as producer:
        url = f"{server.http_url}/v1/streams/s?from=earliest"
        async with node_client(node, url, format=format, int64="number") as client:
            for n in range(3):
                await producer.publish("s", n)
                while (await client.until("state"))["state"] != "reconnecting":
                    pass
            await server.broker.end("s")
            await client.over()
    assert client.values() == [0, 1, 2]
    assert {said["reason"] for said in client.said if said.get("state") == "reconnecting"} == {"lifetime"}


@pytest.mark.parametrize("how", ["break", "close", "abort"])
@pytest.mark.parametrize("onRecord", [False, True])
async def test_it_can_be_left_at_any_record(server: Running, node: str, how: str, onRecord: bool) -> None:  # noqa: N803
    if how == "break" and onRecord:
        how = "close"
    async with Producer(server.grpc_addr) as producer:
        for n in range(5):
            await producer.send("s", n)
    url = f"{server.http_url}/v1/streams/s?from=earliest"
    async with node_client(node, url, stopAfter=3, how=how, onRecord=onRecord) as client:
        over = await client.over()
    assert over == {"count": 3, "cursor": f"{server.broker.epoch}-3", "state": "closed"}
    assert not client.all("error")


BLOCK = b"".join(b'id: e-%d\ndata: {"cursor":"e-%d","offset":%d,"stream":"s","time":"%b","value":"%b"}\n\n'
                 % (n, n, n, b"2026-01-01T00:00:00Z", b"x" * 1000) for n in range(64))  # fmt: skip
FRAME = frames(pb.Frame(batch=pb.RecordBatch(
    stream="s", first_offset=1, records=[pb.Record(value=DataValue(string_value="x" * 1000))] * 64,
)))  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
async def test_a_slow_reader_stops_reading_the_socket(node: str, format: str) -> None:
    block, head = (BLOCK, SSE_HEAD) if format == "sse" else (FRAME, BINARY_HEAD + frames(START))
    blocks = 1_000  # 65 MB
    sent = 0
    stopped: asyncio.Event = asyncio.Event()

    async def answer(number: int, head_: str, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        for _ in range(blocks):
            writer.write(block)
            drained = asyncio.ensure_future(writer.drain())
            if not (await asyncio.wait([drained], timeout=0.7))[0]:
                stopped.set()
            await drained
            sent += 1
        stopped.set()
        end = b'event: end\ndata: {"cursor":"e-1","reason":"ended"}\n\n'
        writer.write(end if format == "sse" else frames(pb.Frame(end=pb.End(cursor="e-1", reason="ended"))))

    async with answering(answer) as url, node_client(node, url, format=format, pauseAfter=10, quiet=True) as client:
        await client.until("paused")
        await stopped.wait()
        assert sent * len(block) < 20_000_000
        await client.go_on()
        over = await client.over()
    assert over["count"] == blocks * 64
