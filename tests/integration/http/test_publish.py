"""Publishing over HTTP: what is stored, what is said, and what bad bodies get."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from tests.conftest import Running
from tests.integration.http.raw import Answer, get, parse_head, send

NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
BYTES = {"Content-Type": "application/octet-stream"}


async def stored(http: httpx.AsyncClient, stream: str, **query: str) -> list[Any]:
    """All values of a stream."""
    answer = await http.get(
        f"/v1/streams/{stream}", params={"from": "earliest", "until": "now", "format": "ndjson"} | query
    )
    if answer.status_code == 204:
        return []
    assert answer.status_code == 200, answer.text
    lines = [json.loads(line) for line in answer.text.split("\n") if line]
    return [line for line in lines if not (isinstance(line, dict) and {"$rat", "end"} & set(line))]


async def streamed(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_json_body_is_one_record(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/streams/a", json=[1, {"x": None}])
    assert answer.status_code == 200
    said = answer.json()
    assert said == {
        "stream": "a",
        "first": said["first"],
        "last": said["first"],
        "cursor": f"{said['epoch']}-{said['last']}",
        "stored": 1,
        "duplicates": 0,
        "epoch": said["epoch"],
    }
    assert await stored(http, "a") == [[1, {"x": None}]]


async def test_split_makes_each_item_a_record(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/streams/a?split=1&key=k&event=e", json=[1, "two", None])
    assert answer.json()["stored"] == 3
    records = await stored(http, "a", view="record")
    assert [(r["value"], r["key"], r["event"]) for r in records] == [(1, "k", "e"), ("two", "k", "e"), (None, "k", "e")]
    assert (await http.post("/v1/streams/a?split=1", json={"a": 1})).status_code == 400
    assert (await http.post("/v1/streams/a?split=1", content=b"x", headers=TEXT)).json()["field"] == "split"


@pytest.mark.parametrize(
    "media_type", ["application/x-ndjson", "application/jsonl", "APPLICATION/JSONL; charset=UTF-8"]
)
async def test_json_lines_are_records(http: httpx.AsyncClient, media_type: str) -> None:
    answer = await http.post("/v1/streams/a", content=b'1\r\n\n {"a": 2}\n"last"', headers={"Content-Type": media_type})
    assert answer.json()["stored"] == 3
    assert await stored(http, "a") == [1, {"a": 2}, "last"]


async def test_text_lines_are_records(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/streams/a", content="eins\r\n\n zwei\u2028\nübrig".encode(), headers=TEXT)
    assert answer.json()["stored"] == 4
    assert await stored(http, "a") == ["eins", "", " zwei\u2028", "übrig"]


async def test_bytes_come_out_as_they_went_in(http: httpx.AsyncClient) -> None:
    content = bytes(range(256)) * 1_000
    answer = await http.post("/v1/streams/a", content=content, headers=BYTES)
    assert answer.json()["stored"] == 4
    answer = await http.post(
        "/v1/streams/a", content=streamed([content[:7], content[7:90_000], content[90_000:]]), headers=BYTES
    )
    assert answer.json()["stored"] == 4
    read = await http.get("/v1/streams/a?from=earliest&until=now&format=chunked")
    assert read.content == content * 2


async def test_a_body_of_unknown_length_is_stored_as_it_comes(http: httpx.AsyncClient) -> None:
    first_is_there = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"1\n2\n3"
        await asyncio.wait_for(first_is_there.wait(), 10)
        yield b"4\n5\n"

    publish = asyncio.create_task(http.post("/v1/streams/a", content=body(), headers=NDJSON))
    while await stored(http, "a") != [1, 2]:
        await asyncio.sleep(0.01)
    first_is_there.set()
    assert (await publish).json()["stored"] == 4
    assert await stored(http, "a") == [1, 2, 34, 5]


async def test_a_large_body_is_stored_in_order(http: httpx.AsyncClient) -> None:
    lines = [b'{"n":%d,"pad":"%s"}\n' % (n, b"x" * 80) for n in range(60_000)]
    answer = await http.post("/v1/streams/a", content=b"".join(lines), headers=NDJSON)
    said = answer.json()
    assert (said["stored"], said["last"] - said["first"]) == (60_000, 59_999)
    assert [value["n"] for value in await stored(http, "a")] == list(range(60_000))


async def test_a_bad_line_in_one_piece_stores_nothing(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/streams/a", content=b"1\n2\n\n{nonsense\n4\n", headers=NDJSON)
    problem = answer.json()
    assert answer.status_code == 400
    assert problem["type"] == "/problems/invalid-value"
    assert "line 4" in problem["detail"]
    assert "stored" not in problem
    assert (await http.get("/v1/streams/a/info")).status_code == 404


async def test_a_bad_line_in_a_stream_says_what_was_stored(http: httpx.AsyncClient) -> None:
    good = [b'"%d"\n' % n * 1000 for n in range(20)]
    answer = await http.post("/v1/streams/a", content=streamed([*good, b"oops\n", b"1\n"]), headers=NDJSON)
    problem = answer.json()
    assert answer.status_code == 400
    assert "line 20001" in problem["detail"]
    kept = await stored(http, "a")
    assert problem["stored"] == len(kept)
    assert kept == [str(n) for n in range(20) for _ in range(1000)][: len(kept)]


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"[" * 33 + b"]" * 33,
        b"9" * 5_000,
        b"18446744073709551616",
        b"1e400",
        b"NaN",
        b"[1,]",
        b"\xef\xbb\xbf1",
        '{"a":1}'.encode("utf-16"),
        b'"\\ud800"',
        b'"\xff"',
        b" " * 1024,
        b'{"a":1} x',
        json.dumps(list(range(70_000))).encode(),
        json.dumps({str(n): n for n in range(10_001)}).encode(),
        json.dumps({"k" * 257: 1}).encode(),
        b"{'a':1}",
    ],
)
async def test_json_that_breaks_the_value_model_is_refused(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/v1/streams/a", content=content, headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-value")
    assert not await stored(http, "a")


async def test_of_a_name_that_comes_twice_the_last_value_wins(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams/a", content=b'{"a":1,"a":2}', headers=JSON)
    assert await stored(http, "a") == [{"a": 2}]


@pytest.mark.parametrize(
    "media_type",
    [
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "text/html",
        "text/plain; charset=utf-7",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "",
    ],
)
async def test_other_media_types_are_refused(http: httpx.AsyncClient, media_type: str) -> None:
    answer = await http.post("/v1/streams/a", content=b"1", headers={"Content-Type": media_type} if media_type else {})
    assert (answer.status_code, answer.json()["field"]) == (415, "content-type")
    assert "application/x-ndjson" in answer.json()["detail"] or "utf-8" in answer.json()["detail"]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, gzip"])
async def test_encoded_bodies_are_refused(http: httpx.AsyncClient, coding: str) -> None:
    headers = JSON | {"Content-Encoding": coding}
    answer = await http.post("/v1/streams/a", content=gzip.compress(b"0" * 10_000_000), headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (415, "content-encoding")


async def test_what_is_too_large_is_refused(server: Running, http: httpx.AsyncClient) -> None:
    limits = server.broker.settings.limits
    over = b'"' + b"a" * limits.value_bytes + b'"'
    for content, headers in ((over, JSON), (b"1\n" + over, NDJSON), (over, TEXT)):
        answer = await http.post("/v1/streams/a", content=content, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    answer = await http.post("/v1/streams/a", content=streamed([b"1\n", *[b"a" * 65536] * 17]), headers=NDJSON)
    assert (answer.status_code, answer.json()["stored"]) == (413, 1)
    assert "line 2" in answer.json()["detail"]
    head = get(
        "/v1/streams/b", "Content-Type: application/json", f"Content-Length: {limits.request_bytes + 1}", method="POST"
    )
    refused = await send(server.http_port, head)
    assert (refused.status, refused.closed) == (413, True)
    assert await stored(http, "b") == []


async def test_an_empty_body_is_refused(http: httpx.AsyncClient) -> None:
    for headers in (JSON, NDJSON, TEXT, BYTES):
        for content in (b"", streamed([])):
            answer = await http.post("/v1/streams/a", content=content, headers=headers)
            assert (answer.status_code, answer.json()["field"]) == (400, "body")
    assert (await http.post("/v1/streams/a", content=b"\n\n", headers=NDJSON)).status_code == 400


@pytest.mark.parametrize("name", ["*", ">", "a.*", "..", "a" * 201, "%C3%BC", "a b", ".a", "a%00b", "%20"])
async def test_bad_names_are_refused(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.post(f"/v1/streams/{name}", json=1)).status_code in (400, 404)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("key=a%0ab", "key"),
        ("key=" + "k" * 257, "key"),
        ("event=a%0d", "event"),
        ("event=gap", "event"),
        ("event=" + "e" * 129, "event"),
        ("evnet=a", "evnet"),
        ("producer=p", "producer"),
        ("sequence=1", "producer"),
        ("producer=p&sequence=0", "sequence"),
        ("producer=p&sequence=9223372036854775808", "sequence"),
        ("producer=p&sequence=-1", "sequence"),
        ("producer=%20&sequence=1", "producer.id"),
        ("producer=p&sequence=1&producer_epoch=x", "producer_epoch"),
    ],
)
async def test_bad_parameters_are_named(http: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await http.post(f"/v1/streams/a?{query}", json=1)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert (await http.get("/v1/streams/a/info")).status_code == 404


async def test_an_ended_stream_takes_nothing(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams/a", json=1)
    await http.post("/v1/streams/a/end")
    answer = await http.post("/v1/streams/a", json=2)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/stream-ended")
    answer = await http.post("/v1/streams/a", content=streamed([b"1\n"] * 3), headers=NDJSON)
    assert answer.status_code == 409
    assert await stored(http, "a") == [1]


async def test_a_retry_with_an_idempotency_key_stores_nothing_twice(http: httpx.AsyncClient) -> None:
    headers = NDJSON | {"Idempotency-Key": "6f1c-77"}
    first = (await http.post("/v1/streams/a", content=b"1\n2\n3\n", headers=headers)).json()
    again = (await http.post("/v1/streams/a", content=b"1\n2\n3\n", headers=headers)).json()
    assert again == first | {"stored": 0, "duplicates": 3}
    other = await http.post("/v1/streams/b", content=b"1\n", headers=headers)
    assert other.json()["stored"] == 1
    assert await stored(http, "a") == [1, 2, 3]
    for key in ("", "a b", "k" * 256):
        answer = await http.post("/v1/streams/a", content=b"1\n", headers=NDJSON | {"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["field"]) == (400, "idempotency-key")


async def test_a_numbered_producer_is_held_to_its_numbers(http: httpx.AsyncClient) -> None:
    url = "/v1/streams/a?producer=p&producer_epoch=2&sequence="
    assert (await http.post(url + "1", content=b"1\n2\n", headers=NDJSON)).json()["stored"] == 2
    assert (await http.post(url + "2", content=b"2\n3\n", headers=NDJSON)).json()["stored"] == 1
    jump = await http.post(url + "9", json=9)
    assert (jump.status_code, jump.json()["type"]) == (409, "/problems/out-of-sequence")
    fenced = await http.post("/v1/streams/a?producer=p&producer_epoch=1&sequence=4", json=4)
    assert (fenced.status_code, fenced.json()["type"]) == (409, "/problems/producer-fenced")
    assert await stored(http, "a") == [1, 2, 3]


async def test_a_body_that_stops_half_way_leaves_what_was_acknowledged(
    server: Running, http: httpx.AsyncClient
) -> None:
    post = ("Content-Type: application/x-ndjson",)
    _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(get("/v1/streams/whole", *post, "Content-Length: 100", method="POST") + b"1\n2\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(get("/v1/streams/pieces", *post, "Transfer-Encoding: chunked", method="POST") + b"6\r\n1\n2\n33\r\n")
    while await stored(http, "pieces") != [1, 2]:
        await asyncio.sleep(0.01)
    writer.transport.abort()
    await http.post("/v1/streams/pieces", json="later")
    assert await stored(http, "pieces") == [1, 2, "later"]
    assert await stored(http, "whole") == []


async def test_a_body_that_pauses_too_long_is_refused(
    run_server: Callable[..., AbstractAsyncContextManager[Running]],
) -> None:
    async with run_server(limits={"body_timeout_s": 0.2}) as server:
        head = get("/v1/streams/a", "Content-Type: text/plain", "Content-Length: 10", method="POST")
        answer = await send(server.http_port, head + b"half")
        assert (answer.status, answer.problem()["field"], answer.closed) == (408, "body", True)


async def trickled(port: int, framing: str, pieces: list[bytes], media_type: str = "text/plain") -> Answer:
    """The answer to a body that comes piece by piece, 0.1 s apart, for as long as there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    writer.write(get("/v1/streams/a", f"Content-Type: {media_type}", framing, method="POST"))
    for piece in pieces:
        await asyncio.wait({answered}, timeout=0.1)
        if answered.done():
            break
        writer.write(piece)
    status, headers = parse_head(await asyncio.wait_for(answered, 10))
    body = await reader.readexactly(int(headers["content-length"]))
    writer.transport.abort()
    return Answer(status, headers, body, headers.get("connection") == "close")


