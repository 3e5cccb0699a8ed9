"""client.js in Node.js: types, resume, gaps, ends, back-pressure, refusals and hostile bytes."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import subprocess
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
from ratsvc.core.run import varint
from tests.conftest import Running, running
from tests.e2e.client_js import BINARY_HEAD, SSE_HEAD, answering, node_client, problem, read_with
from tests.e2e.conftest import HERE
from tests.proxy import cutting

FORMATS = ["sse", "binary"]
PACKAGE = Path(ratsvc.__file__).parent / "web/client"
MOST_MINIFIED_BYTES = 8_000
WHEN = datetime(1969, 12, 31, 23, 59, 59, 678901, UTC)


def big(value: int) -> dict[str, str]:
    return {"bigint": str(value)}


def frames(*some: pb.Frame) -> bytes:
    return b"".join(varint(one.ByteSize()) + one.SerializeToString() for one in some)


START = pb.Frame(start=pb.Start(cursor="e-0", epoch="e"))


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


DOCUMENT = '{"i":1,"f":1.0,"e":1e3,"n":9007199254740993,"s":"12345678901234567890 \\"-7\\" \\\\","a":[-1,{}]}'
TEXT = '12345678901234567890 "-7" \\'


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("int64", ["bigint", "number"])
async def test_integers_in_json_are_exact(server: Running, node: str, format: str, int64: str) -> None:
    async with httpx.AsyncClient() as http:
        await http.post(f"{server.http_url}/v1/streams/s", content=DOCUMENT, headers={"Content-Type": "application/json"})
    url = f"{server.http_url}/v1/streams/s?from=earliest&until=now"
    (value,) = (await read_with(node, url, format=format, int64=int64)).values()
    one, minus = (big(1), big(-1)) if int64 == "bigint" else (1, -1)
    assert value == {"i": one, "f": 1.0, "e": 1000, "n": big(2**53 + 1), "s": TEXT, "a": [minus, {}]}


@pytest.mark.parametrize("format", FORMATS)
async def test_a_record_has_all_that_it_was_published_with(server: Running, node: str, format: str) -> None:
    async with Producer(server.grpc_addr) as producer:
        await producer.publish("a.b", 1, key="k", event="e", headers={"h": "v"})
        await producer.publish("a.c", 2)
    read = await read_with(node, f"{server.http_url}/v1/streams/a.*?until=now", format=format, int64="number", **{"from": -5})
    epoch = server.broker.epoch
    first, second = read.all("record")
    assert datetime.fromisoformat(first.pop("time")["date"]) <= datetime.now(UTC)
    assert first == {"stream": "a.b", "offset": big(1), "cursor": f"{epoch}-1", "key": "k", "event": "e",
                     "headers": {"h": "v"}, "value": 1}  # fmt: skip
    assert (second["stream"], second["offset"], second["key"], second["event"], second["headers"]) == (
        "a.c", big(2), "", "", {},
    )  # fmt: skip
    filtered = await read_with(node, f"{server.http_url}/v1/streams/a.*?until=now&key=k", format=format, **{"from": -5})
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


TOTAL = 1_500


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
    most = 12_000 if format == "sse" else 3_000
    async with running(retry_ms=100) as server, cutting(server.http_port, most, seed=21) as proxy:
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
    async with running(retry_ms=100) as server, cutting(server.http_port, 20_000 if format == "sse" else 3_000, seed=5) as proxy:
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
    async with running(retry_ms=100, subscription_lifetime_s=0.3) as server:
        publishing = asyncio.create_task(publish_numbers(server))
        read = await read_with(node, f"{server.http_url}/v1/streams/s?from=earliest", format=format, int64="number")
        await publishing
    assert read.values() == list(range(TOTAL))
    assert "lifetime" in [said["reason"] for said in read.said if said.get("state") == "reconnecting"]


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
    assert over | {"peak": 0} == {"count": 3, "cursor": f"{server.broker.epoch}-3", "state": "closed", "peak": 0}
    assert not client.all("error")


BLOCK = b"".join(b'id: e-%d\ndata: {"cursor":"e-%d","offset":%d,"stream":"s","time":"2026-01-01T00:00:00Z","value":"%b"}\n\n'
                 % (n, n, n, b"x" * 1000) for n in range(64))  # fmt: skip
FRAME = frames(pb.Frame(batch=pb.RecordBatch(
    stream="s", first_offset=1, records=[pb.Record(value=DataValue(string_value="x" * 1000))] * 64,
)))  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
async def test_a_slow_reader_stops_reading_the_socket(node: str, format: str) -> None:
    block, head = (BLOCK, SSE_HEAD) if format == "sse" else (FRAME, BINARY_HEAD + frames(START))
    blocks = 3_000  # 200 MB
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
        before = (await client.until("paused"))["paused"]["rss"]
        await stopped.wait()
        assert sent * len(block) < 20_000_000
        await client.go_on()
        over = await client.over()
    assert over["count"] == blocks * 64
    assert over["peak"] < before + 150_000_000


EVENT = b'id: e-1\ndata: {"cursor":"e-1","offset":1,"stream":"s","time":"2026-01-01T00:00:00Z","value":1}\n\n'


async def test_a_refusal_is_an_error_with_what_the_service_said(server: Running, node: str) -> None:
    for query, status, kind, word in [
        ("from=what", 400, "/problems/invalid-argument", "from must be"),
        ("must_exist=1", 404, "/problems/stream-not-found", "no stream"),
    ]:
        read = await read_with(node, f"{server.http_url}/v1/streams/s?{query}")
        (error,) = read.all("error")
        assert (error["name"], error["isRatError"], error["status"], error["type"]) == ("RatError", True, status, kind)
        assert word in error["detail"] == error["message"]
        assert read.all("state") == ["connecting", "failed"]
    (error,) = (await read_with(node, f"{server.http_url}/nothing/here", onRecord=True)).all("error")
    assert error["status"] == 404


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "500 Internal Server Error"])
async def test_it_comes_back_after_what_may_pass(node: str, status: str) -> None:
    async def answer(number: int, head: str, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.write(problem(status, '{"detail":"not now"}', "Retry-After: 1\r\n"))
        else:
            writer.write(SSE_HEAD + EVENT)

    async with answering(answer) as url:
        async with node_client(node, url, stopAfter=1, how="break", retry=20_000) as client:
            await client.over()
    (said,) = [said for said in client.said if said.get("state") == "reconnecting"]
    assert said["reason"] == "not now"
    assert 1_000 <= said["wait"] <= 1_500
    assert client.values() == [1]


async def test_a_service_that_cannot_be_reached_is_an_error_after_as_many_tries_as_were_allowed(node: str) -> None:
    async with answering(lambda *_: asyncio.sleep(0)) as url:
        pass
    read = await read_with(node, url, retries=2, retry=1)
    assert [error["isRatError"] for error in read.all("error")] == [False]
    assert read.all("state").count("reconnecting") == 2


async def test_a_token_is_asked_for_before_each_connection_and_once_more_after_a_401(node: str) -> None:
    seen: list[str] = []

    async def answer(number: int, head: str, writer: asyncio.StreamWriter) -> None:
        seen.append(next((line for line in head.split("\r\n") if line.lower().startswith("authorization")), ""))
        writer.write(problem("401 Unauthorized") if number in (1, 4, 5) else SSE_HEAD + EVENT)

    async with answering(answer) as url:
        read = await read_with(node, url, tokens=["a", "b", "c", "d", "e"], retry=1)
    assert [line.partition(" ")[2] for line in seen] == [f"Bearer {one}" for one in "abcde"]
    assert read.all("asked") == [False, True, False, False, True]
    assert [error["status"] for error in read.all("error")] == [401]
    assert read.values() == [1, 1]
    seen.clear()
    async with answering(answer) as url:
        read = await read_with(node, url, token="t")
    assert [line.partition(" ")[2] for line in seen] == ["Bearer t"]
    assert [error["status"] for error in read.all("error")] == [401]


@pytest.mark.parametrize("head", [b"", SSE_HEAD])
async def test_a_connection_that_shows_no_sign_of_life_is_given_up(node: str, head: bytes) -> None:
    async def answer(number: int, head_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        if number == 1:
            await asyncio.sleep(30)
        writer.write(SSE_HEAD[len(head) :] + EVENT)

    async with answering(answer) as url:
        async with node_client(node, f"{url}?heartbeat=0.2", stopAfter=1, how="break", retry=1) as client:
            await client.over()
    assert [said["reason"] for said in client.said if said.get("state") == "reconnecting"] == ["no sign of life"]


async def test_a_head_that_was_cut_is_a_lost_connection_and_another_media_type_an_error(node: str) -> None:
    async def answer(number: int, head: str, writer: asyncio.StreamWriter) -> None:
        html = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<h1>"
        writer.write([b"", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 OK\r\nConte", html][number])

    async with answering(answer) as url:
        read = await read_with(node, url, retry=1)
    assert [(error["status"], error["detail"]) for error in read.all("error")] == [(200, "it answers with text/html")]
    assert read.all("state").count("reconnecting") == 2


def nested(depth: int) -> bytes:
    value = DataValue(bool_value=True).SerializeToString()
    for _ in range(depth):
        inner = b"\x0a" + varint(len(value)) + value
        value = b"\x4a" + varint(len(inner)) + inner
    return batch_of(value)


def batch_of(value: bytes) -> bytes:
    record = b"\x0a" + varint(len(value)) + value
    batch = b"\x0a\x01s\x12" + varint(len(record)) + record
    frame = b"\x12" + varint(len(batch)) + batch
    return varint(len(frame)) + frame


def packed(document: bytes) -> bytes:
    return batch_of(DataValue(packed=document).SerializeToString())


HOSTILE = [
    ("binary", b"\xff\xff\xff\xff\x0f"), ("binary", b"\x80" * 40), ("binary", b"\x81\x80\x80\x80\x80\x80\x80\x01"),
    ("binary", b"\x01\xff"), ("binary", b"\x02\x12\x7f"), ("binary", b"\x02\x3a\x00"), ("binary", b"\x01\x00"),
    ("binary", b"\x02\x13\x14"), ("binary", b"\x0b" + b"\xff" * 11), ("binary", batch_of(b"")),
    ("binary", batch_of(b"\xfa\x01\x00")), ("binary", batch_of(b"\x32\x02\xff\xfe")), ("binary", nested(100)),
    ("binary", nested(5_000)), ("binary", packed(b"\xdd\xff\xff\xff\xff")), ("binary", packed(b"\xdf\xff\xff\xff\xff\x01")),
    ("binary", packed(b"\x91" * 100 + b"\xc0")), ("binary", packed(b"\x91" * 100_000)), ("binary", packed(b"")),
    ("binary", packed(b"\xc1")), ("binary", packed(b"\xc0\xc0")), ("binary", packed(b"\xdb\x7f\xff\xff\xffab")),
    ("binary", packed(b"\xc6\xff\xff\xff\xff")), ("binary", packed(b"\xd6\x05aaaa")), ("binary", packed(b"\xc7\x05\xffaaaaa")),
    ("binary", packed(b"\xcf\x01")), ("binary", packed(b"\xa2\xff\xfe")),
    ("binary", batch_of(DataValue(json=b"{").SerializeToString())),
    ("binary", frames(pb.Frame(batch=pb.RecordBatch(
        stream="s", offsets=[1, 2], records=[pb.Record(value=DataValue(bool_value=True))] * 3)))),
    ("sse", b"data: {\n\n"), ("sse", b"data: null\n\n"), ("sse", b"data: 7\n\n"), ("sse", b'data: {"offset":"x"}\n\n'),
    ("sse", b"event: gap\ndata: nothing\n\n"), ("sse", b"event: end\ndata: null\n\n"), ("sse", b"data: \xff\n\n"),
]  # fmt: skip


@pytest.mark.timeout(60)
async def test_bytes_that_make_no_sense_are_an_error(node: str) -> None:
    served = 0

    async def answer(number: int, head: str, writer: asyncio.StreamWriter) -> None:
        format, body = HOSTILE[int(head.partition("n=")[2].split("&")[0].split(" ")[0])]
        nonlocal served
        served += 1
        writer.write((SSE_HEAD if format == "sse" else BINARY_HEAD + frames(START)) + body)

    async with answering(answer) as url:
        process = await asyncio.create_subprocess_exec(
            node, str(HERE / "node/hostile.mjs"), url, json.dumps([format for format, _ in HOSTILE]), stdout=-1, stderr=-1
        )
        out, errors = await process.communicate()
    assert errors.decode() == ""
    found = json.loads(out)
    assert [one for one in found if one["name"] != "RatError" or one["status"] != 200] == []
    assert (len(found), served) == (len(HOSTILE), len(HOSTILE))


async def test_an_event_or_frame_that_never_ends_is_an_error(node: str) -> None:
    for format, head, piece in [("sse", SSE_HEAD, b"data: " + b"x" * 65_536), ("binary", BINARY_HEAD, b"\xff\xff\x7f" + b"x" * 65_536)]:
        sent = 0

        async def answer(number: int, head_: str, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(head)  # noqa: B023
            while True:
                writer.write(piece)  # noqa: B023
                await writer.drain()
                sent += 1

        async with answering(answer) as url:
            read = await read_with(node, url, format=format, maxBytes=1_000_000)
        (error,) = read.all("error")
        assert "cut short, too large" in error["detail"]
        assert sent < 200


def esbuild() -> Path:
    return HERE / "node_modules/.bin/esbuild"


def test_it_is_small(node: str) -> None:
    sizes = {}
    for name in ("client.js", "client-more.js"):
        command = [str(esbuild()), str(PACKAGE / name), "--minify", "--format=esm", "--target=es2022"]
        sizes[name] = len(subprocess.run(command, capture_output=True, check=True).stdout)
    assert sizes["client.js"] < MOST_MINIFIED_BYTES, sizes


def test_its_types_are_right(node: str) -> None:
    command = [str(HERE / "node_modules/.bin/tsc"), "--noEmit", "-p", str(HERE / "node/types/tsconfig.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_its_package_has_what_it_needs_and_nothing_else(node: str, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    assert npm is not None
    package = tmp_path / "client"
    shutil.copytree(PACKAGE, package)
    done = subprocess.run([npm, "pack", "--dry-run", "--json"], cwd=package, capture_output=True, text=True, timeout=60)
    (found,) = json.loads(done.stdout)
    assert found["name"] == "ratsvc-client"
    assert {file["path"] for file in found["files"]} == {file.name for file in PACKAGE.iterdir()}
    assert found["version"] == json.loads((PACKAGE / "package.json").read_text())["version"]
    program = 'import { subscribe, RatError } from "ratsvc-client"; console.log(typeof subscribe, typeof RatError)'
    (tmp_path / "node_modules").mkdir()
    shutil.copytree(package, tmp_path / "node_modules/ratsvc-client")
    ran = subprocess.run([node, "--input-type=module", "-e", program], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == "function function\n", ran.stderr
