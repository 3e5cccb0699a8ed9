"""Uploads over a real channel and over HTTP: what is stored, how one goes on after a break, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from rat.v1 import producer_pb2 as pb
from rat.v1 import producer_pb2_grpc

from ratsvc import errors
from ratsvc.client import Producer, SyncProducer
from ratsvc.client.sources import ChunkSource
from ratsvc.core.cursor import Earliest
from ratsvc.core.retention import Retention
from ratsvc.flow.broker import Broker, ReadRequest
from ratsvc.quickmem import wire
from tests.conftest import Running, running, stored_batches
from tests.proxy import cutting

CHUNK = 256 * 1024
DATA = os.urandom(5 * CHUNK + 17)


async def stored(broker: Broker, stream: str) -> list[tuple[bytes, dict[str, str]]]:
    """The values and headers of all records of a stream."""
    found: list[tuple[bytes, dict[str, str]]] = []
    for batch in await stored_batches(broker, stream):
        headers = [dict(wire.headers(record)) for record in batch.records]
        found += zip(wire.values(batch), headers, strict=True)  # type: ignore[arg-type]
    return found


async def content(broker: Broker, stream: str) -> bytes:
    return b"".join(value for value, _ in await stored(broker, stream))


@pytest_asyncio.fixture
async def stub(server: Running) -> AsyncIterator[producer_pb2_grpc.ProducerServiceStub]:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        yield producer_pb2_grpc.ProducerServiceStub(channel)


@pytest_asyncio.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=10) as client:
        yield client


async def parts(
    chunks: list[bytes], sha256: bytes | None = None, end: bool = True, **start: object
) -> AsyncIterator[pb.UploadRequest]:
    yield pb.UploadRequest(start=pb.UploadStart(**{"stream": "f", "upload_id": "u", **start}))
    for chunk in chunks:
        yield pb.UploadRequest(chunk=chunk)
    if end:
        yield pb.UploadRequest(end=pb.UploadEnd(sha256=sha256 or b""))


async def refused(call: grpc.aio.Call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_each_record_says_where_it_belongs_and_the_last_one_what_the_file_is(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub
) -> None:
    data = b"abc" * 10
    about = {"name": "ä.bin", "content_type": "a/b", "size": 30, "key": "k", "event": "e"}
    response = await stub.Upload(parts([data[:20], data[20:]], **about))
    digest = hashlib.sha256(data)
    assert (response.size, response.sha256, response.records) == (30, digest.digest(), 3)
    first = str(response.first_offset)
    own = {"upload": "u"}
    assert await stored(server.broker, "f") == [
        (data[:20], own | {"chunk": "1", "position": "0", "name": "ä.bin", "content-type": "a/b", "size": "30"}),
        (data[20:], own | {"chunk": "2", "position": "20", "first": first}),
        (b"", own | {"chunk": "3", "position": "30", "first": first, "size": "30", "sha-256": digest.hexdigest()}),
    ]
    page = await server.broker.fetch(ReadRequest(("f",), Earliest(), keys=frozenset("k"), events=frozenset("e")))
    assert sum(map(len, page.batches)) == 3


async def test_an_upload_goes_on_where_it_broke_off_and_the_digest_is_that_of_the_whole(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub
) -> None:
    async def broken() -> AsyncIterator[pb.UploadRequest]:
        async for part in parts([DATA[:CHUNK], DATA[CHUNK : 2 * CHUNK]], end=False, upload_epoch=7):
            yield part
        while server.broker.figures.records < 2:
            await asyncio.sleep(0.01)
        raise ConnectionAbortedError

    with pytest.raises(asyncio.CancelledError):
        await stub.Upload(broken())
    standing = await stub.GetUpload(pb.GetUploadRequest(stream="f", upload_id="u"))
    assert (standing.upload_epoch, standing.size, standing.complete, standing.records) == (7, 2 * CHUNK, False, 2)
    assert standing.sha256 == hashlib.sha256(DATA[: 2 * CHUNK]).digest()
    rest = [DATA[2 * CHUNK :]]
    digest = hashlib.sha256(DATA).digest()
    response = await stub.Upload(parts(rest, digest, upload_epoch=7, position=2 * CHUNK, end_stream=True))
    assert (response.size, response.sha256, response.records) == (len(DATA), digest, 4)
    assert await content(server.broker, "f") == DATA
    again = await stub.Upload(parts([], digest, upload_epoch=7, position=len(DATA), end_stream=True))
    assert again == response  # whose answer was lost asks again, and nothing is stored twice
    assert len(await stored(server.broker, "f")) == 4


async def test_a_chunk_out_of_order_is_refused_and_says_where_the_upload_stands(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub
) -> None:
    await refused(stub.Upload(parts([b"abc", b"def"], end=False)))
    for position in (0, 3, 7, 2**40):
        code, said = await refused(stub.Upload(parts([b"x"], position=position)))
        assert (code, said) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            f"upload u stands at byte 6: it cannot go on at {position}",
        )
    assert await content(server.broker, "f") == b"abcdef"


async def test_what_cannot_go_on_is_refused_by_its_reason(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub
) -> None:
    assert (await refused(stub.GetUpload(pb.GetUploadRequest(stream="f", upload_id="u"))))[0] is (
        grpc.StatusCode.NOT_FOUND
    )
    assert (await refused(stub.Upload(parts([b"x"], position=5))))[0] is grpc.StatusCode.NOT_FOUND
    await refused(stub.Upload(parts([b"abc"], end=False, upload_epoch=5, size=9)))
    for start, code in (
        ({"upload_epoch": 4}, grpc.StatusCode.ABORTED),
        ({"upload_epoch": 6, "position": 3}, grpc.StatusCode.NOT_FOUND),
        ({"upload_epoch": 5, "position": 3, "size": 8}, grpc.StatusCode.DATA_LOSS),
        ({"upload_id": "", "position": 3}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"upload_id": "a b"}, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        assert (await refused(stub.Upload(parts([b"x"], **start))))[0] is code, start
    code, said = await refused(stub.Upload(parts([b"defghi"], b"\0" * 32, upload_epoch=5, position=3, size=9)))
    assert (code, said) == (
        grpc.StatusCode.DATA_LOSS,
        "the bytes that arrived have another SHA-256 than was sent",
    )
    assert not (await stub.GetUpload(pb.GetUploadRequest(stream="f", upload_id="u"))).complete


async def test_a_newer_incarnation_begins_anew_and_shuts_out_the_older(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub
) -> None:
    go = asyncio.Event()

    async def slow() -> AsyncIterator[pb.UploadRequest]:
        async for part in parts([b"old"], end=False, upload_epoch=1):
            yield part
        await go.wait()
        yield pb.UploadRequest(chunk=b"late")

    older = asyncio.ensure_future(refused(stub.Upload(slow())))
    while not server.broker.figures.records:
        await asyncio.sleep(0.01)
    await stub.Upload(parts([b"new"], upload_epoch=2))
    go.set()
    assert (await older)[0] is grpc.StatusCode.ABORTED
    assert await content(server.broker, "f") == b"oldnew"


async def test_a_call_that_goes_on_takes_over_from_one_that_hangs(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub
) -> None:
    go = asyncio.Event()

    async def hanging() -> AsyncIterator[pb.UploadRequest]:
        async for part in parts([b"abc"], end=False):
            yield part
        await go.wait()
        yield pb.UploadRequest(chunk=b"never")

    older = asyncio.ensure_future(refused(stub.Upload(hanging())))
    while not server.broker.figures.records:
        await asyncio.sleep(0.01)
    assert (await stub.GetUpload(pb.GetUploadRequest(stream="f", upload_id="u"))).size == 3
    await stub.Upload(parts([b"def"], hashlib.sha256(b"abcdef").digest(), position=3))
    go.set()
    assert (await older)[0] is grpc.StatusCode.ABORTED
    assert await content(server.broker, "f") == b"abcdef"


@pytest.mark.parametrize("engine", ["memory", "lmdb"])
async def test_where_an_upload_stands_is_found_again_in_the_log_among_other_records(
    engine: str, tmp_path: Path
) -> None:
    places = {"data_dir": tmp_path / "log"} if engine == "lmdb" else {}
    async with running(**places, limits={"uploads": 1}) as server, Producer(server.grpc_addr) as producer:
        async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
            stub = producer_pb2_grpc.ProducerServiceStub(channel)
            forged = {"upload": "other", "chunk": "2", "position": "3"}
            for at, piece in enumerate((b"one", b"two", b"three")):
                await producer.publish("f", b"between", headers=forged)
                position = sum(map(len, (b"one", b"two", b"three")[:at]))
                await refused(stub.Upload(parts([piece], end=False, position=position)))
                await refused(stub.Upload(parts([b"-"], end=False, upload_id=f"v{at}")))  # puts "u" out of mind
            standing = await stub.GetUpload(pb.GetUploadRequest(stream="f", upload_id="u"))
            assert standing.sha256 == hashlib.sha256(b"onetwothree").digest()
            await refused(stub.Upload(parts([b"-"], end=False, upload_id="w")))
            digest = hashlib.sha256(b"onetwothreefour").digest()
            assert (await stub.Upload(parts([b"four"], digest, position=11))).sha256 == digest
            await refused(stub.Upload(parts([b"-"], end=False, upload_id="x")))
            standing = await stub.GetUpload(pb.GetUploadRequest(stream="f", upload_id="u"))
            assert (standing.complete, standing.size, standing.records) == (True, 15, 5)


@pytest.mark.parametrize("remove", ["purge", "delete"])
async def test_an_upload_whose_records_are_gone_is_said_to_be_lost(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub, remove: str
) -> None:
    await refused(stub.Upload(parts([b"abc"], end=False, upload_epoch=1)))
    await getattr(server.broker, remove)("f")
    lost = grpc.StatusCode.FAILED_PRECONDITION, "records of upload u are no longer kept: begin it anew"
    assert await refused(stub.GetUpload(pb.GetUploadRequest(stream="f", upload_id="u"))) == lost
    assert await refused(stub.Upload(parts([b"d"], upload_epoch=1, position=3))) == lost
    await stub.Upload(parts([b"abc"], upload_epoch=2))  # a newer incarnation needs none of the older
    assert await content(server.broker, "f") == b"abc"


async def test_an_upload_is_forgotten_with_the_ids_that_were_not_used_for_longest() -> None:
    async with running(limits={"idempotency_keys": 1, "uploads": 1}) as server:
        async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
            stub = producer_pb2_grpc.ProducerServiceStub(channel)
            await refused(stub.Upload(parts([b"abc"], end=False)))
            await refused(stub.Upload(parts([b"abc"], end=False, upload_id="v")))
            code, said = await refused(stub.GetUpload(pb.GetUploadRequest(stream="f", upload_id="u")))
            assert (code, said) == (grpc.StatusCode.NOT_FOUND, "there is no upload u to 'f'")


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


async def test_no_other_file_goes_on_with_an_upload(
    server: Running, stub: producer_pb2_grpc.ProducerServiceStub, http: httpx.AsyncClient
) -> None:
    right, wrong = hashlib.sha256(b"abc"), hashlib.sha256(b"abd")
    await refused(stub.Upload(parts([b"abc"], end=False, upload_epoch=5, name="a.bin")))
    go_on = {"upload_epoch": 5, "position": 3}
    for start, said in (
        ({"stored_sha256": wrong.digest()}, "the first 3 bytes of this file are not those stored of upload u"),
        ({"name": "b.bin"}, "upload u began with a file named 'a.bin', and this one is 'b.bin': if it is the same,"),
    ):
        code, detail = await refused(stub.Upload(parts([b"def"], **go_on, **start)))
        assert (code, detail.startswith(said)) == (grpc.StatusCode.DATA_LOSS, True), detail
    path = "/v1/streams/f?upload_id=u&position=3"
    for query, field in (
        (f"&file=a.bin&stored_sha256={wrong.hexdigest()}", "stored_sha256"),
        ("&file=b.bin", "name"),
        ("&file=a.bin&stored_sha256=abc", "stored_sha256"),
    ):
        answer = await http.post(path + query, content=b"def")
        assert (answer.status_code in (400, 422), answer.json()["field"]) == (True, field), answer.text
    assert await content(server.broker, "f") == b"abc"
    for start in ({"name": "renamed", "stored_sha256": right.digest()}, {"name": "a.bin"}, {}):
        await refused(stub.Upload(parts([], end=False, **go_on, **start)))
    answer = await http.post(f"{path}&file=renamed&stored_sha256={right.hexdigest()}", content=b"def")
    assert (answer.status_code, answer.json()["complete"]) == (200, True), answer.text
    assert await content(server.broker, "f") == b"abcdef"


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


def sha256_field(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


async def test_a_file_is_posted_with_any_type_and_its_digest_is_compared_and_told(
    server: Running, http: httpx.AsyncClient
) -> None:
    for stream, body in (("a", DATA), ("b", pieces(DATA))):
        told = {"Content-Type": "video/mp4; codecs=x", "Repr-Digest": f"sha-512=:AA==:, {sha256_field(DATA)}"}
        response = await http.post(f"/v1/streams/{stream}?file=f.mp4&end=1&key=k", content=body, headers=told)
        assert response.status_code == 200, response.text
        said = response.json()
        assert (said["size"], said["sha256"], said["complete"]) == (len(DATA), hashlib.sha256(DATA).hexdigest(), True)
        assert not said["evicted"]
        records = await stored(server.broker, stream)
        assert b"".join(value for value, _ in records) == DATA
        assert records[0][1]["content-type"] == "video/mp4; codecs=x"
        assert records[0][1].get("size") == (str(len(DATA)) if stream == "a" else None)
        assert server.broker.info(stream).ended
    empty = await http.post("/v1/streams/c?file=none", content=b"")
    assert (empty.status_code, empty.json()["size"]) == (200, 0)


async def pieces(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def test_a_file_larger_than_what_is_kept_is_taken_and_says_so(
    server: Running, http: httpx.AsyncClient, stub: producer_pb2_grpc.ProducerServiceStub
) -> None:
    await server.broker.create("f", Retention(max_records=2))
    assert (await stub.Upload(parts([b"a", b"b", b"c"], upload_epoch=1))).evicted
    assert not (await stub.Upload(parts([b"a"], upload_epoch=2))).evicted
    assert not (await http.get("/v1/streams/f/uploads/u")).json()["evicted"]
    await http.post("/v1/streams/f", content=b"more", headers={"Content-Type": "text/plain"})
    assert (await http.get("/v1/streams/f/uploads/u")).json()["evicted"]


@pytest.mark.parametrize("header", ["Repr-Digest", "Content-Digest"])
async def test_a_posted_file_with_a_wrong_digest_does_not_become_complete(
    server: Running, http: httpx.AsyncClient, header: str
) -> None:
    wrong = {header: sha256_field(b"other"), "Content-Type": "a/b"}
    response = await http.post("/v1/streams/f?file=x&upload_id=u&end=1", content=DATA, headers=wrong)
    problem = response.json()
    assert (response.status_code, problem["type"], problem["field"]) == (
        422,
        "/problems/digest-mismatch",
        header.lower(),
    )
    assert problem["size"] == len(DATA)
    standing = (await http.get("/v1/streams/f/uploads/u")).json()
    assert (standing["complete"], standing["size"]) == (False, len(DATA))
    assert not server.broker.info("f").ended


async def test_a_posted_file_goes_on_where_its_connection_was_cut(server: Running, http: httpx.AsyncClient) -> None:
    data = os.urandom(2 * 2**20 + 3)
    async with cutting(server.http_port, 900_000, seed=5, least_bytes=700_000) as proxy:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}") as broken:
            with pytest.raises(httpx.TransportError):
                await broken.post("/v1/streams/f?file=x&upload_id=u", content=data)
    while server.broker.uploads._active:
        await asyncio.sleep(0.01)
    standing = (await http.get("/v1/streams/f/uploads/u")).json()
    at = standing["size"]
    assert 0 < at < len(data)
    assert standing["sha256"] == hashlib.sha256(data[:at]).hexdigest()
    path = "/v1/streams/f?file=x&upload_id=u"
    anew = await http.post(path, content=data)
    assert (anew.status_code, anew.json()["detail"]) == (409, f"upload u stands at byte {at}: it cannot go on at 0")
    told = {"Repr-Digest": sha256_field(data), "Content-Digest": sha256_field(data[at:])}
    response = await http.post(f"{path}&position={at}", content=data[at:], headers=told)
    assert (response.status_code, response.json()["size"]) == (200, len(data)), response.text
    assert await content(server.broker, "f") == data


@pytest.mark.parametrize(
    ("query", "headers", "status", "field"),
    [
        ("file=x&split=1", {}, 400, "split"),
        ("file=x&producer=p&sequence=1", {}, 400, "producer"),
        ("file=x", {"Idempotency-Key": "k"}, 400, "upload_id"),
        ("file=x&position=1", {}, 400, "position"),
        ("file=x&upload_id=u&position=1", {}, 404, "upload_id"),
        ("file=x&upload_id=a.b", {}, 400, "upload_id"),
        ("file=x&position=-1", {}, 400, "position"),
        ("file=a%0Ab", {}, 400, "headers"),
        ("file=x", {"Repr-Digest": "sha-256=abc"}, 400, "repr-digest"),
        ("file=x", {"Content-Type": "nonsense"}, 415, "content-type"),
        ("file=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "content-type"),
        ("upload_id=u", {"Content-Type": "text/plain"}, 400, "upload_id"),
        ("end=1", {"Content-Type": "text/plain"}, 400, "end"),
    ],
)
async def test_a_wrong_post_of_a_file_names_what_was_wrong(
    server: Running, http: httpx.AsyncClient, query: str, headers: dict[str, str], status: int, field: str
) -> None:
    response = await http.post(f"/v1/streams/f?{query}", content=b"abc", headers=headers)
    assert (response.status_code, response.json()["field"]) == (status, field), response.text
    assert server.broker.log.last_offset == 0
