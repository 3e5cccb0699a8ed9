"""Reading, streams, health and reflection over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from rat.v1 import admin_pb2 as admin
from rat.v1 import admin_pb2_grpc, consumer_pb2_grpc, producer_pb2_grpc, record_pb2
from rat.v1 import consumer_pb2 as pb

from ratsvc.client import Consumer
from ratsvc.client.frames import Received
from ratsvc.core.draft import Draft
from ratsvc.core.retention import Retention
from ratsvc.quickmem import from_data_value, wire
from tests.conftest import Running, running
from tests.integration.grpc.test_publish import request


@pytest_asyncio.fixture
async def channel(server: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        yield channel


async def put(server: Running, stream: str, *values: object) -> None:
    await server.broker.submit(Draft(stream, [wire.record(value) for value in values]))


def subscribe(channel: grpc.aio.Channel, *streams: str, start: str = "earliest", **fields: object):  # type: ignore[no-untyped-def]
    request = pb.SubscribeRequest(streams=streams, **{"from": start}, **fields)
    return consumer_pb2_grpc.ConsumerServiceStub(channel).Subscribe(request)


async def test_frames_come_from_the_start_to_the_end(server: Running, channel: grpc.aio.Channel) -> None:
    await put(server, "a.x", 1, 2)
    call = subscribe(channel, "a.*")
    start = await call.read()
    assert (start.start.cursor, start.start.epoch) == (f"{server.broker.epoch}-0", server.broker.epoch)
    batch = (await call.read()).batch
    assert (batch.stream, batch.first_offset, [from_data_value(r.value) for r in batch.records]) == ("a.x", 1, [1, 2])
    await put(server, "a.y", "live")
    assert (await call.read()).batch.stream == "a.y"
    call.cancel()
    await server.broker.end("a.x")
    frames = [frame async for frame in subscribe(channel, "a.x")]
    assert [frame.WhichOneof("kind") for frame in frames] == ["start", "batch", "end"]


async def test_filters_limits_and_heartbeats(server: Running, channel: grpc.aio.Channel) -> None:
    for n in range(6):
        await server.broker.submit(Draft("s", [wire.record(n, "ab"[n % 2])], ["ab"[n % 2]]))
    frames = [frame async for frame in subscribe(channel, "s", keys=["b"], limit=2)]
    assert [r.key for frame in frames for r in frame.batch.records] == ["b", "b"]
    assert frames[-1].end.reason == "limit"
    call = subscribe(channel, "s", start="latest", heartbeat=Duration(seconds=1))
    await call.read()
    assert (await call.read()).heartbeat.cursor == f"{server.broker.epoch}-6"
    call.cancel()


async def test_an_abandoned_call_gives_its_place_back(server: Running, channel: grpc.aio.Channel) -> None:
    calls = [subscribe(channel, "s", start="latest") for _ in range(20)]
    for call in calls:
        await call.read()
    assert len(server.broker.subscriptions) == 20
    for call in calls:
        call.cancel()
    for _ in range(100):
        if not server.broker.subscriptions:
            break
        await asyncio.sleep(0.02)
    assert not server.broker.subscriptions


async def test_a_reader_that_reads_nothing_holds_nobody_up(server: Running, channel: grpc.aio.Channel) -> None:
    stuck = subscribe(channel, "s", start="latest")
    reader = subscribe(channel, "s", start="latest")
    await stuck.read()
    await reader.read()
    for n in range(200):
        await put(server, "s", b"x" * 100_000)
        assert (await reader.read()).batch.first_offset == n + 1
    stuck.cancel()
    reader.cancel()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"streams": []}, "streams"),
        ({"streams": ["a b"]}, "streams"),
        ({"streams": ["(a+)+$"]}, "streams"),
        ({"streams": ["s"], "from": "newest"}, "from"),
        ({"streams": ["s"], "until": "x"}, "until"),
        ({"streams": ["s"], "until": "0ther-1"}, "until"),
        ({"streams": ["s"], "heartbeat": Duration(nanos=1)}, "heartbeat"),
        ({"streams": ["s"], "heartbeat": Duration(seconds=4_000)}, "heartbeat"),
        ({"streams": ["s"], "overflow": 9}, "overflow"),
        ({"streams": ["s"], "keys": ["a\nb"]}, "key"),
    ],
)
async def test_a_bad_subscription_is_refused_and_names_the_field(
    server: Running, channel: grpc.aio.Channel, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in consumer_pb2_grpc.ConsumerServiceStub(channel).Subscribe(pb.SubscribeRequest(**fields)):  # type: ignore[arg-type]
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (caught.value.details() or "")
    assert not server.broker.subscriptions


async def test_too_many_streams_in_a_subscription(server: Running, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await subscribe(channel, *[f"s{n}" for n in range(129)]).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unknown_stream_is_waited_for_or_not_found_and_never_made(
    server: Running, channel: grpc.aio.Channel
) -> None:
    stub = consumer_pb2_grpc.ConsumerServiceStub(channel)
    streams = admin_pb2_grpc.StreamServiceStub(channel)
    for call in (
        stub.Fetch(pb.FetchRequest(streams=["none"])),
        streams.GetStream(admin.GetStreamRequest(name="none")),
        streams.EndStream(admin.EndStreamRequest(name="none")),
        streams.PurgeStream(admin.PurgeStreamRequest(name="none")),
        streams.DeleteStream(admin.DeleteStreamRequest(name="none")),
        streams.UpdateStream(admin.UpdateStreamRequest(name="none")),
        subscribe(channel, "none", must_exist=True).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    waiting = subscribe(channel, "none")
    await waiting.read()
    assert server.broker.list() == []
    await put(server, "none", 7)
    assert (await waiting.read()).batch.first_offset == 1
    waiting.cancel()


async def test_pages_are_read_one_after_the_other(server: Running, channel: grpc.aio.Channel) -> None:
    stub = consumer_pb2_grpc.ConsumerServiceStub(channel)
    await server.broker.create("s", Retention(max_records=20))
    await put(server, "s", *range(30))
    seen: list[object] = []
    page = await stub.Fetch(pb.FetchRequest(streams=["s"], limit=7, **{"from": f"{server.broker.epoch}-3"}))
    assert [(gap.to, gap.reason) for gap in page.gaps] == [(f"{server.broker.epoch}-10", 1)]
    while page.batches:
        seen += [from_data_value(r.value) for batch in page.batches for r in batch.records]
        page = await stub.Fetch(pb.FetchRequest(streams=["s"], limit=7, **{"from": page.next}))
    assert seen == list(range(10, 30))
    waiting = asyncio.ensure_future(
        stub.Fetch(pb.FetchRequest(streams=["s"], wait=Duration(seconds=20), **{"from": page.next}))
    )
    await asyncio.sleep(0.05)
    await put(server, "s", "new")
    assert (await waiting).batches[0].first_offset == 31
    for bad in (
        {"limit": 10_001},
        {"wait": Duration(seconds=61)},
        {"wait": Duration(seconds=-1)},
        {"until": "x"},
        {"until": "0ther-1"},
        {"from": "newest"},
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Fetch(pb.FetchRequest(streams=["s"], **bad))  # type: ignore[arg-type]
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_page_ends_where_it_is_told_to(server: Running, channel: grpc.aio.Channel) -> None:
    stub = consumer_pb2_grpc.ConsumerServiceStub(channel)
    await put(server, "s", *range(10))
    epoch = server.broker.epoch

    async def read(**fields: object) -> list[object]:
        page = await stub.Fetch(pb.FetchRequest(streams=["s"], wait=Duration(seconds=20), **fields))  # type: ignore[arg-type]
        return [from_data_value(r.value) for batch in page.batches for r in batch.records]

    assert await read(until=f"{epoch}-4") == [0, 1, 2, 3]
    assert await read(until=f"{epoch}-4", limit=2) == [0, 1]
    assert await read(until="now", **{"from": f"{epoch}-8"}) == [8, 9]
    assert await read(until="now", **{"from": "latest"}) == []  # and at once


async def test_a_page_fits_into_a_message_that_any_client_takes(server: Running, channel: grpc.aio.Channel) -> None:
    large = [bytes([n]) * 1_000_000 for n in range(9)]
    await put(server, "s", *large[:4])
    for value in large[4:]:
        await put(server, "s", value)
    await put(server, "s" * 200, *[""] * 10_000)
    for _ in range(5_000):
        await put(server, "s" * 200, "")
    stub = consumer_pb2_grpc.ConsumerServiceStub(channel)
    request = pb.FetchRequest(streams=["s", "s" * 200], limit=10_000)
    seen: list[object] = []
    pages = 0
    while (page := await stub.Fetch(request)).batches:
        assert page.ByteSize() < 4 * 2**20
        seen += [from_data_value(r.value) for batch in page.batches for r in batch.records]
        setattr(request, "from", page.next)
        pages += 1
    assert seen == large + [""] * 15_000
    assert pages < 10


async def test_frames_fit_into_what_any_client_takes_and_are_made_once_for_all(
    server: Running, channel: grpc.aio.Channel
) -> None:
    small: list[object] = ["x" * 400] * 10_000
    large: list[object] = [bytes([n]) * 698_900 for n in range(6)]
    large[-1] = bytes(698_900 + 4 * 2**20 - request("s", *large).ByteSize())
    for values in (small, large):
        whole = request("s", *values)
        assert whole.ByteSize() in (4_120_003, 4 * 2**20)
        await producer_pb2_grpc.ProducerServiceStub(channel).Publish(whole)
    total = len(small) + len(large)
    live = subscribe(channel, "s", start="latest")
    await live.read()
    for _ in range(2):
        frames = [frame async for frame in subscribe(channel, "s", limit=total)]
        batches = [frame.batch for frame in frames if frame.HasField("batch")]
        assert [from_data_value(r.value) for batch in batches for r in batch.records] == [*small, *large]
        assert [batch.first_offset for batch in batches][0::2] == [1, len(small) + 1]
    await put(server, "s", *large)
    assert sum([len((await live.read()).batch.records) for _ in range(2)]) == len(large)
    live.cancel()
    consumer = Consumer(server.http_url, "s", from_="earliest", limit=total)
    assert [item.value async for item in consumer if isinstance(item, Received)] == [*small, *large]


async def test_a_page_that_was_cut_keeps_its_gaps(server: Running, channel: grpc.aio.Channel) -> None:
    for n in range(6):
        await put(server, "s", bytes([n]) * 1_000_000)
    page = await consumer_pb2_grpc.ConsumerServiceStub(channel).Fetch(
        pb.FetchRequest(streams=["s"], **{"from": "0ther-999999"})
    )
    assert [gap.reason for gap in page.gaps] == [record_pb2.GAP_REASON_EPOCH]
    assert page.next == f"{server.broker.epoch}-4"


@pytest.mark.parametrize("cursor", ["0ther-1", "{epoch}-999999"])
async def test_a_cursor_that_is_not_of_this_log_gets_a_gap_and_all_there_is(
    server: Running, channel: grpc.aio.Channel, cursor: str
) -> None:
    await put(server, "s", 1, 2)
    call = subscribe(channel, "s", start=cursor.format(epoch=server.broker.epoch), limit=2)
    kinds = [(frame.WhichOneof("kind"), frame.gap.reason) async for frame in call]
    assert kinds == [("start", 0), ("gap", record_pb2.GAP_REASON_EPOCH), ("batch", 0), ("end", 0)]


async def test_a_failure_in_a_subscription_says_nothing_of_itself(server: Running, channel: grpc.aio.Channel) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("/secret/path")

    await put(server, "s", 1)
    server.broker.read = broken  # type: ignore[method-assign,assignment]
    fetch = consumer_pb2_grpc.ConsumerServiceStub(channel).Fetch(pb.FetchRequest(streams=["s"]))
    subscription = subscribe(channel, "s")
    await subscription.read()
    for answer in (subscription.read(), fetch):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")


async def test_a_stream_is_made_shown_changed_ended_purged_and_deleted(
    server: Running, channel: grpc.aio.Channel
) -> None:
    streams = admin_pb2_grpc.StreamServiceStub(channel)
    keep = admin.Retention(max_records=5, max_age=Duration(seconds=60))
    made = (await streams.CreateStream(admin.CreateStreamRequest(name="s", retention=keep))).stream
    assert (made.retention.max_records, made.retention.max_age.seconds) == (5, 60)
    assert (await streams.CreateStream(admin.CreateStreamRequest(name="s", retention=keep))).stream == made
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await streams.CreateStream(admin.CreateStreamRequest(name="s", retention=admin.Retention(max_records=6)))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    await put(server, "s", *range(9))
    shown = (await streams.GetStream(admin.GetStreamRequest(name="s"))).stream
    assert (shown.records, shown.first_offset, shown.last_offset) == (5, 5, 9)
    changed = await streams.UpdateStream(admin.UpdateStreamRequest(name="s", retention=admin.Retention(max_records=2)))
    assert changed.stream.records == 2
    assert (await streams.EndStream(admin.EndStreamRequest(name="s"))).stream.ended
    assert (await streams.PurgeStream(admin.PurgeStreamRequest(name="s"))).stream.records == 0
    await streams.DeleteStream(admin.DeleteStreamRequest(name="s"))
    assert server.broker.list() == []


async def test_streams_are_listed_by_pages(server: Running, channel: grpc.aio.Channel) -> None:
    streams = admin_pb2_grpc.StreamServiceStub(channel)
    for n in range(25):
        await server.broker.create(f"a.{n:02}")
    await server.broker.create("b")
    names: list[str] = []
    token = ""
    while True:
        page = await streams.ListStreams(admin.ListStreamsRequest(pattern="a.*", page_size=10, page_token=token))
        names += [stream.name for stream in page.streams]
        token = page.next_page_token
        if not token:
            break
    assert names == [f"a.{n:02}" for n in range(25)]


async def test_health_says_when_the_service_goes(server: Running, channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "rat.v1.ProducerService"):
        check = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert check.status == health_pb2.HealthCheckResponse.SERVING
    await server.server.drain(0)
    check = await health.Check(health_pb2.HealthCheckRequest())
    assert check.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection_names_the_services(server: Running, channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name for service in (await call.read()).list_services_response.service}
    assert {"rat.v1.ProducerService", "rat.v1.ConsumerService", "rat.v1.StreamService"} <= names


async def test_readers_over_the_limit_are_told_to_come_back_later() -> None:
    async with running(limits={"subscriptions": 1}) as server:
        async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
            first = subscribe(channel, "s")
            await first.read()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await subscribe(channel, "s").read()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            first.cancel()


async def test_a_snapshot_comes_first_and_its_frames_say_its_point(server: Running, channel: grpc.aio.Channel) -> None:
    for n in range(6):
        key = "abc"[n % 3]
        await server.broker.submit(Draft("s", [wire.record(n, key)], [key]))
    epoch = server.broker.epoch
    call = subscribe(channel, "s", start="", snapshot=True)
    assert (await call.read()).start.cursor == f"{epoch}-0~6"
    batches = [(await call.read()).batch for _ in range(3)]
    assert [(batch.first_offset, batch.snapshot) for batch in batches] == [(4, 6), (5, 6), (6, 6)]
    assert (await call.read()).heartbeat.cursor == f"{epoch}-6"
    await put(server, "s", "live")
    batch = (await call.read()).batch
    assert (from_data_value(batch.records[0].value), batch.snapshot) == ("live", 0)
    call.cancel()
    call = subscribe(channel, "s", start=f"{epoch}-4~6", snapshot=True)
    assert [(await call.read()).batch.first_offset for _ in range(4)] == [0, 5, 6, 0]
    call.cancel()
    with pytest.raises(grpc.aio.AioRpcError, match="snapshot and from"):
        await subscribe(channel, "s", start="earliest", snapshot=True).read()


async def test_a_page_of_a_snapshot_goes_on_with_the_next(server: Running, channel: grpc.aio.Channel) -> None:
    for n in range(6):
        key = "abc"[n % 3]
        await server.broker.submit(Draft("s", [wire.record(n, key)], [key]))
    stub = consumer_pb2_grpc.ConsumerServiceStub(channel)
    first = await stub.Fetch(pb.FetchRequest(streams=["s"], snapshot=True, limit=2))
    assert [batch.first_offset for batch in first.batches] == [4, 5]
    assert first.next == f"{server.broker.epoch}-5~6"
    rest = await stub.Fetch(pb.FetchRequest(streams=["s"], snapshot=True, **{"from": first.next}))
    assert [batch.first_offset for batch in rest.batches] == [6]
    assert rest.next == f"{server.broker.epoch}-6"


async def test_changed_documents_come_as_patches(server: Running, channel: grpc.aio.Channel) -> None:
    async def change(**changes: object) -> None:
        await put(server, "s", {"name": "long enough to be worth a patch" * 3, **changes})

    await change(a=1)
    await change(a=2)
    call = subscribe(channel, "s", delta=pb.DELTA_JSON_PATCH)
    kinds = [(await call.read()).WhichOneof("kind") for _ in range(2)]
    assert kinds == ["start", "batch"]
    await change(a=datetime(2026, 1, 2, tzinfo=UTC), b=b"\x00")
    patches = [(await call.read()).patch for _ in range(2)]
    assert [patch.offset for patch in patches] == [2, 3]
    operations = [(one.op, one.path, from_data_value(one.value)) for one in patches[1].operations]
    assert operations == [("replace", "/a", datetime(2026, 1, 2, tzinfo=UTC)), ("add", "/b", b"\x00")]
    call.cancel()
    with pytest.raises(grpc.aio.AioRpcError, match="delta must be"):
        await subscribe(channel, "s", delta=9).read()