DROPS = [b"4\r\n[1]\n\r\n"] * 10


@pytest.mark.parametrize(
    ("framing", "media_type", "pieces", "status"),
    [
        ("Content-Length: 20", "text/plain", [b"a\n"] * 10, 408),
        ("Content-Length: 4000", "text/plain", [b"a" * 399 + b"\n"] * 10, 200),
        ("Content-Length: 20", "text/plain", [b"a" * 20], 200),
        ("Transfer-Encoding: chunked", "application/json", DROPS, 408),
        ("Transfer-Encoding: chunked", "application/x-ndjson", [*DROPS, b"0\r\n\r\n"], 200),
    ],
)
async def test_a_body_must_keep_to_the_least_rate_unless_it_is_slow_by_nature(
    run_server: Callable[..., AbstractAsyncContextManager[Running]],
    framing: str,
    media_type: str,
    pieces: list[bytes],
    status: int,
) -> None:
    async with run_server(limits={"body_timeout_s": 0.5, "body_bytes_per_s": 2_000}) as server:
        answer = await trickled(server.http_port, framing, pieces, media_type)
        assert answer.status == status, answer
        if status == 408:
            assert (answer.problem()["field"], answer.closed) == ("body", True)
            assert "2000 bytes/s" in answer.problem()["detail"]
            assert not server.broker.list()


