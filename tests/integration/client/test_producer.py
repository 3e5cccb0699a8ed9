"""The Python producer on a real service: batches, refusals, retries without duplicates."""

from __future__ import annotations

import asyncio
import itertools
import socket
from contextlib import closing
from pathlib import Path

import pytest

from ratsvc.client import Producer, SyncProducer
from ratsvc.core.cursor import Earliest
from ratsvc.errors import DiskFull, InvalidArgument, InvalidValue, ProducerFenced, StreamEnded, TooLarge, Unavailable
from ratsvc.flow.broker import ReadRequest
from ratsvc.logs.lmdb.engine import LmdbLog
from ratsvc.quickmem import wire
from tests.conftest import Running, running, stored
from tests.faults.proxy import AckCuttingProxy
from tests.proxy import cutting

MIB = 1024 * 1024


async def test_records_arrive_in_order_with_their_labels(server: Running) -> None:
    async with Producer(server.grpc_addr) as producer:
        first = await producer.publish("s", {"n": 0}, key="k", event="e", headers={"a": "b"})
        futures = [await producer.send("s", {"n": n}) for n in range(1, 5_000)]
    places = [first, *(future.result() for future in futures)]
    assert [place.offset for place in places] == list(range(1, 5_001))
    assert places[-1].cursor == f"{server.broker.epoch}-5000"
    assert await stored(server.broker, "s") == [{"n": n} for n in range(5_000)]
    (batch,) = (await server.broker.fetch(ReadRequest(("s",), Earliest(), limit=1))).batches
    assert (batch.keys, batch.events, wire.headers(batch.records[0])) == (["k"], ["e"], {"a": "b"})


async def test_a_refused_record_fails_alone_and_the_rest_arrives_once(server: Running) -> None:
    await server.broker.create("ended")
    await server.broker.end("ended")
    async with Producer(server.grpc_addr, linger_ms=0.5, max_batch_records=3) as producer:
        futures = []
        for n in range(300):
            futures.append(await producer.send("s", n))
            if n % 50 == 10:
                futures.append(await producer.send("ended", n))
                await asyncio.sleep(0.002)
        with pytest.raises(StreamEnded):
            await producer.flush()
        refused = [future for future in futures if future.exception()]
        assert len(refused) == 6
        assert all(isinstance(future.exception(), StreamEnded) for future in refused)
    assert await stored(server.broker, "s") == list(range(300))


async def test_what_cannot_be_published_is_refused_before_it_is_sent(server: Running) -> None:
    async with Producer(server.grpc_addr) as producer:
        for stream, value, options in (
            ("a b", 1, {}),
            ("s", 1, {"event": "gap"}),
            ("s", 1, {"key": "a\nb"}),
            ("s", 2**64, {}),
        ):
            with pytest.raises((InvalidArgument, InvalidValue)):
                await producer.send(stream, value, **options)
        with pytest.raises(TooLarge):
            await producer.publish("s", b"x" * (2 * 1024 * 1024))
        assert (await producer.publish("s", "fine")).offset == 1


@pytest.mark.parametrize("size", [6 * MIB, 65 * MIB])
async def test_a_record_that_the_transport_refuses_fails_alone_and_at_once(server: Running, size: int) -> None:
    async with Producer(server.grpc_addr, linger_ms=0.5, max_batch_records=3) as producer:
        before = [await producer.send("s", n) for n in range(50)]
        large = await producer.send("s", b"x" * size)
        after = [await producer.send("s", n) for n in range(50, 100)]
        with pytest.raises(TooLarge, match="larger than max"):
            await asyncio.wait_for(large, 60)
        with pytest.raises(TooLarge):
            await producer.flush()
        assert [future.result().offset for future in before + after] == list(range(1, 101))
    assert await stored(server.broker, "s") == list(range(100))


async def test_a_newer_producer_shuts_out_the_older(server: Running) -> None:
    async with Producer(server.grpc_addr, producer_id="p") as old:
        await old.publish("s", 1)
        await asyncio.sleep(0.002)
        async with Producer(server.grpc_addr, producer_id="p") as new:
            await new.publish("s", 2)
            with pytest.raises(ProducerFenced):
                await old.publish("s", 3)
            with pytest.raises(ProducerFenced):
                await old.send("s", 4)
    assert await stored(server.broker, "s") == [1, 2]


