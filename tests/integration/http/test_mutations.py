"""Requests that are nearly good, on raw sockets: each gets one answer, never one that says that the service failed."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from random import Random
from typing import Any

import pytest

from tests.conftest import Running
from tests.integration.http.raw import get, parse_head, send
from tests.integration.mutations import mutated

BODIES = {
    "application/json": b'{"a":[1,2.5,{"b":"\\u00e9"}],"c":null}',
    "application/x-ndjson": b'1\n{"a":2}\n"x"\n',
    "text/plain": "é\nb\n".encode(),
    "application/octet-stream": bytes(range(40)),
}
CLOSE = "Connection: close"
READS = [
    get(
        "/v1/streams/s?from=earliest&until=now&format=ndjson&view=record&limit=3&key=k&heartbeat=5",
        "Accept: text/event-stream;q=0.5, */*", "Last-Event-ID: abc-1", CLOSE,
    ),
    get("/v1/subscribe?stream=s&stream=a.*&until=now", "Accept: application/json", CLOSE),
    get("/v1/streams?pattern=s*&limit=3", CLOSE),
    get("/v1/streams/s/info", CLOSE),
]  # fmt: skip
WRITES = [
    request
    for kind, body in BODIES.items()
    for media_type, length in ((f"Content-Type: {kind}", f"Content-Length: {len(body)}"),)
    for request in (
        get("/v1/streams/s?key=k&event=e", media_type, length, "Idempotency-Key: a", CLOSE, method="POST") + body,
        get("/v1/streams/s?split=0", media_type, "Transfer-Encoding: chunked", CLOSE, method="POST")
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        get("/v1/streams/f?file=n.bin&upload_id=u", media_type, length, CLOSE, method="POST") + body,
    )
]


async def answer(port: int, request: bytes) -> bytes:
    """What comes back on a connection whose other half is closed behind the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(20):
            while piece := await reader.read(65_536):
                found += piece
    except ConnectionError:
        pass  # closed while there was more to read
    finally:
        writer.transport.abort()
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_request_that_is_nearly_good_never_makes_the_service_fail(
    server: Running, seed: int, log_lines: list[MutableMapping[str, Any]]
) -> None:
    random = Random(seed)
    statuses: set[int] = set()
    for _ in range(400):
        request = mutated(random, random.choice(READS + WRITES))
        found = await answer(server.http_port, request)
        head, _, body = found.partition(b"\r\n\r\n")
        if not head:
            continue  # cut inside its head, or in its body: nobody waits for an answer
        status, headers = parse_head(head)
        statuses.add(status)
        assert status < 500 or status in (501, 505), (request, found)
        if status >= 400:
            assert headers["content-type"] == "application/problem+json", (request, found)
            assert body.startswith(b'{"type":"/problems/')
    assert {200, 400} <= statuses
    assert (await send(server.http_port, get("/healthz"))).status == 200
    assert not server.broker.subscriptions
    assert not [line for line in log_lines if line["log_level"] == "error"]
