"""Uploads by the Python client: how it goes on by itself after a break, and from which sources it can."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from rat.v1 import producer_pb2 as pb
from rat.v1 import producer_pb2_grpc

from ratsvc import errors
from ratsvc.client import Producer, SyncProducer
from ratsvc.client.sources import ChunkSource
from tests.conftest import Running, running
from tests.integration.files.uploads import CHUNK, DATA, content, parts, refused, stored
from tests.proxy import cutting


async def test_the_client_goes_on_by_itself_through_a_connection_that_is_cut_again_and_again(
    server: Running, tmp_path: Path
) -> None:
    data = os.urandom(3 * 2**20 + 5)
    (tmp_path / "a.bin").write_bytes(data)
    seen: list[int] = []
    async with cutting(server.grpc_port, 900_000, seed=3, least_bytes=300_000) as proxy:
        async with Producer(f"127.0.0.1:{proxy.port}", delivery_timeout_s=60) as producer:
            response = await producer.upload("f", str(tmp_path / "a.bin"), end_stream=True, progress=seen.append)
    assert proxy.cuts >= 3
    assert response.sha256 == hashlib.sha256(data).digest()
    assert (seen[-1], response.size) == (len(data), len(data))
    records = await stored(server.broker, "f")
    assert b"".join(value for value, _ in records) == data
    assert [headers["chunk"] for _, headers in records] == [str(n + 1) for n in range(len(records))]
    assert server.broker.info("f").ended


async def test_time_runs_out_only_while_nothing_more_is_stored(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours, data = 0, os.urandom(2**20)
    monkeypatch.setattr("ratsvc.client.upload.monotonic", lambda: time.monotonic() + 3600 * hours)

    def work(sent: int) -> None:
        nonlocal hours
        hours = 1

    async with cutting(server.grpc_port, 500_000, seed=3, least_bytes=300_000, grace_s=0.1) as proxy:
        async with Producer(f"127.0.0.1:{proxy.port}", delivery_timeout_s=60) as producer:
            assert (await producer.upload("f", data, progress=work)).size == len(data)
    assert proxy.cuts


async def test_what_cannot_be_read_is_told_as_it_is(server: Running, tmp_path: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"abc"
        raise TimeoutError("the disk is away")

    def impatient(sent: int) -> None:
        raise ValueError("no more")

    (tmp_path / "f").write_bytes(DATA)
    async with Producer(server.grpc_addr) as producer:
        with pytest.raises(TimeoutError, match="the disk is away"):
            await producer.upload("f", failing())
        with pytest.raises(ValueError, match="no more"):
            await producer.upload("f", tmp_path / "f", progress=impatient)
        with pytest.raises(FileNotFoundError):
            await producer.upload("f", tmp_path / "none")


async def test_an_upload_begins_again_by_itself_when_the_service_lost_all_it_had(tmp_path: Path) -> None:
    async with running() as first, running() as second, cutting(first.grpc_port) as proxy:
        proxy.cutting = False
        stopped = False

        def stop(sent: int) -> None:
            nonlocal stopped
            if not stopped and sent > CHUNK:
                stopped = proxy.cutting = True
                proxy._target = second.grpc_port

        async with Producer(f"127.0.0.1:{proxy.port}", delivery_timeout_s=60) as producer:
            uploading = asyncio.ensure_future(producer.upload("f", DATA * 3, progress=stop))
            while not proxy.cuts:
                await asyncio.sleep(0.01)
            proxy.cutting = False
            assert (await uploading).sha256 == hashlib.sha256(DATA * 3).digest()
        assert await content(second.broker, "f") == DATA * 3


async def test_bytes_and_the_sync_client_upload_too(server: Running) -> None:
    def upload() -> pb.UploadResponse:
        with SyncProducer(server.grpc_addr) as producer:
            return producer.upload("f", DATA, name="x")

    assert (await asyncio.to_thread(upload)).sha256 == hashlib.sha256(DATA).digest()
    assert await content(server.broker, "f") == DATA
    async with Producer(server.grpc_addr) as producer:
        assert (await producer.upload("empty", b"", name="e", content_type="a/b")).records == 1
        (value, headers), *rest = await stored(server.broker, "empty")
        assert (value, headers["name"], headers["content-type"], headers["size"], rest) == (b"", "e", "a/b", "0", [])


async def test_a_file_that_changed_meanwhile_is_refused_before_anything_of_it_is_stored(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    async with Producer(server.grpc_addr, delivery_timeout_s=5) as producer:
        path.write_bytes(DATA)
        with pytest.raises(errors.UploadNotFound):
            await producer.upload("f", str(path), upload_id="u", resume=True)
        await refused(stub.Upload(parts([DATA[:CHUNK]], end=False, size=len(DATA))))
        path.write_bytes(b"x" + DATA[1:])
        for changed, said in (
            (b"x" + DATA[1:], "the file has changed since its upload began: its first 262144 bytes are not"),
            (DATA[:100], "the file has changed since its upload began"),
            (DATA + b"more", f"began with a file of {len(DATA)} bytes, and this one has {len(DATA) + 4}"),
        ):
            path.write_bytes(changed)
            with pytest.raises(errors.DigestMismatch, match=said):
                await producer.upload("f", str(path), upload_id="u", resume=True)
        assert await content(server.broker, "f") == DATA[:CHUNK]
        path.write_bytes(DATA)
        response = await producer.upload("f", str(path), upload_id="u", resume=True)
        assert response.sha256 == hashlib.sha256(DATA).digest()


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]
        await asyncio.sleep(0)


def in_plain_pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 300_000):
        yield data[at : at + 300_000]


@pytest.mark.parametrize("make", [in_pieces, in_plain_pieces, lambda data: list(in_plain_pieces(data))])
async def test_chunks_that_can_be_made_anew_go_on_after_every_break(
    server: Running, make: Callable[[bytes], list[bytes]]
) -> None:
    data, opened = os.urandom(2 * 2**20 + 5), 0

    def anew() -> list[bytes]:
        nonlocal opened
        opened += 1
        return make(data)

    async with cutting(server.grpc_port, 900_000, seed=3, least_bytes=300_000) as proxy:
        async with Producer(f"127.0.0.1:{proxy.port}", delivery_timeout_s=60) as producer:
            source = make(data) if isinstance(make(b""), list) else anew
            response = await producer.upload("f", source, name="n")
    assert proxy.cuts >= 2
    assert isinstance(source, list) or opened >= 2
    assert response.sha256 == hashlib.sha256(data).digest()
    assert await content(server.broker, "f") == data


async def test_chunks_that_come_but_once_say_that_they_cannot_go_on(server: Running) -> None:
    data = os.urandom(2 * 2**20)
    async with cutting(server.grpc_port, 900_000, seed=3, least_bytes=300_000) as proxy:
        async with Producer(f"127.0.0.1:{proxy.port}", delivery_timeout_s=60) as producer:
            for source, frame in ((in_plain_pieces(data), "gi_frame"), (in_pieces(data), "ag_frame")):
                with pytest.raises(errors.Unavailable, match=r"off after byte \d+ .+ its chunks come but once; give"):
                    await producer.upload("f", source)
                assert getattr(source, frame) is None  # it was closed
    async with Producer(server.grpc_addr) as producer:  # but a new one may go on with what an older one began
        async with cutting(server.grpc_port, 900_000, seed=3, least_bytes=300_000) as proxy:
            async with Producer(f"127.0.0.1:{proxy.port}", delivery_timeout_s=60) as broken:
                while not await content(server.broker, "g"):  # it may break off before anything is stored
                    with pytest.raises(errors.Unavailable):
                        await broken.upload("g", in_pieces(data), upload_id="u")
        with pytest.raises(errors.DigestMismatch, match="changed since its upload began"):
            await producer.upload("g", in_pieces(b"x" + data), upload_id="u", resume=True)
        assert (await producer.upload("g", in_pieces(data), upload_id="u", resume=True)).size == len(data)
    assert await content(server.broker, "g") == data


async def test_chunks_that_differ_when_they_are_made_anew_are_refused(server: Running) -> None:
    made = 0

    def other_each_time() -> Iterator[bytes]:
        nonlocal made
        made += 1
        return iter([bytes([made]) * 100_000] * 30)

    async with cutting(server.grpc_port, 900_000, seed=3, least_bytes=300_000) as proxy:
        async with Producer(f"127.0.0.1:{proxy.port}", delivery_timeout_s=60) as producer:
            with pytest.raises(errors.DigestMismatch, match="changed since its upload began"):
                await producer.upload("f", other_each_time)
    assert len(set(await content(server.broker, "f"))) == 1


async def test_chunks_are_read_anew_when_a_call_that_broke_still_waits_for_one() -> None:
    waiting, go_on, opened = asyncio.Event(), asyncio.Event(), 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal opened
        opened += 1
        yield b"one"
        waiting.set()
        await go_on.wait()
        yield b"two"

    source = ChunkSource(chunks)
    assert await source.read(0) == b"one"
    broken = asyncio.ensure_future(source.read(3))
    await waiting.wait()
    again = asyncio.ensure_future(source.read(0))
    await asyncio.sleep(0)
    go_on.set()
    assert (await broken, await again, await source.read(3), await source.read(6)) == (b"two", b"one", b"two", b"")
    assert opened == 2
    go_on.clear()
    waiting.clear()
    assert await source.read(0) == b"one"
    broken = asyncio.ensure_future(source.read(3))
    await waiting.wait()
    await source.close()  # does not wait for it
    broken.cancel()
    with pytest.raises(asyncio.CancelledError):
        await broken


async def test_what_is_no_source_is_refused_and_nothing_is_stored(server: Running) -> None:
    async with Producer(server.grpc_addr) as producer:
        for source, said in (
            (5, "Expected a path, bytes, chunks or a function that makes them, got int"),
            (lambda: 5, "Expected chunks of bytes, got int"),
            (["text"], "Expected chunks of bytes, got str"),
        ):
            with pytest.raises(TypeError, match=said):
                await producer.upload("f", source)  # type: ignore[arg-type]
        with pytest.raises(errors.InvalidArgument, match="resume needs the upload_id"):
            await producer.upload("f", b"abc", resume=True)
        assert server.broker.log.last_offset == 0
        assert (await producer.upload("f", bytearray(b"abc"))).size == 3


async def test_an_open_file_is_sent_in_chunks_and_not_in_lines(server: Running) -> None:
    data = b"\n" * 3 * CHUNK
    async with Producer(server.grpc_addr) as producer:
        response = await producer.upload("f", io.BytesIO(data))
        assert (response.size, response.records) == (len(data), 4)
        with pytest.raises(TypeError, match="Expected chunks of bytes, got str"):
            await producer.upload("f", io.StringIO("text"))  # type: ignore[arg-type]


async def test_the_client_compares_the_digest_that_the_service_found() -> None:
    async def take(requests: AsyncIterator[bytes], context: object) -> bytes:
        async for _ in requests:
            pass
        return pb.UploadResponse(size=3, sha256=hashlib.sha256(b"abd").digest()).SerializeToString()

    wrong = grpc.aio.server()
    handlers = {"Upload": grpc.stream_unary_rpc_method_handler(take)}
    wrong.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("rat.v1.ProducerService", handlers),))
    port = wrong.add_insecure_port("127.0.0.1:0")
    await wrong.start()
    async with Producer(f"127.0.0.1:{port}") as producer:
        with pytest.raises(errors.DigestMismatch, match="stored other bytes than were sent"):
            await producer.upload("f", b"abc")
    await wrong.stop(0)


async def test_what_is_appended_to_a_file_while_it_is_uploaded_is_not_of_it(server: Running, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)

    def grow(sent: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    async with Producer(server.grpc_addr) as producer:
        response = await producer.upload("f", str(path), progress=grow)
        assert response.sha256 == hashlib.sha256(DATA).digest()
        with pytest.raises(OSError, match="no size"):
            await producer.upload("g", "/proc/cpuinfo")
    assert await content(server.broker, "f") == DATA