async def test_an_older_producer_that_begins_a_new_epoch_does_not_shut_out_the_newer(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(1_000)
    monkeypatch.setattr("ratsvc.client.outbox.time", lambda: next(seconds))
    await server.broker.create("ended")
    await server.broker.end("ended")
    async with Producer(server.grpc_addr, producer_id="p") as old, Producer(server.grpc_addr, producer_id="p") as new:
        for n in range(3):
            with pytest.raises(StreamEnded):
                await old.publish("ended", n)
            await old.publish("s", n)
        await new.publish("s", 3)
        with pytest.raises(ProducerFenced):
            await old.publish("s", 4)
    assert await stored(server.broker, "s") == [0, 1, 2, 3]


@pytest.mark.timeout(90)
async def test_hundreds_of_cut_connections_neither_lose_nor_repeat_a_record(server: Running) -> None:
    async with cutting(server.grpc_port, 8_000, seed=3) as proxy:
        async with Producer(f"127.0.0.1:{proxy.port}", linger_ms=0.5, max_batch_records=20) as producer:
            for n in range(5_000):
                await producer.send(f"s.{n % 2}", n)
                if n % 100 == 0:
                    await asyncio.sleep(0)
            await asyncio.wait_for(asyncio.shield(producer.flush()), 80)
        assert proxy.cuts >= 20
    assert await stored(server.broker, "s.0") == list(range(0, 5_000, 2))
    assert await stored(server.broker, "s.1") == list(range(1, 5_000, 2))


async def test_a_producer_goes_on_with_a_service_that_lost_its_memory() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    async with Producer(address, linger_ms=0.5, max_batch_records=5) as producer:
        async with running(grpc=address):
            for n in range(50):
                await producer.send("s", n)
            await producer.flush()
        futures = [await producer.send("s", n) for n in range(50, 100)]
        async with running(grpc=address) as again:
            await asyncio.wait_for(producer.flush(), 20)
            assert await stored(again.broker, "s") == list(range(50, 100))
            assert all(not future.result().duplicate for future in futures)


async def test_an_unreachable_service_fails_a_record_in_time() -> None:
    with pytest.raises(Unavailable, match=r"not delivered to 127\.0\.0\.1:1 in 0\.3 s"):
        async with Producer("127.0.0.1:1", delivery_timeout_s=0.3) as producer:
            await producer.publish("s", 1)


async def test_what_may_be_stored_is_given_up_with_what_is_too_late_and_never_numbered_anew(server: Running) -> None:
    proxy = AckCuttingProxy(server.grpc_port, cut=1.0)
    with closing(await proxy.start()) as listener:  # not `async with`: from 3.12 on that waits for its connections
        address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with Producer(address, linger_ms=0, max_batch_records=1, delivery_timeout_s=1.0) as producer:
            early = await producer.send("s", "early")
            await asyncio.sleep(0.6)  # so that it expires when the other one does not
            late = await producer.send("s", "late")
            with pytest.raises(Unavailable, match="may be stored all the same"):
                await early
            proxy.cut = 0.0
            with pytest.raises(Unavailable, match="may be stored all the same"):
                await late
            with pytest.raises(Unavailable):
                await producer.flush()
            assert (await producer.publish("s", "next")).duplicate is False
    assert await stored(server.broker, "s") == ["early", "late", "next"]


async def test_a_full_disk_that_passes_costs_a_producer_time_and_no_record(tmp_path: Path) -> None:
    async with running(data_dir=tmp_path / "log") as server:
        log = server.broker.log
        assert isinstance(log, LmdbLog)
        async with Producer(server.grpc_addr, linger_ms=0.5, max_batch_records=3) as producer:
            await producer.publish("s", 0)
            log._room.is_full = True  # until the next look at the disk, every half second, which finds that it is not
            futures = [await producer.send("s", n) for n in range(1, 50)]
            async with asyncio.timeout(30):
                await producer.flush()
            assert server.broker.figures.refused["disk-full"]
        assert not any(future.result().duplicate for future in futures)
        assert await stored(server.broker, "s") == list(range(50))


async def test_a_disk_that_stays_full_fails_a_record_in_time_as_what_it_is(tmp_path: Path) -> None:
    async with running(data_dir=tmp_path / "log", disk={"reserve_bytes": 2**60}) as server:
        log = server.broker.log
        assert isinstance(log, LmdbLog)
        while not log._room.is_full:
            await asyncio.sleep(0.01)
        async with Producer(server.grpc_addr, delivery_timeout_s=0.3) as producer:
            with pytest.raises(DiskFull, match=r"not delivered to .* in 0\.3 s: the disk is nearly full"):
                await producer.publish("s", 1)
        assert not log.last_offset


async def test_the_buffer_is_bounded() -> None:
    async with running(limits={"queue_records": 1}) as server:
        async with Producer(server.grpc_addr, max_buffered_bytes=10_000, linger_ms=0) as producer:
            for _n in range(500):
                await producer.send("s", "x" * 1_000)
                assert producer._outbox.buffered <= 12_000
    assert server.broker.figures.records == 500


async def test_an_upload_comes_back_byte_for_byte(server: Running, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4_096
    (tmp_path / "file.bin").write_bytes(data)
    seen: list[int] = []
    async with Producer(server.grpc_addr) as producer:
        response = await producer.upload("f", str(tmp_path / "file.bin"), end_stream=True, progress=seen.append)
    assert response.size == len(data) == seen[-1]
    assert b"".join(await stored(server.broker, "f")) == data  # type: ignore[arg-type]
    assert server.broker.info("f").ended


def test_the_sync_producer_publishes_from_many_threads(tmp_path: Path) -> None:
    import threading

    loop = asyncio.new_event_loop()
    context = running()
    server = loop.run_until_complete(context.__aenter__())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with SyncProducer(server.grpc_addr) as producer:
            assert producer.publish("s", "first").offset == 1
            workers = [
                threading.Thread(target=lambda w=w: [producer.send("s", [w, n]) for n in range(100)]) for w in range(4)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            producer.flush()
            with pytest.raises(InvalidArgument):
                producer.publish("b b", 1)
        values = asyncio.run_coroutine_threadsafe(stored(server.broker, "s"), loop).result()[1:]
        for w in range(4):
            assert [n for who, n in values if who == w] == list(range(100))  # type: ignore[misc]
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
