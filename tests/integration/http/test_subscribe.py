"""Reading over HTTP: parameters, formats, positions, and what bad requests get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import httpx_sse
import pytest

from ratsvc.http_api import delivery
from tests.conftest import Running
from tests.integration.http.raw import get, parse_head, send

SSE = {"Accept": "text/event-stream"}


async def publish(http: httpx.AsyncClient, stream: str, *values: object, **query: str) -> list[str]:
    """Publishes values one by one; their cursors."""
    answers = [await http.post(f"/v1/streams/{stream}", params=query, json=value) for value in values]
    return [answer.json()["cursor"] for answer in answers]


async def lines(http: httpx.AsyncClient, stream: str, **query: str) -> list[object]:
    """What a read that ends gives, as JSON lines, without control lines."""
    answer = await http.get(f"/v1/streams/{stream}", params={"from": "earliest", "until": "now"} | query)
    assert answer.status_code == 200, answer.text
    found = [json.loads(line) for line in answer.text.split("\n") if line]
    return [one for one in found if not (isinstance(one, dict) and "$rat" in one)]


async def next_event(source: httpx_sse.EventSource) -> httpx_sse.ServerSentEvent:
    """The next event as a browser dispatches it: httpx-sse also gives blocks without data."""
    return await anext(event async for event in source.aiter_sse() if event.data)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
        ("text/event-stream", "text/event-stream"),
        ("application/json-seq", "application/json-seq"),
        ("text/plain", "text/plain"),
        ("application/octet-stream", "application/octet-stream"),
        ("application/vnd.rat.v1.frames+protobuf", "application/vnd.rat.v1.frames+protobuf"),
        ("application/json", "application/json"),
        ("text/event-stream;q=0.5, text/plain", "text/plain"),
    ],
)
async def test_accept_decides_the_format(http: httpx.AsyncClient, accept: str | None, media_type: str) -> None:
    await publish(http, "a", "x")
    http.headers.pop("accept")
    headers = {} if accept is None else {"Accept": accept}
    query = {"from": "earliest"} | ({} if media_type == "application/json" else {"until": "now"})
    answer = await http.get("/v1/streams/a", params=query, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "accept" in answer.headers["vary"].lower()


async def test_an_accept_that_nothing_satisfies_is_406(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/streams/a", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["type"]) == (406, "/problems/not-acceptable")


@pytest.mark.parametrize(("target", "page"), [("/v1/streams/a.b", "a.b"), ("/v1/streams/a.%3E", "a.%3E")])
async def test_a_browser_that_goes_there_is_sent_to_the_page(http: httpx.AsyncClient, target: str, page: str) -> None:
    accept = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
    answer = await http.get(target, headers=accept)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/?stream={page}")
    answer = await http.get("/v1/subscribe?stream=a&stream=b.*", headers=accept)
    assert answer.headers["location"] == "/ui/?stream=a&stream=b.%2A"
    answer = await http.get(f"{target}?format=ndjson&until=now", headers=accept)
    assert answer.headers["content-type"].startswith("application/x-ndjson")


async def test_every_sse_response_begins_with_its_place(server: Running, http: httpx.AsyncClient) -> None:
    cursors = await publish(http, "a", "one", "two")
    async with httpx_sse.aconnect_sse(http, "GET", "/v1/streams/a", params={"from": cursors[0]}) as source:
        assert source.response.headers["rat-cursor"] == cursors[0]
        assert source.response.headers["x-accel-buffering"] == "no"
        events = (event async for event in source.aiter_sse() if event.data)
        event = await anext(events)
        assert (event.event, event.data, event.id) == ("message", "two", cursors[1])
        await publish(http, "a", "three")
        assert (await anext(events)).data == "three"
    while server.broker.subscriptions:
        await asyncio.sleep(0.01)


async def test_positions_and_filters(http: httpx.AsyncClient) -> None:
    one, *_ = await publish(http, "a", 1, 2, key="k", event="e")
    await publish(http, "a", 3, key="l")
    assert await lines(http, "a") == [1, 2, 3]
    assert await lines(http, "a", **{"from": "-1"}) == [3]
    assert await lines(http, "a", **{"from": "2000-01-01T00:00:00+00:00"}) == [1, 2, 3]
    assert await lines(http, "a", **{"from": one}) == [2, 3]
    assert await lines(http, "a", last_event_id=one) == [2, 3]
    assert await lines(http, "a", key="l") == [3]
    assert await lines(http, "a", event="e") == [1, 2]
    assert await lines(http, "a", limit="1") == [1]
    assert await lines(http, "a", until=one) == [1]
    assert await lines(http, "*", _="1", lastEventId="x") == [1, 2, 3]
    assert await lines(http, "a", view="record", limit="1") != [1]


async def test_an_offset_in_the_url_may_be_written_with_a_bare_plus(http: httpx.AsyncClient) -> None:
    await publish(http, "a", 1)
    answer = await http.get("/v1/streams/a?until=now&from=2000-01-01T00:00:00+01:00")
    assert answer.text.startswith("1\n")


async def test_many_streams_come_in_one_order(http: httpx.AsyncClient) -> None:
    for at in range(6):
        await publish(http, "abc"[at % 3], at)
    answer = await http.get("/v1/subscribe?stream=a&stream=c&from=earliest&until=now")
    assert [json.loads(one) for one in answer.text.splitlines()[:4]] == [0, 2, 3, 5]


async def test_the_header_wins_over_the_query(http: httpx.AsyncClient) -> None:
    first, second, _ = await publish(http, "a", 1, 2, 3)
    query = {"from": "earliest", "last_event_id": first, "until": "now", "format": "ndjson"}
    answer = await http.get("/v1/streams/a", params=query, headers={"Last-Event-ID": second})
    assert answer.headers["rat-cursor"] == second
    assert answer.text.startswith("3\n")
    answer = await http.get("/v1/streams/a", params=query)
    assert answer.text.startswith("2\n")


@pytest.mark.parametrize(
    "bad", ["x", "1", "-1", "' OR 1=1", "abc-18446744073709551616", "%61-1", "a" * 10_000, "a-01", "é-1"]
)
async def test_a_malformed_position_is_refused(server: Running, bad: str) -> None:
    answer = await send(server.http_port, get("/v1/streams/a", f"Last-Event-ID: {bad}"))
    assert (answer.status, answer.problem()["field"]) == (400, "last-event-id")
    answer = await send(server.http_port, get("/v1/streams/a", "Last-Event-ID: abc-1", "Last-Event-ID: abc-1"))
    assert answer.status == 400


async def test_a_position_of_another_epoch_or_the_future_is_a_gap(http: httpx.AsyncClient) -> None:
    [cursor] = await publish(http, "a", 1)
    epoch = cursor.partition("-")[0]
    for place in ("0other0-3", f"{epoch}-999999", "abc-18446744073709551615"):
        query = {"format": "ndjson", "until": "now", "last_event_id": place}
        answer = await http.get("/v1/streams/a", params=query)
        assert answer.status_code == 200
        assert f'from="{place}"' in answer.headers["rat-gap"]
        assert "reason=epoch" in answer.headers["rat-gap"]
        gap, record, *_ = answer.text.splitlines()
        assert json.loads(gap)["$rat"]["gap"]["from"] == place
        assert record == "1"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("from=-0", "from"),
        ("from=2026-02-30T00:00:00Z", "from"),
        ("last_event_id=x", "last_event_id"),
        ("limit=0", "limit"),
        ("limit=ten", "limit"),
        ("limit=9999999999999999999999", "limit"),
        ("until=never", "until"),
        ("until=other-1", "until"),
        ("format=page&until=other-1", "until"),
        ("format=sse&until=other-1", "until"),
        ("heartbeat=0", "heartbeat"),
        ("heartbeat=3601", "heartbeat"),
        ("heartbeat=NaN", "heartbeat"),
        ("format=xml", "format"),
        ("view=all", "view"),
        ("int64=text", "int64"),
        ("overflow=block", "overflow"),
        ("snapshot=all", "snapshot"),
        ("must_exist=maybe", "must_exist"),
        ("wait=1", "wait"),
        ("format=page&wait=61", "wait"),
        ("format=page&limit=10001", "limit"),
        ("key=" + "k" * 257, "key"),
        ("event=end", "event"),
        ("stream=b", "stream"),
        ("cursor=1", "cursor"),
    ],
)
async def test_bad_parameters_are_named(server: Running, http: httpx.AsyncClient, query: str, field: str) -> None:
    await publish(http, "a", 1)
    answer = await http.get(f"/v1/streams/a?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert not server.broker.subscriptions


@pytest.mark.parametrize(
    "query",
    [
        "",
        "&".join(f"stream=s{at}" for at in range(129)),
        "stream=" + "a" * 7_000,
        "stream=(a%2B)%2B$",
        "stream=a.%3E.b",
        "stream=",
    ],
)
async def test_bad_sets_of_streams_are_refused(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/v1/subscribe?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, "stream")


async def test_a_stream_that_does_not_exist_is_waited_for_and_not_made(
    server: Running, http: httpx.AsyncClient
) -> None:
    for query in ("must_exist=1", "format=page"):
        answer = await http.get(f"/v1/streams/none?{query}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/stream-not-found")
    async with httpx_sse.aconnect_sse(http, "GET", "/v1/streams/none") as source:
        assert not server.broker.list()
        await publish(http, "none", "now it does")
        assert (await next_event(source)).data == "now it does"


async def test_a_page_is_read_at_once_or_waited_for(http: httpx.AsyncClient) -> None:
    await publish(http, "a", 1, 2)
    page = (await http.get("/v1/streams/a?format=page&from=earliest&limit=1")).json()
    assert len(page["records"]) == 1
    rest = asyncio.create_task(http.get("/v1/streams/a", params={"format": "page", "from": page["next"]}))
    assert len((await rest).json()["records"]) == 1
    waiting = asyncio.create_task(http.get("/v1/streams/a?format=page&wait=20"))
    while not waiting.done():
        await publish(http, "a", 3)
    assert (await waiting).json()["records"]


async def test_a_page_is_bounded_in_bytes_and_read_on_from(http: httpx.AsyncClient) -> None:
    await publish(http, "a", *[str(at) * 900_000 for at in range(9)])
    firsts, place = "", "earliest"
    while len(firsts) < 9:
        answer = await http.get("/v1/streams/a", params={"format": "page", "from": place})
        assert len(answer.content) < 6 * 1024 * 1024
        firsts += "".join(record[0] for record in answer.json()["records"])
        place = answer.json()["next"]
    assert firsts == "012345678"


async def test_an_ended_stream_with_nothing_left_is_204(http: httpx.AsyncClient) -> None:
    [cursor] = await publish(http, "a", "x")
    await http.post("/v1/streams/a/end")
    answer = await http.get("/v1/streams/a", headers=SSE | {"Last-Event-ID": cursor})
    assert (answer.status_code, answer.content) == (204, b"")
    answer = await http.get("/v1/streams/a?from=earliest", headers=SSE)
    assert answer.status_code == 200
    assert "data: x\n" in answer.text
    assert answer.text.rstrip("\n").rpartition("\n\n")[2].count("event: end") == 1


async def test_head_and_options_open_no_subscription(server: Running, http: httpx.AsyncClient) -> None:
    for target in ("/v1/streams/a", "/v1/subscribe?stream=a", "/v1/streams/a?format=page"):
        answer = await http.head(target, headers=SSE)
        assert (answer.status_code, answer.content) == (200, b"")
        assert "content-length" not in answer.headers
        assert not server.broker.subscriptions
    assert (await http.head("/v1/streams/a?limit=x")).status_code == 400
    answer = await http.options("/v1/streams/a")
    assert (answer.status_code, answer.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, POST, PUT")
    assert (await http.options("/nothing")).status_code == 404
    assert (await http.options("/v1/streams")).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_conditional_and_range_requests_are_ignored(http: httpx.AsyncClient) -> None:
    await publish(http, "a", "<script>alert(1)</script>")
    headers = {"Range": "bytes=0-1", "If-None-Match": "*", "If-Modified-Since": "Mon, 01 Jan 2035 00:00:00 GMT"}
    answer = await http.get("/v1/streams/a?format=text&from=earliest&until=now", headers=headers)
    assert (answer.status_code, answer.text) == (200, "<script>alert(1)</script>\n")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_one_reader_too_many_is_told_to_come_back(
    run_server: Callable[..., AbstractAsyncContextManager[Running]],
) -> None:
    async with run_server(limits={"subscriptions": 1}) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        [cursor] = await publish(http, "a", 1)
        async with http.stream("GET", "/v1/streams/a"):
            answer = await http.get("/v1/streams/a")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
            for place in ("0other0-3", cursor):
                answer = await http.get("/v1/streams/a", headers=SSE | {"Last-Event-ID": place})
                assert answer.status_code == 200
                assert "retry: " in answer.text
                assert "event: reconnect" in answer.text
                assert "overload" in answer.text
                ids = [line for line in answer.text.splitlines() if line.startswith("id:")]
                assert set(ids) == {f"id: {place}"}
            answer = await http.get("/v1/streams/a", headers=SSE)
            assert "event: reconnect" in answer.text
            assert "id:" not in answer.text


async def test_a_draining_service_sends_readers_elsewhere(server: Running, http: httpx.AsyncClient) -> None:
    server.broker.drain_event.set()
    answer = await http.get("/v1/streams/a")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    answer = await http.get("/v1/streams/a", headers=SSE)
    assert answer.status_code == 200
    assert '"drain"' in answer.text
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/healthz")).status_code == 200


async def test_a_reader_that_shuts_its_side_is_gone(server: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(get("/v1/streams/a"))
    status, _ = parse_head(await reader.readuntil(b"\r\n\r\n"))
    assert status == 200
    assert len(server.broker.subscriptions) == 1
    writer.write_eof()
    async with asyncio.timeout(5):
        await reader.read()
        while server.broker.subscriptions:
            await asyncio.sleep(0.01)
    writer.close()


async def test_a_reader_that_leaves_before_its_answer_leaves_nothing(server: Running) -> None:
    for _ in range(50):
        _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        writer.write(get("/v1/streams/a", *SSE))
        await writer.drain()
        writer.transport.abort()
    async with asyncio.timeout(5):
        while server.broker.subscriptions:
            await asyncio.sleep(0.01)


async def test_an_http10_reader_gets_an_unframed_body(server: Running, http: httpx.AsyncClient) -> None:
    await publish(http, "a", 1, 2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(get("/v1/streams/a?from=earliest&until=now&format=text", version="1.0"))
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    assert parse_head(head)[0] == 200
    assert body == b"1\n2\n"
    writer.close()


async def test_a_reader_that_never_reads_is_cut_and_delays_nobody(
    run_server: Callable[..., AbstractAsyncContextManager[Running]],
) -> None:
    async with run_server(stall_timeout_s=0.3) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        for at in range(32):
            await http.post(
                "/v1/streams/a", content=bytes([at]) * 1_000_000, headers={"Content-Type": "application/octet-stream"}
            )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        writer.write(get("/v1/streams/a?from=earliest&format=chunked"))
        await reader.readuntil(b"\r\n\r\n")
        answer = await http.get("/v1/streams/a?from=earliest&until=now&format=chunked")
        assert len(answer.content) == 32_000_000
        async with asyncio.timeout(10):
            while server.broker.subscriptions:
                await asyncio.sleep(0.02)
        writer.transport.abort()


async def test_a_response_that_fails_in_its_middle_is_seen_as_incomplete(
    http: httpx.AsyncClient, log_lines: list[MutableMapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("/secret/path")

    await publish(http, "a", 1)
    monkeypatch.setattr(delivery, "encode_items", broken)
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/v1/streams/a?from=earliest&format=sse")
    [line] = [line for line in log_lines if line["log_level"] == "error"]
    assert (line["error"], "exc_info" in line) == ("RuntimeError", False)
    log_lines.clear()
