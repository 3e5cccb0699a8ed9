"""Files read over HTTP: length, digest, byte ranges; on after a break with curl; and where ranges are ignored."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from ratsvc.client import Producer
from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from tests.conftest import Running, running
from tests.proxy import cutting

CHUNK = 256 * 1024
DATA = os.urandom(5 * CHUNK + 17)
SIZE = len(DATA)
URL = "/v1/streams/f?format=chunked&from=earliest"


async def upload(server: Running, data: bytes = DATA, stream: str = "f", **options: Any) -> None:
    async with Producer(server.grpc_addr) as producer:
        await producer.upload(stream, data, **{"end_stream": True, **options})


async def test_a_file_has_its_length_name_and_digest(server: Running, http: httpx.AsyncClient) -> None:
    await upload(server, name='ä "x".bin')
    response = await http.get(URL)
    assert (response.status_code, response.content) == (200, DATA)
    headers = response.headers
    assert headers["content-length"] == str(SIZE)
    assert headers["accept-ranges"] == "bytes"
    assert headers["repr-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20%22x%22.bin"
    assert (headers["content-type"], headers["x-content-type-options"]) == ("application/octet-stream", "nosniff")
    head = await http.head(URL, headers={"Range": "bytes=5-"})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "repr-digest", "accept-ranges"):
        assert head.headers[name] == headers[name]
    await upload(server, b"", "empty")
    empty = await http.get("/v1/streams/empty?format=chunked&from=earliest")
    assert (empty.status_code, empty.content, empty.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("engine", ["memory", "lmdb"])
async def test_every_part_of_a_file_can_be_asked_for(engine: str, tmp_path: Path) -> None:
    places = {"data_dir": tmp_path / "log"} if engine == "lmdb" else {}
    async with running(**places) as server, Producer(server.grpc_addr) as producer:
        await producer.publish("other", "before")
        await upload(server)
        await producer.publish("other", "after")
        async with httpx.AsyncClient(base_url=server.http_url, timeout=10) as http:
            for asked, start, stop in (
                ("0-", 0, SIZE),
                ("0-0", 0, 1),
                ("1-2", 1, 3),
                (f"{CHUNK - 1}-{CHUNK}", CHUNK - 1, CHUNK + 1),
                (f"{CHUNK}-", CHUNK, SIZE),
                (f"{2 * CHUNK + 5}-{4 * CHUNK + 6}", 2 * CHUNK + 5, 4 * CHUNK + 7),
                (f"{SIZE - 1}-", SIZE - 1, SIZE),
                (f"{SIZE - 17}-{SIZE + 100}", SIZE - 17, SIZE),
                ("-1", SIZE - 1, SIZE),
                (f"-{SIZE + 5}", 0, SIZE),
            ):
                response = await http.get(URL, headers={"Range": f"bytes={asked}"})
                assert response.status_code == 206, asked
                assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
                assert response.content == DATA[start:stop], asked
            for asked in (f"{SIZE}-", f"{SIZE}-{SIZE + 5}", "-0"):
                response = await http.get(URL, headers={"Range": f"bytes={asked}"})
                assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{SIZE}"), asked
                assert response.json()["field"] == "range"


async def test_what_is_no_single_range_or_has_another_etag_gets_the_whole_file(
    server: Running, http: httpx.AsyncClient
) -> None:
    await upload(server)
    etag = (await http.head(URL)).headers["etag"]
    for headers in (
        {"Range": "bytes=5-2"},
        {"Range": "bytes=0-1,5-6"},
        {"Range": "bytes=-"},
        {"Range": "lines=0-1"},
        {"Range": "bytes=0-" + "9" * 40},
        {"Range": "bytes=5-", "If-Range": '"other"'},
        {"Range": "bytes=5-", "If-Range": f"W/{etag}"},
        {"Range": "bytes=5-", "If-Range": "Sat, 21 Nov 2026 10:00:00 GMT"},
    ):
        response = await http.get(URL, headers=headers)
        assert (response.status_code, response.content) == (200, DATA), headers
    response = await http.get(URL, headers={"Range": "bytes=5-", "If-Range": etag})
    assert (response.status_code, response.content) == (206, DATA[5:])


async def test_ranges_are_for_a_stream_that_is_one_whole_file_alone(server: Running, http: httpx.AsyncClient) -> None:
    await upload(server, end_stream=False)
    asked = {"Range": "bytes=5-"}
    finite = URL + "&until=now"
    assert (await http.get(finite, headers=asked)).content == DATA[5:]
    async with http.stream("GET", URL, headers=asked) as live:  # more may come: it has no length
        assert (live.status_code, live.headers["accept-ranges"]) == (200, "none")
        assert await anext(live.aiter_bytes(10)) == DATA[:10]
    for query in (finite + "&limit=99", finite + "&key=k", "/v1/streams/*?format=chunked&from=earliest&until=now",
                  finite + "&view=record", "/v1/streams/f?format=chunked&from=-9&until=now"):  # fmt: skip
        assert (await http.get(query, headers=asked)).status_code == 200
    async with Producer(server.grpc_addr) as producer:
        await producer.publish("f", b"more")
        response = await http.get(finite, headers=asked)
        assert (response.status_code, response.content) == (200, DATA + b"more")
        forged = {"upload": "x", "chunk": "1", "position": "0"}
        await producer.publish("g", b"first", headers=forged)
        await producer.publish("g", b"", headers=forged | {"chunk": "2", "sha-256": "0" * 63, "size": "9" * 30})
        response = await http.get("/v1/streams/g?format=chunked&from=earliest&until=now", headers=asked)
        assert (response.status_code, response.content) == (200, b"first")
    await upload(server, stream="h")
    await server.broker.update("h", Retention(max_records=4))
    response = await http.get("/v1/streams/h?format=chunked&from=earliest", headers=asked)
    assert (response.status_code, response.headers["accept-ranges"]) == (200, "none")


async def test_a_file_that_lies_about_its_length_is_broken_off(server: Running, http: httpx.AsyncClient) -> None:
    async with Producer(server.grpc_addr) as producer:
        headers = {"upload": "x", "chunk": "1", "position": "0"}
        await producer.publish("f", b"first", headers=headers)
        last = {"chunk": "2", "position": "junk", "size": "999", "sha-256": "0" * 64}
        await producer.publish("f", b"", headers=headers | last)
    for asked in ({}, {"Range": "bytes=1-"}, {"Range": "bytes=700-"}):
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(URL + "&until=now", headers=asked)


async def test_a_byte_is_found_without_reading_what_comes_before_it(
    server: Running, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=20) as poster:
        data = os.urandom(400 * 65_536)
        assert (await poster.post("/v1/streams/f?file=x&end=1", content=data)).status_code == 200
    read, found = server.broker.read, 0

    async def counted(streams: Sequence[StreamInfo], after: int, max_bytes: int) -> Sequence[Batch | Gap]:
        nonlocal found
        items = await read(streams, after, max_bytes)
        found += sum(len(item) for item in items if isinstance(item, Batch))
        return items

    monkeypatch.setattr(server.broker, "read", counted)
    response = await http.get(URL, headers={"Range": f"bytes={len(data) - 1}-"})
    assert response.content == data[-1:]
    assert found < 20


async def test_curl_goes_on_with_a_download_that_was_cut_again_and_again(server: Running, tmp_path: Path) -> None:
    data = os.urandom(4 * 2**20 + 3)
    await upload(server, data)
    got, tries = tmp_path / "got", 0
    async with cutting(server.http_port, 1_500_000, seed=2, least_bytes=300_000) as proxy:
        code = -1
        while code:
            tries += 1
            arguments = ("-sS", "-C", "-", "-o", str(got), f"http://127.0.0.1:{proxy.port}{URL}")
            curl = await asyncio.create_subprocess_exec("curl", *arguments, stderr=asyncio.subprocess.DEVNULL)
            code = await curl.wait()
            assert tries < 100
    assert tries > 2
    assert got.read_bytes() == data


async def test_a_download_whose_records_go_meanwhile_is_broken_off(server: Running) -> None:
    data = os.urandom(8 * 2**20)
    await upload(server, data)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port, limit=65_536)
    writer.write(f"GET {URL} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await server.broker.purge("f")
    assert len(await reader.read()) < len(data)
    writer.close()


async def test_a_download_that_nobody_takes_is_cut() -> None:
    async with running(stall_timeout_s=0.2) as server:
        await upload(server, os.urandom(16 * 2**20))
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", server.http_port))
            stuck.sendall(f"GET {URL} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while not server.broker.figures.disconnects["stalled"]:
                await asyncio.sleep(0.02)
        assert not server.broker.subscriptions


async def test_the_first_bytes_of_a_file_arrive_before_the_last_are_sent(
    server: Running, http: httpx.AsyncClient
) -> None:
    arrived = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await arrived.wait()
        yield b"last"

    async with Producer(server.grpc_addr) as producer:
        async with http.stream("GET", "/v1/streams/f?format=chunked&from=earliest") as response:
            sending = asyncio.ensure_future(producer.upload("f", pieces(), end_stream=True))
            body = response.aiter_raw()
            assert await anext(body) == b"first"
            arrived.set()
            assert b"".join([piece async for piece in body]) == b"last"
        assert (await sending).size == 9
