"""Requests that no honest client sends: each is refused as a problem, and everyone else is served on."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from tests.conftest import Running
from tests.integration.http.raw import Answer, get, send


@pytest.fixture(autouse=True)
async def _still_serves(server: Running) -> Any:
    yield
    assert (await send(server.http_port, get("/healthz"))).status == 200
    assert not server.broker.subscriptions
    assert not server.broker.list()


async def refused(server: Running, data: bytes, *statuses: int, closed: bool | None = None) -> Answer:
    answer = await send(server.http_port, data)
    assert answer.status in statuses, answer
    answer.problem()
    if closed is not None:
        assert answer.closed is closed
    return answer


async def test_two_ways_to_frame_a_body_are_refused_and_the_second_request_is_not_served(server: Running) -> None:
    smuggled = b"5\r\nhello\r\n0\r\n\r\nDELETE /v1/streams/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = get(
        "/v1/streams/a", "Content-Type: text/plain", "Content-Length: 6", "Transfer-Encoding: chunked", method="POST"
    )
    await refused(server, head + smuggled, 400, closed=True)


@pytest.mark.parametrize(
    "length", ["+5", "0x5", "1" + "0" * 21, "-1", "5, 6", "5,5", "5\r\nContent-Length: 5", "", "5_0"]
)
async def test_a_content_length_that_is_none_is_refused(server: Running, length: str) -> None:
    head = get("/v1/streams/a", "Content-Type: text/plain", f"Content-Length: {length}", method="POST")
    await refused(server, head + b"hello", 400, closed=True)


@pytest.mark.parametrize(
    "coding", ["xchunked", "gzip, chunked", "chunked, identity", "chunked\r\nTransfer-Encoding: chunked"]
)
async def test_other_transfer_codings_are_refused(server: Running, coding: str) -> None:
    head = get("/v1/streams/a", "Content-Type: text/plain", f"Transfer-Encoding: {coding}", method="POST")
    await refused(server, head + b"0\r\n\r\n", 400, 501, closed=True)


@pytest.mark.parametrize(
    "data",
    [
        get("/healthz", "X-A : b"),
        get("/healthz", "X-A: b\r\n folded"),
        get("/healthz", "X-A: a\0b"),
        get("/healthz", "X-A: a\rb"),
        get("/healthz").replace(b"\r\n", b"\n"),
        get("/healthz", "Transfer-Encoding : chunked"),
        get("/healthz", "X_User_Id: 1"),
        b"GET /healthz HTTP/1.1\r\n\r\n",
        get("/healthz", "Host: localhost"),
        get("/healthz", host="user@localhost"),
        get("/healthz", host="localhost:http"),
        get("http://evil/healthz"),
        get("http://user:pw@localhost/healthz"),
    ],
)
async def test_malformed_heads_are_refused(server: Running, data: bytes) -> None:
    await refused(server, data, 400, closed=True)


@pytest.mark.parametrize("version", ["1.2", "3.0"])
async def test_other_versions_are_refused(server: Running, version: str) -> None:
    answer = await refused(server, get("/healthz", version=version), 505, closed=True)
    assert answer.problem()["type"] == "/problems/http-version-not-supported"


@pytest.mark.parametrize("method", ["TRACE", "FOO", "PATCH", "CONNECT"])
async def test_other_methods_are_refused(server: Running, method: str) -> None:
    target = "victim:443" if method == "CONNECT" else "/v1/streams/a"
    answer = await refused(server, get(target, method=method), 405)
    assert "GET" in answer.headers["allow"]
    assert answer.problem()["field"] == "method"


async def test_a_wrong_method_is_told_the_right_ones(server: Running) -> None:
    answer = await refused(server, get("/healthz", method="DELETE"), 405, closed=False)
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    answer = await refused(server, get("/v1/streams/a/end"), 405)
    assert answer.headers["allow"] == "OPTIONS, POST"


async def test_http2_is_not_spoken(server: Running) -> None:
    upgrade = get("/healthz", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    assert (await send(server.http_port, upgrade)).status == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert not (await asyncio.wait_for(reader.read(), 10)).startswith((b"HTTP/1.1 101", b"\0"))
    writer.transport.abort()


async def test_websockets_are_refused(server: Running) -> None:
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    head = get("/v1/streams/a", "Connection: Upgrade", "Upgrade: websocket", key, "Sec-WebSocket-Version: 13")
    await refused(server, head, 426, 400)
    await refused(server, get("/v1/streams/a", "Connection: Upgrade", "Upgrade: websocket", method="POST"), 426)


async def test_what_is_too_large_is_refused(server: Running) -> None:
    await refused(server, get("/" + "a" * 60_000), 414, 431, 400, closed=True)
    await refused(server, get("/" + "a" * 9_000), 414, closed=True)
    await refused(server, get("/healthz?" + "a" * 9_000), 414, closed=True)
    await refused(server, get("/healthz", *(f"X-{at}: 1" for at in range(120))), 431, closed=True)
    await refused(server, get("/healthz", "X: " + "a" * 17_000), 431, closed=True)


@pytest.mark.parametrize(
    "target",
    [
        "/\xff",
        "/%00",
        "/%ff",
        "/%c0%af",
        "/%ZZ",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/ui/../../etc/passwd",
        "/ui/%2e%2e/app.py",
        "/ui/..%2fapp.py",
        "//healthz",
        "/%2fhealthz",
        "/healthz/",
        "/healthz;x",
        "/" + "a/" * 2_000,
        "/v1/streams/a%0d%0ab",
        "/v1/streams/" + "a" * 300,
        "/v1/streams/..",
        "/v1/streams/a..b",
        "/v1/streams/%E2%80%AE",
        "/v1/streams/$SYS.x",
    ],
)
async def test_bad_paths_are_refused(server: Running, target: str) -> None:
    answer = await refused(server, get(target), 400, 404)
    assert b"passwd" not in answer.body


@pytest.mark.parametrize(
    "head",
    [
        get("/v1/streams/a", "Content-Length: 120000000"),
        get("/v1/streams/a", "Transfer-Encoding: chunked"),
        get("/v1/streams/a", "Content-Length: 5", method="DELETE"),
        get("/v1/streams/a/end", "Content-Length: 5", method="POST"),
        get("/v1/streams/a", "Content-Length: 5", method="OPTIONS"),
    ],
)
async def test_a_body_where_none_is_taken_is_refused_before_it_is_read(server: Running, head: bytes) -> None:
    answer = await refused(server, head, 413, closed=True)
    assert answer.problem()["detail"] == "this route takes no body"


async def test_a_flood_of_body_is_refused_while_it_comes(server: Running) -> None:
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    answer = await send(server.http_port, get("/v1/streams/a", "Transfer-Encoding: chunked"), rest=chunk * 200)
    assert (answer.status, answer.closed) == (413, True)


async def test_a_path_cannot_forge_a_log_line(server: Running, log_lines: list[MutableMapping[str, Any]]) -> None:
    await send(server.http_port, get("/a%0d%0aforged%1b[31m?token=secret", "User-Agent: \"' onload=" + "x" * 8000))
    while not (requests := [line for line in log_lines if line["event"] == "request"]):
        await asyncio.sleep(0.01)  # it is written after the answer
    [line] = requests
    assert line["path"] == "/a%0d%0aforged%1b[31m"
    assert "secret" not in repr(line)
    await send(server.http_port, get("/" + "b" * 5_000))
    assert all(len(line["path"]) <= 256 for line in log_lines if line["event"] == "request")


async def test_templates_and_lookups_are_inert_text(server: Running) -> None:
    text = "%25s%25n{0.__class__}${jndi:ldap://x}"
    for head in (get(f"/v1/streams/{text}"), get(f"/v1/streams/a?format={text}"), get("/healthz", f"X: {text}")):
        assert (await send(server.http_port, head)).status in (200, 400, 404, 406)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("&".join(f"key={at}" for at in range(1_000)), "query"),
        ("format=sse&format=sse", "format"),
        ("stream[]=a", "stream[]"),
        ("key=%ZZ", "key"),
        ("key=%ff", "key"),
        ("fromat=sse", "fromat"),
        ("key=a%0ab", "key"),
        ("event=gap", "event"),
    ],
)
async def test_bad_queries_name_the_parameter(server: Running, query: str, field: str) -> None:
    answer = await refused(server, get(f"/v1/streams/a?{query}"), 400, closed=False)
    assert answer.problem()["field"] == field