async def test_a_rate_of_nothing_asks_for_none(run_server: Callable[..., AbstractAsyncContextManager[Running]]) -> None:
    async with run_server(limits={"body_timeout_s": 0.5, "body_bytes_per_s": 0}) as server:
        assert (await trickled(server.http_port, "Content-Length: 20", [b"a\n"] * 10)).status == 200


async def test_time_in_which_the_service_takes_nothing_does_not_count_against_a_body(
    run_server: Callable[..., AbstractAsyncContextManager[Running]],
) -> None:
    limits = {"body_timeout_s": 0.2, "body_bytes_per_s": 1_000_000, "request_bytes": 2_048, "value_bytes": 1_024}
    async with run_server(limits={**limits, "batch_records": 1_000}) as server:
        room = server.broker.wait_for_room

        async def later() -> None:
            await asyncio.sleep(0.02)
            await room()

        server.broker.wait_for_room = later  # type: ignore[method-assign]
        body = b"".join(b"%d\n" % n for n in range(50_000))  # over a request in one piece: stored as it comes
        async with httpx.AsyncClient(base_url=server.http_url, timeout=60) as http:
            answer = await http.post("/v1/streams/a", content=body, headers=NDJSON)
        assert answer.json()["stored"] == 50_000


async def test_a_full_queue_holds_the_client_back(
    run_server: Callable[..., AbstractAsyncContextManager[Running]],
) -> None:
    async with run_server(limits={"queue_records": 1}) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        answer = await http.post("/v1/streams/a", content=streamed([b"1\n2\n3\n"] * 500), headers=NDJSON)
        assert answer.json()["stored"] == 1_500
        assert len(await stored(http, "a")) == 1_500
