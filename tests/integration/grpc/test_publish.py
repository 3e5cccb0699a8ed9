"""Publishing over a real channel: what is taken, what is refused and how; back-pressure; what a vanished producer
leaves."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from math import inf, nan

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from rat.v1 import admin_pb2, admin_pb2_grpc, producer_pb2, producer_pb2_grpc, record_pb2, value_pb2

from ratsvc.core.record import Batch
from ratsvc.quickmem import to_data_value
from tests.conftest import Running, running, stored

Value = value_pb2.DataValue
INVALID, TOO_LARGE, FAILED, ABORTED = 3, 8, 9, 10


def request(stream: str, *values: object, **fields: object) -> producer_pb2.PublishRequest:
    records = [v if isinstance(v, record_pb2.Record) else record_pb2.Record(value=to_data_value(v)) for v in values]
    return producer_pb2.PublishRequest(stream=stream, records=records, **fields)  # type: ignore[arg-type]


def ref(sequence: int, epoch: int = 0, id: str = "p") -> producer_pb2.ProducerRef:
    return producer_pb2.ProducerRef(id=id, epoch=epoch, sequence=sequence)


@pytest_asyncio.fixture
async def channel(server: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        yield channel


async def exchange(channel: grpc.aio.Channel, messages: list[bytes]) -> list[producer_pb2.PublishStreamResponse]:
    """Sends raw messages over one PublishStream, and gives all responses."""
    call = channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)()

    async def send() -> None:
        for message in messages:
            await call.write(message)
        await call.done_writing()

    sending = asyncio.create_task(send())
    responses = [producer_pb2.PublishStreamResponse.FromString(data) async for data in call]
    await sending
    return responses


def deep(depth: int) -> bytes:
    """MessagePack lists within lists."""
    return b"\x91" * (depth - 1) + b"\x90"


def tree(depth: int) -> value_pb2.DataValue:
    value = Value(list_value=value_pb2.ListValue())
    for _ in range(depth - 1):
        value = Value(list_value=value_pb2.ListValue(items=[value]))
    return value


def record(**kind: object) -> record_pb2.Record:
    return record_pb2.Record(value=Value(**kind))  # type: ignore[arg-type]


BAD_VALUES = {
    "packed that is not MessagePack": record(packed=b"\xc1"),
    "packed that stops short": record(packed=b"\x92\x01"),
    "packed with trailing bytes": record(packed=b"\x01\x01"),
    "empty packed": record(packed=b""),
    "packed with an integer key": record(packed=b"\x81\x01\x02"),
    "packed with an extension": record(packed=b"\xd4\x05\x01"),
    "packed with bad UTF-8": record(packed=b"\xa2\xff\xff"),
    "packed that claims 4 GiB": record(packed=b"\xdd\xff\xff\xff\xff"),
    "packed 33 deep": record(packed=deep(33)),
    "packed 20,000 deep": record(packed=deep(20_000)),
    "tree 33 deep": record_pb2.Record(value=tree(33)),
    "a million booleans": record(packed=b"\xdd\x00\x0f\x42\x40" + b"\xc3" * 1_000_000),
    "json that does not parse": record(json=b"{"),
    "json with trailing bytes": record(json=b"1 2"),
    "json 33 deep": record(json=b"[" * 33 + b"]" * 33),
    "json 100,000 deep": record(json=b"[" * 100_000),
    "json with bad UTF-8": record(json=b'"\xff"'),
    "json with a lone surrogate": record(json=b'"\\ud800"'),
    "json with NaN": record(json=b"NaN"),
    "json out of a double's range": record(json=b"1e400"),
    "json integer over 64 bits": record(json=b"18446744073709551616"),
    "json integer of 5,000 digits": record(json=b"1" * 5_000),
    "json with a byte-order mark": record(json=b"\xef\xbb\xbf1"),
    "no kind": record_pb2.Record(value=Value()),
    "no value": record_pb2.Record(),
    "no kind inside a list": record(list_value=value_pb2.ListValue(items=[Value()])),
    "event with a line break": record_pb2.Record(value=Value(bool_value=True), event="a\ndata: evil"),
    "event that is reserved": record_pb2.Record(value=Value(bool_value=True), event="gap"),
    "event that ends in CR": record_pb2.Record(value=Value(bool_value=True), event="message\r"),
    "event that browsers send": record_pb2.Record(value=Value(bool_value=True), event="error"),
    "event with NUL": record_pb2.Record(value=Value(bool_value=True), event="a\0"),
    "key with a line break": record_pb2.Record(value=Value(bool_value=True), key="a\rb"),
    "key too long": record_pb2.Record(value=Value(bool_value=True), key="k" * 257),
    "header with a line break": record_pb2.Record(value=Value(bool_value=True), headers={"a": "b\nc"}),
}


@pytest.mark.parametrize("what", BAD_VALUES)
async def test_a_bad_record_is_refused_by_name_and_its_batch_with_it(
    server: Running, channel: grpc.aio.Channel, what: str
) -> None:
    bad = request("s", 1, BAD_VALUES[what], 3).SerializeToString()
    good = request("s", "good").SerializeToString()
    first, second, third = await exchange(channel, [good, bad, good])
    assert (first.WhichOneof("outcome"), third.WhichOneof("outcome")) == ("ack", "ack")
    assert second.error.code == INVALID
    assert "records[1]" in second.error.message
    assert second.error.message.isprintable()
    assert await stored(server.broker, "s") == ["good", "good"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await producer_pb2_grpc.ProducerServiceStub(channel).Publish(request("s", BAD_VALUES[what]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "a..b",
        "../etc",
        "a b",
        "a\nb",
        "a\0b",
        "%2e%2e",
        "\u202ea",
        "é",
        "*",
        "a.>",
        ">",
        "$SYS.x",
        ".a",
        "\ufeffa",
        "x" * 201,
        ".".join("a" * 17),
    ],
)
async def test_a_bad_stream_name_is_refused(server: Running, channel: grpc.aio.Channel, name: str) -> None:
    (response,) = await exchange(channel, [request(name, 1).SerializeToString()])
    assert response.error.code == INVALID
    details = {detail.type_url.rpartition(".")[2]: detail for detail in response.error.details}
    bad = error_details_pb2.BadRequest()
    assert details["BadRequest"].Unpack(bad)
    assert bad.field_violations[0].field == "stream"
    assert server.broker.list() == []


async def test_malformed_bytes_get_an_answer_of_their_own_and_the_stream_goes_on(
    server: Running, channel: grpc.aio.Channel
) -> None:
    messages = [request("s", n).SerializeToString() for n in range(1, 1_001)]
    messages[499] = b"\xff\xff\xff"
    responses = await exchange(channel, messages)
    assert [response.request for response in responses] == list(range(1, 1_001))
    refused = [response for response in responses if response.WhichOneof("outcome") == "error"]
    assert [(r.request, r.error.code, r.error.message) for r in refused] == [
        (500, INVALID, "malformed PublishRequest at message 500")
    ]
    assert await stored(server.broker, "s") == [n for n in range(1, 1_001) if n != 500]


async def test_sizes_and_counts_over_a_limit_name_the_limit(server: Running, channel: grpc.aio.Channel) -> None:
    limits = server.broker.settings.limits
    too_big = request("s", b"x" * limits.value_bytes).SerializeToString()
    too_many = request("s", *range(limits.batch_records + 1)).SerializeToString()
    too_long = request("s", *[b"x" * 1_000_000] * 5).SerializeToString()[: limits.request_bytes + 10]
    responses = await exchange(channel, [too_big, too_many, too_long, request("s").SerializeToString()])
    assert [response.error.code for response in responses] == [TOO_LARGE, TOO_LARGE, TOO_LARGE, INVALID]
    assert str(limits.value_bytes) in responses[0].error.message
    assert str(limits.batch_records) in responses[1].error.message
    assert str(limits.request_bytes) in responses[2].error.message
    assert server.broker.list() == []


async def test_the_stream_may_be_left_out_after_the_first_request(server: Running, channel: grpc.aio.Channel) -> None:
    messages = [request(name, n).SerializeToString() for n, name in enumerate(["a", "", "b", ""])]
    assert all(r.WhichOneof("outcome") == "ack" for r in await exchange(channel, messages))
    assert (await stored(server.broker, "a"), await stored(server.broker, "b")) == ([0, 1], [2, 3])


async def test_sequence_numbers_make_retries_harmless(server: Running, channel: grpc.aio.Channel) -> None:
    sends = [
        ref(1), ref(3), ref(3), ref(6), ref(2), ref(5), ref(2**63), ref(0), ref(1, epoch=2), ref(7), ref(1, id="a b"),
    ]  # fmt: skip
    messages = [request("s", "x", "y", producer=sent).SerializeToString() for sent in sends]
    responses = await exchange(channel, messages)
    outcomes = [
        (r.ack.stored, r.ack.duplicates, r.ack.first_offset) if r.WhichOneof("outcome") == "ack" else r.error.code
        for r in responses
    ]
    assert outcomes == [
        (2, 0, 1), (2, 0, 3), (0, 2, 3), FAILED, (0, 2, 2), (2, 0, 5), INVALID, INVALID, (2, 0, 7), ABORTED, INVALID,
    ]  # fmt: skip
    assert "expected 5" in responses[3].error.message


async def test_over_ten_thousand_producers_new_ones_are_refused_and_live_ones_stay() -> None:
    async with running(limits={"producers": 50}) as server:
        async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
            messages = [request("s", n, producer=ref(1, id=f"p{n}")).SerializeToString() for n in range(60)]
            messages.append(request("s", 0, producer=ref(2, id="p0")).SerializeToString())
            responses = await exchange(channel, messages)
    refused = [r.error.code for r in responses if r.WhichOneof("outcome") == "error"]
    assert refused == [TOO_LARGE] * 10
    assert responses[-1].WhichOneof("outcome") == "ack"


async def test_an_ended_stream_takes_nothing_more(server: Running, channel: grpc.aio.Channel) -> None:
    await server.broker.create("s")
    await server.broker.end("s")
    (response,) = await exchange(channel, [request("s", 1).SerializeToString()])
    assert response.error.code == FAILED
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in response.error.details)
    assert (info.reason, info.domain) == ("STREAM_ENDED", "ratsvc")


async def test_a_durability_that_memory_cannot_give_is_refused(server: Running, channel: grpc.aio.Channel) -> None:
    asked = [request("s", 1, durability=kind).SerializeToString() for kind in (producer_pb2.DURABILITY_FLUSHED, 9)]
    flushed, unknown = await exchange(channel, asked)
    assert (flushed.error.code, unknown.error.code) == (FAILED, INVALID)
    assert "rat.v1.Durability" in unknown.error.message
    assert server.broker.list() == []


async def test_a_unary_refusal_has_its_details(server: Running, channel: grpc.aio.Channel) -> None:
    publish = channel.unary_unary("/rat.v1.ProducerService/Publish", None, None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await publish(b"\xff\xff\xff")
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert isinstance(status, status_pb2.Status)
    assert (status.code, status.message) == (INVALID, "malformed PublishRequest")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/rat.v1.ProducerService/Nothing", None, None)(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_gzip_bomb_is_refused_without_growing(server: Running) -> None:
    options = [("grpc.max_send_message_length", -1)]
    bomb = request("s", *[b"\0" * 1_000_000] * 64).SerializeToString()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with grpc.aio.insecure_channel(server.grpc_addr, options, grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/rat.v1.ProducerService/Publish", None, None)(bomb)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


async def test_every_type_is_kept_in_every_encoding(server: Running, channel: grpc.aio.Channel) -> None:
    from datetime import UTC, datetime

    from ratsvc.quickmem import to_tree

    values: list[object] = [
        None, True, 1, -(2**63), 2**64 - 1, 1.0, -0.0, 1e308, 5e-324, inf, -inf, nan,
        "", "\0", "\ufeffx", b"", b"\0\xff",
        datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), [], {}, {"a": [1, {"b": None}]},
    ]  # fmt: skip
    records = [record_pb2.Record(value=encode(value)) for value in values for encode in (to_tree, to_data_value)]
    await exchange(channel, [request("s", *records).SerializeToString()])
    found = await stored(server.broker, "s")
    expected = [value for value in values for _ in range(2)]
    assert [(type(v), repr(v)) for v in found] == [(type(v), repr(v)) for v in expected]


async def test_of_a_key_that_comes_twice_the_last_value_wins_in_every_encoding(
    server: Running, channel: grpc.aio.Channel
) -> None:
    once = [Value(map_value=value_pb2.MapValue(entries={"a": Value(int_value=n)})) for n in (1, 2)]
    merged = once[0].map_value.SerializeToString() + once[1].map_value.SerializeToString()
    twice = Value.FromString(b"\x52" + bytes([len(merged)]) + merged)  # DataValue.map_value: field 10
    packed, json = Value(packed=b"\x82\xa1a\x01\xa1a\x02"), Value(json=b'{"a":1,"a":2}')
    records = [record_pb2.Record(value=value) for value in (twice, packed, json)]
    (response,) = await exchange(channel, [request("s", *records).SerializeToString()])
    assert response.ack.stored == 3
    assert await stored(server.broker, "s") == [{"a": 2}] * 3


async def test_a_full_queue_slows_the_producer_and_drops_nothing() -> None:
    async with running(limits={"queue_bytes": 100_000}) as server:
        held, append = asyncio.Event(), server.broker.log.append

        async def stalled(batches: list[Batch], *rest: object, **options: object) -> None:
            await held.wait()
            await append(batches)

        server.broker.log.append = stalled  # type: ignore[method-assign,assignment]
        written = 0
        message = request("s", b"x" * 50_000).SerializeToString()
        async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
            call = channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)()

            async def send() -> None:
                nonlocal written
                for _ in range(400):
                    await call.write(message)
                    written += 1
                await call.done_writing()

            sending = asyncio.create_task(send())
            paused = -1
            while paused != written:  # until the producer makes no headway any more
                paused = written
                await asyncio.sleep(0.3)
            assert 2 <= written < 300
            assert server.broker.stats()["queue_bytes"] < 10 * 100_000
            held.set()
            acks = [data async for data in call]
            await sending
        assert len(acks) == 400
        assert server.broker.figures.records == 400


async def test_a_producer_that_reads_no_acknowledgement_is_not_read_for_ever() -> None:
    window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
    async with running(limits={"unacknowledged_requests": 16}) as server:
        async with grpc.aio.insecure_channel(server.grpc_addr, window) as channel:
            call = channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)()
            message = request("s", *["x" * 100] * 100).SerializeToString()

            async def send() -> None:
                for _ in range(20_000):
                    await call.write(message)

            sending = asyncio.create_task(send())
            before = -1
            while before != server.broker.figures.records:
                before = server.broker.figures.records
                await asyncio.sleep(0.3)
            assert not sending.done()
            call.cancel()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert len(await stored(server.broker, "s")) == server.broker.figures.records


async def test_a_producer_that_vanishes_leaves_whole_batches(server: Running) -> None:
    for attempt in range(10):
        async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
            call = channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)()
            for n in range(20):
                await call.write(request(f"s{attempt}", *[n] * 50).SerializeToString())
            call.cancel()
    for info in server.broker.list():
        values = await stored(server.broker, info.name)
        assert values == [n for n in range(len(values) // 50) for _ in range(50)]


async def test_a_drain_tells_producers_to_go_after_their_acknowledgements(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        call = channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)()
        await call.write(request("s", 1).SerializeToString())
        assert producer_pb2.PublishStreamResponse.FromString(await call.read()).ack.stored == 1
        await server.server.drain(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        streams = admin_pb2_grpc.StreamServiceStub(channel)
        assert (await streams.GetStream(admin_pb2.GetStreamRequest(name="s"))).stream.records == 1
