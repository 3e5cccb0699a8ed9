"""Compressed responses on real sockets: decodable as they come, shared by readers, one member with the right end."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
from httpx_sse import EventSource

from ratsvc.client import Consumer, Received
from ratsvc.core.retention import Retention
from ratsvc.formats.compression import WINDOW_BYTES
from tests.conftest import Running, running
from tests.integration.http.raw import parse_head
from tests.integration.http.test_delivery import chunk, opened, put, until

GZIP = {"Accept-Encoding": "gzip"}
NOISE = random.Random(5).randbytes(20_000).hex()


class Reader:
    """A reader of one response, which decodes each chunk when it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._inflate = zlib.decompressobj(31)
        self.plain = b""
        self.wire = 0

    @classmethod
    async def opened(cls, port: int, path: str, buffer: int | None = None, accept: str = "gzip") -> Reader:
        reader, writer = await opened(port, path, buffer, headers=f"Accept-Encoding: {accept}\r\n")
        return cls(reader, writer)

    async def more(self) -> bool:
        """Takes one chunk; False at the end."""
        data = await asyncio.wait_for(chunk(self._reader), 20)
        self.wire += len(data)
        self.plain += self._inflate.decompress(data)
        return bool(data)

    async def until(self, word: bytes) -> None:
        """Reads until `word` was decoded."""
        while word not in self.plain:
            assert await self.more(), self.plain[-300:]

    async def end(self) -> bytes:
        """Reads to the end of the member, whose CRC and size zlib checks; all that was decoded."""
        while await self.more():
            pass
        assert (self._inflate.eof, self._inflate.unused_data) == (True, b"")
        self.writer.close()
        return self.plain


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client that asks for nothing by itself."""
    async with httpx.AsyncClient(base_url=server.http_url, timeout=20) as client:
        del client.headers["accept-encoding"]
        yield client


async def plain(http: httpx.AsyncClient, path: str) -> bytes:
    answer = await http.get(path)
    assert "content-encoding" not in answer.headers
    return answer.content


@pytest.mark.parametrize("name", ["sse", "ndjson", "json-seq", "text", "binary"])
async def test_each_record_can_be_decoded_before_the_next_is_published(
    server: Running, http: httpx.AsyncClient, name: str
) -> None:
    path = f"/v1/streams/s?format={name}&from=earliest"
    await put(server.broker, "s", "first")
    readers = [await Reader.opened(server.http_port, path)]
    for n in range(30):
        if n in (10, 20):
            readers.append(await Reader.opened(server.http_port, path))
        await put(server.broker, "s", *[f"record {n} " + "with some words " * (n % 7)] * (1 if n % 5 else 300))
        for reader in readers:
            await reader.until(b"record %d " % n)
    await server.broker.end("s")
    ended = [await reader.end() for reader in readers]
    # The start of a response, and the end that a reader at the end is told, have jitter or differ: the records do not.
    whole = await plain(http, f"{path}&until=now")
    assert whole.count(b"record") == ended[0].count(b"record") == 24 + 6 * 300
    body = whole[whole.index(b"first") : whole.rindex(b"record 29")]
    for text in ended:
        assert text[text.index(b"first") : text.rindex(b"record 29")] == body


async def test_readers_at_different_places_share_their_blocks(server: Running) -> None:
    async def event(n: int) -> None:
        await put(server.broker, "s", f"{n} of the events, with some words".ljust(95))

    def blocks(kind: str) -> int:
        return server.broker.figures.compressions[kind]

    path = "/v1/streams/s?format=ndjson"
    readers = [await Reader.opened(server.http_port, path)]
    for n in range(2 * WINDOW_BYTES // 90):
        await event(n)
    await readers[0].until(b"%d of" % n)
    before = blocks("window"), blocks("alone")
    for joined in range(2):
        readers.append(await Reader.opened(server.http_port, path))
        for n in range(10):
            await event(1_000 * (joined + 1) + n)
            for reader in readers:
                await reader.until(b'"%d of' % (1_000 * (joined + 1) + n))
    assert (blocks("window") - before[0], blocks("alone") - before[1]) == (20, 20)
    for n in range(WINDOW_BYTES // 90):
        await event(3_000 + n)
    for reader in readers:
        await reader.until(b'"%d of' % (3_000 + n))
    before = blocks("window"), blocks("alone")
    had = [reader.wire for reader in readers]
    for n in range(20):
        await event(4_000 + n)
    for reader in readers:
        await reader.until(b'"4019 of')
    # all have the window now: one block for the three of them, and the same bytes
    assert (blocks("window") - before[0], blocks("alone") - before[1]) == (20, 0)
    assert len({reader.wire - size for reader, size in zip(readers, had, strict=True)}) == 1
    await server.broker.end("s")
    for reader in readers:
        assert (await reader.end()).count(b"4019 of") == 1


async def test_nothing_is_compressed_for_those_who_do_not_ask(server: Running, http: httpx.AsyncClient) -> None:
    await put(server.broker, "s", *["x" * 100] * 100)
    for headers in (
        {},
        {"Accept-Encoding": "identity"},
        {"Accept-Encoding": "deflate, compress"},
        {"Accept-Encoding": "gzip;q=0"},
    ):
        for path in ("/v1/streams/s?from=earliest&until=now", "/v1/streams/s?format=page&from=earliest", "/metrics"):
            answer = await http.get(path, headers=headers)
            assert (answer.status_code, "content-encoding" in answer.headers) == (200, False)
            assert "Accept-Encoding" in answer.headers["vary"]
    assert not server.broker.figures.compressions
    assert server.broker.figures.compression_seconds == 0


async def test_streams_come_in_gzip_alone_and_what_is_whole_in_zstd_and_files_in_br_too(
    server: Running, http: httpx.AsyncClient
) -> None:
    await put(server.broker, "s", *["x" * 100] * 100)
    asked = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    for path, coding in (
        ("/v1/streams/s?from=earliest&until=now", "gzip"),
        ("/v1/streams/s?format=page&from=earliest", "zstd"),
        ("/openapi.json", "zstd"),
        ("/ui/", "br"),
        ("/client.js", "br"),
    ):
        answer = await http.get(path, headers=asked)
        assert answer.headers["content-encoding"] == coding
        assert answer.content == await plain(http, path)  # httpx has decoded it
    only = await http.get("/v1/streams/s?until=now", headers={"Accept-Encoding": "br, zstd"})
    assert "content-encoding" not in only.headers


async def test_bytes_in_chunks_are_never_compressed(server: Running, http: httpx.AsyncClient) -> None:
    await put(server.broker, "s", b"x" * 10_000)
    answer = await http.get("/v1/streams/s?from=earliest&until=now&format=chunked", headers=GZIP)
    assert (answer.content, "content-encoding" in answer.headers) == (b"x" * 10_000, False)


async def test_a_wish_that_cannot_be_met_is_refused(http: httpx.AsyncClient) -> None:
    for accept, status in (("gzip;q=0, identity;q=0", 406), ("*;q=0", 406), ("gzip;q=2", 400), ("gz ip", 400)):
        answer = await http.get("/v1/streams/s", headers={"Accept-Encoding": accept})
        assert (answer.status_code, answer.json()["field"]) == (status, "accept-encoding")
        # what is whole is given all the same
        assert (await http.get("/healthz", headers={"Accept-Encoding": accept})).status_code == 200
        assert (await http.get("/metrics", headers={"Accept-Encoding": accept})).status_code == 200


async def test_it_can_be_switched_off() -> None:
    async with running(compression={"enabled": False}) as server:
        async with httpx.AsyncClient(base_url=server.http_url, headers=GZIP) as client:
            await put(server.broker, "s", *["x" * 100] * 100)
            for path in ("/v1/streams/s?from=earliest&until=now", "/metrics", "/ui/"):
                answer = await client.get(path)
                assert (answer.status_code, "content-encoding" in answer.headers) == (200, False)


async def test_a_head_says_the_coding_that_a_get_has(http: httpx.AsyncClient) -> None:
    for path in ("/v1/streams/s", "/metrics"):
        assert (await http.head(path, headers=GZIP)).headers["content-encoding"] == "gzip"


async def test_gaps_resume_and_the_end_come_compressed_too() -> None:
    async with running(heartbeat_s=1) as server:
        await server.broker.create("s", Retention(max_records=40))
        first = await Reader.opened(server.http_port, "/v1/streams/s?format=sse")
        for n in range(100):
            await put(server.broker, "s", f"one {n}.")
        await first.until(b"one 99.")
        await put(server.broker, "other", 1)
        await first.until(f"id: {server.broker.epoch}-101\n\n".encode())  # a heartbeat
        cursor = first.plain.split(b"\ndata: one 30.")[0].rpartition(b"id: ")[2].decode()
        again = await Reader.opened(server.http_port, f"/v1/streams/s?format=sse&from={cursor}")
        await again.until(b"one 99.")
        for n in range(10):
            await put(server.broker, "s", f"two {n}.")
            await first.until(b"two %d." % n)
            await again.until(b"two %d." % n)
        await server.broker.purge("s")
        await put(server.broker, "s", "three")
        await server.broker.end("s")
        ended, resumed = await first.end(), await again.end()
    assert resumed.count(b"event: gap") >= 1
    assert b'"reason":"retention"' in resumed
    assert [n for n in range(100) if b"one %d." % n in resumed] == list(range(60, 100))
    for text in (ended, resumed):
        assert text.count(b"three") == 1
        assert text.rstrip().endswith(b'"reason":"ended"}')


@pytest.mark.parametrize("overflow", ["catch-up", "latest"])
async def test_a_slow_reader_gets_a_whole_member_too(overflow: str) -> None:
    async with running(limits={"reader_bytes": 16_384}) as server:
        path = f"/v1/streams/s?format=sse&overflow={overflow}"
        slow = await Reader.opened(server.http_port, path, buffer=4096)
        quick = await Reader.opened(server.http_port, path)
        await until(lambda: _live(server) == 2)
        for n in range(80):
            await put(server.broker, "s", f"{n}. {NOISE}")
            await quick.until(b"data: %d. " % n)
            quick.plain = quick.plain[-100:]
        await until(lambda: _live(server) == 1)
        await slow.until(b"data: 79. ")
        for n in range(80, 85):
            await put(server.broker, "s", f"{n}. small")
            await slow.until(b"data: %d. " % n)
        await server.broker.end("s")
        text = await slow.end()
        await quick.end()
    seen = [n for n in range(85) if b"data: %d. " % n in text]
    if overflow == "catch-up":
        assert seen == list(range(85))
    else:
        assert b'"reason":"slow"' in text


def _live(server: Running) -> int:
    lanes = [lane for one in server.broker.hub._selections.values() for lane in one.lanes.values()]
    return sum(len(lane.members) for lane in lanes)


async def test_what_is_broken_off_has_no_end() -> None:
    async with running(limits={"reader_bytes": 4096}) as server:
        await server.broker.create("s", Retention(max_records=10))
        text = await Reader.opened(server.http_port, "/v1/streams/s?format=text", buffer=4096)
        await until(lambda: _live(server) == 1)
        for n in range(200):
            await put(server.broker, "s", f"{n}. {NOISE}")
        with pytest.raises((asyncio.IncompleteReadError, ValueError)):  # within a chunk, or without a last one
            await text.end()
        assert not text._inflate.eof
        text.writer.close()


async def test_a_drain_ends_each_member_rightly() -> None:
    async with running() as server:
        readers = [await Reader.opened(server.http_port, "/v1/streams/s?format=sse") for _ in range(10)]
        for n in range(50):
            await put(server.broker, "s", f"{n}. record")
        await until(lambda: _live(server) == 10)
        draining = asyncio.create_task(server.server.drain(0.2))
        for reader in readers:
            text = await reader.end()
            assert (text.count(b". record"), text.count(b"event: reconnect")) == (50, 1)
        await draining


async def test_a_reader_with_a_limit_and_one_of_http_1_0_get_a_member_too(server: Running) -> None:
    limited = await Reader.opened(server.http_port, "/v1/streams/s?limit=3")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(b"GET /v1/streams/s?format=text HTTP/1.0\r\nAccept-Encoding: x-gzip\r\n\r\n")
    assert parse_head(await reader.readuntil(b"\r\n\r\n"))[1]["content-encoding"] == "gzip"
    await until(lambda: _live(server) == 1)
    for n in range(5):
        await put(server.broker, "s", n)
    await server.broker.end("s")
    assert await limited.end() == b"0\n1\n2\n"
    assert gzip.decompress(await asyncio.wait_for(reader.read(-1), 10)) == b"0\n1\n2\n3\n4\n"
    writer.close()


async def test_httpx_and_httpx_sse_get_each_record_as_it_comes(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=10) as client:
        async with (
            client.stream("GET", "/v1/streams/s?format=sse") as events,
            client.stream("GET", "/v1/streams/s?format=ndjson") as lines,
        ):
            assert events.headers["content-encoding"] == lines.headers["content-encoding"] == "gzip"
            found = EventSource(events).aiter_sse()
            text = lines.aiter_lines()
            await until(lambda: _live(server) == 2)
            for n in range(20):
                await put(server.broker, "s", f"record {n}")
                event = await asyncio.wait_for(anext(one async for one in found if one.data), 10)
                assert event.data == f"record {n}"
                assert await asyncio.wait_for(anext(text), 10) == f'"record {n}"'


@pytest.mark.parametrize("name", ["sse", "ndjson", "binary"])
async def test_the_client_can_take_it_compressed(server: Running, name: str) -> None:
    for n in range(300):
        await put(server.broker, "s", {"n": n})
    await server.broker.end("s")
    found = [
        one.value["n"]  # type: ignore[call-overload]
        async for one in Consumer(server.http_url, "s", from_="earliest", format=name, compressed=True)  # type: ignore[arg-type]
        if isinstance(one, Received)
    ]
    assert found == list(range(300))
    figures = server.broker.figures
    assert 0 < figures.compressed_to[name] < figures.compressed_from[name] / 3


async def test_whole_responses_are_compressed_where_it_pays(server: Running, http: httpx.AsyncClient) -> None:
    await put(server.broker, "s", *[f"value {n}" for n in range(9_000)])
    for path in (
        "/ui/",
        "/ui/demo.js",
        "/metrics",
        "/openapi.json",
        "/v1/streams/s?format=page&from=earliest&limit=9000",
    ):
        packed = await http.get(path, headers=GZIP)
        assert (packed.status_code, packed.headers["content-encoding"]) == (200, "gzip")
        assert int(packed.headers["content-length"]) < len(packed.content) * 0.7
        assert "Accept-Encoding" in packed.headers["vary"]
        if path != "/metrics":
            assert packed.content == await plain(http, path)
    for path in ("/healthz", "/docs", "/v1/streams", "/v1/streams/none?format=page"):
        assert "content-encoding" not in (await http.get(path, headers=GZIP)).headers


async def test_what_compression_does_is_counted(server: Running, http: httpx.AsyncClient) -> None:
    await put(server.broker, "s", *["some words again and again"] * 1_000)
    await http.get("/v1/streams/s?from=earliest&until=now&format=text", headers=GZIP)
    text = (await http.get("/metrics")).text
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("ratsvc_compress"))
    before = float(found['ratsvc_compressed_source_bytes_total{format="text"}'])
    after = float(found['ratsvc_compressed_bytes_total{format="text"}'])
    assert before == 27_000
    assert 0 < after < before / 10
    assert f'ratsvc_delivered_bytes_total{{format="text"}} {after}' in text
    assert float(found['ratsvc_compression_blocks_total{kind="alone"}']) == 1
    assert float(found["ratsvc_compression_seconds_total"]) > 0


async def test_over_the_budget_new_readers_get_plain_bytes_and_others_what_they_can_decode(
    http: httpx.AsyncClient,
) -> None:
    async with running(compression={"cpu_percent": 0.000001}) as server:  # the first block takes it for hours
        figures, path = server.broker.figures, "/v1/streams/s?format=ndjson&from=earliest"
        first = await Reader.opened(server.http_port, path)
        for n in range(20):
            await put(server.broker, "s", f"{n} with some words", *["words"] * (2_000 if n == 10 else 0))
            await first.until(b'"%d with' % n)
        assert figures.compressions["over_budget"] >= 19
        assert figures.compressions.total() - figures.compressions["over_budget"] == 1
        only = await Reader.opened(server.http_port, path + "&until=now", accept="gzip, identity;q=0")
        assert (await only.end()).count(b"with some words") == 20
        async with httpx.AsyncClient(base_url=server.http_url, headers=GZIP) as client:
            plain = await client.get(path + "&until=now")
            assert "content-encoding" not in plain.headers
            assert plain.text.count("with some words") == 20
            for _ in range(2):
                metrics = (await client.get("/metrics")).text
        assert f"ratsvc_compression_declined_total {figures.compression_declined - 1}.0" in metrics
        assert 'ratsvc_compression_blocks_total{kind="over_budget"}' in metrics
        assert figures.compression_declined == 3
        await server.broker.end("s")
        await first.end()
