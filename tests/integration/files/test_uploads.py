"""Uploads over a real channel: what is stored, how one goes on after a break, and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
from rat.v1 import producer_pb2 as pb
from rat.v1 import producer_pb2_grpc

from ratsvc.client import Producer
from ratsvc.core.cursor import Earliest
from ratsvc.core.retention import Retention
from ratsvc.flow.broker import ReadRequest
from tests.conftest import Running, running
from tests.integration.files.uploads import CHUNK, DATA, content, parts, refused, stored


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


async def test_a_file_larger_than_what_is_kept_is_taken_and_says_so(
    server: Running, http: httpx.AsyncClient, stub: producer_pb2_grpc.ProducerServiceStub
) -> None:
    await server.broker.create("f", Retention(max_records=2))
    assert (await stub.Upload(parts([b"a", b"b", b"c"], upload_epoch=1))).evicted
    assert not (await stub.Upload(parts([b"a"], upload_epoch=2))).evicted
    assert not (await http.get("/v1/streams/f/uploads/u")).json()["evicted"]
    await http.post("/v1/streams/f", content=b"more", headers={"Content-Type": "text/plain"})
    assert (await http.get("/v1/streams/f/uploads/u")).json()["evicted"]


async def sending(*sent: pb.UploadRequest) -> AsyncIterator[pb.UploadRequest]:
    for part in sent:
        yield part


async def test_an_upload_is_checked_and_told(server: Running, stub: producer_pb2_grpc.ProducerServiceStub) -> None:
    Part = pb.UploadRequest  # noqa: N806
    start = Part(start=pb.UploadStart(stream="f", name="x.bin", content_type="a/b", end_stream=True))
    data = b"abc" * 1_000
    end = Part(end=pb.UploadEnd(sha256=hashlib.sha256(data * 2).digest()))
    response = await stub.Upload(sending(start, Part(chunk=data), Part(chunk=data), end))
    assert (response.size, response.records, response.sha256) == (6_000, 3, hashlib.sha256(data * 2).digest())
    assert [value for value, _ in await stored(server.broker, "f")] == [data, data, b""]
    assert server.broker.info("f").ended
    begin = Part(start=pb.UploadStart(stream="g"))
    for sent, code in (
        ([begin, Part(chunk=b"x"), end], grpc.StatusCode.DATA_LOSS),
        ([begin, Part(chunk=b"x")], grpc.StatusCode.INVALID_ARGUMENT),
        ([Part(chunk=b"x")], grpc.StatusCode.INVALID_ARGUMENT),
        ([begin, begin], grpc.StatusCode.INVALID_ARGUMENT),
        ([begin, Part(chunk=b"")], grpc.StatusCode.INVALID_ARGUMENT),
        ([begin, Part(chunk=bytes(2**20 + 1))], grpc.StatusCode.RESOURCE_EXHAUSTED),
        ([begin, Part()], grpc.StatusCode.INVALID_ARGUMENT),
        ([Part(start=pb.UploadStart(stream="a b"))], grpc.StatusCode.INVALID_ARGUMENT),
        ([start, Part(chunk=b"x"), end], grpc.StatusCode.FAILED_PRECONDITION),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Upload(sending(*sent))
        assert caught.value.code() is code
