"""client.js in Node.js: refusals, tokens, connections that are dead or cut, and hostile bytes."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from rat.v1 import record_pb2 as pb
from rat.v1.value_pb2 import DataValue

from ratsvc.client import Producer
from ratsvc.core.run import varint
from tests.conftest import Running, running
from tests.e2e.client_js import BINARY_HEAD, SSE_HEAD, START, answering, frames, node_client, problem, read_with
from tests.e2e.conftest import HERE

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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("format", ["sse", "binary"])
async def test_a_ticket_that_runs_out_is_renewed_and_no_record_is_lost(node: str, format: str) -> None:
    """In front of the service is a guard that takes each ticket for 8 kB."""
    values = [f"record {n} {'x' * 60}" for n in range(600)]
    refused, used = [], []
    async with running(retry_ms=100, compression={"enabled": False}) as server:
        async with Producer(server.grpc_addr, max_batch_records=20) as producer:
            for value in values:
                await producer.send("s", value)
        await server.broker.end("s")

        async def guard(number: int, head: str, writer: asyncio.StreamWriter) -> None:
            ticket = re.search(r"authorization: bearer (\S+)", head, re.I)
            assert ticket is not None
            if ticket[1] in used:
                refused.append(ticket[1])
                writer.write(problem("401 Unauthorized", '{"detail":"the ticket has run out"}'))
                return
            used.append(ticket[1])
            there, back = await asyncio.open_connection("127.0.0.1", server.http_port)
            back.write(f"{head[:-2]}Connection: close\r\n\r\n".encode())
            left = 8_000
            while left and (data := await there.read(left)):
                writer.write(data)
                left -= len(data)
            back.transport.abort()

        async with answering(guard) as url:
            tickets = [f"ticket-{n // 2}" for n in range(100)]  # each is kept until it is refused
            read = await read_with(node, f"{url}?from=earliest", format=format, tokens=tickets, retry=1)
    assert read.values() == values
    assert len(refused) >= 3
    assert refused == used[: len(refused)]
    assert read.all("asked") == [False, *[False, True] * len(refused)]
    assert [end["reason"] for end in read.all("end")] == ["ended"]
    assert (read.all("error"), read.all("gap")) == ([], [])


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
    assert read.all("state").count("reconnecting") in (
        1,
        2,
    )  # Node.js 24 asks again by itself after a head that was cut


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
    ("binary", nested(5_000)),
    ("binary", packed(b"\xdd\xff\xff\xff\xff")), ("binary", packed(b"\xdf\xff\xff\xff\xff\x01")),
    ("binary", packed(b"\x91" * 100 + b"\xc0")), ("binary", packed(b"\x91" * 100_000)), ("binary", packed(b"")),
    ("binary", packed(b"\xc1")), ("binary", packed(b"\xc0\xc0")), ("binary", packed(b"\xdb\x7f\xff\xff\xffab")),
    ("binary", packed(b"\xc6\xff\xff\xff\xff")), ("binary", packed(b"\xd6\x05aaaa")),
    ("binary", packed(b"\xc7\x05\xffaaaaa")),
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
            node,
            str(HERE / "node/hostile.mjs"),
            url,
            json.dumps([format for format, _ in HOSTILE]),
            stdout=-1,
            stderr=-1,
        )
        out, errors = await process.communicate()
    assert errors.decode() == ""
    found = json.loads(out)
    assert [one for one in found if one["name"] != "RatError" or one["status"] != 200] == []
    assert (len(found), served) == (len(HOSTILE), len(HOSTILE))


async def test_an_event_or_frame_that_never_ends_is_an_error(node: str) -> None:
    for format, begin in [("sse", SSE_HEAD + b"data: "), ("binary", BINARY_HEAD + b"\xff\xff\x7f")]:
        sent = 0

        async def answer(number: int, head_: str, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(begin)  # noqa: B023
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 1

        async with answering(answer) as url:
            read = await read_with(node, url, format=format, maxBytes=1_000_000)
        (error,) = read.all("error")
        assert "cut short, too large" in error["detail"]
        assert sent < 200
