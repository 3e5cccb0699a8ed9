"""Calls that no client library makes, frame by frame: each is refused alone, and the connection and the service go
on."""

from __future__ import annotations

import asyncio
import gzip
import resource

import pytest
from rat.v1 import admin_pb2, consumer_pb2, producer_pb2

from ratsvc.core.record import Batch
from tests.conftest import Running, running
from tests.integration.grpc.raw import Connection, frame
from tests.integration.grpc.test_publish import ref, request, stored

PUBLISH, PUBLISH_STREAM = "/rat.v1.ProducerService/Publish", "/rat.v1.ProducerService/PublishStream"
OK, INVALID, DEADLINE, TOO_LARGE, UNIMPLEMENTED, INTERNAL = 0, 3, 4, 8, 12, 13
GOOD = request("s", "good").SerializeToString()
BOMB = frame(gzip.compress(bytes(60 * 2**20)), flag=1)
UNARY = {
    PUBLISH: GOOD,
    "/rat.v1.ConsumerService/Fetch": consumer_pb2.FetchRequest(streams=["s"]).SerializeToString(),
    "/rat.v1.ConsumerService/Subscribe": consumer_pb2.SubscribeRequest(streams=["s"]).SerializeToString(),
    "/rat.v1.StreamService/DeleteStream": admin_pb2.DeleteStreamRequest(name="s").SerializeToString(),
}


async def publishes(connection: Connection) -> bool:
    """Whether a good publish on the same connection is taken."""
    return (await connection.status(connection.call(PUBLISH, frame(GOOD))))[0] == OK


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        pytest.param(frame(b"x", length=2**32 - 1), (), TOO_LARGE, id="a length of 4 GiB"),
        pytest.param(frame(GOOD, flag=1), (), INTERNAL, id="compressed by nothing"),
        pytest.param(frame(GOOD), (("grpc-timeout", "zzz"),), INTERNAL, id="a timeout that is none"),
        pytest.param(frame(GOOD), (("grpc-timeout", "0n"),), DEADLINE, id="a timeout of nothing"),
        pytest.param(frame(GOOD), (("grpc-encoding", "pigeon"),), INTERNAL, id="an unknown encoding"),
        pytest.param(BOMB, (("grpc-encoding", "gzip"),), TOO_LARGE, id="a gzip bomb"),
        pytest.param(frame(b"x", flag=1), (("grpc-encoding", "gzip"),), INTERNAL, id="gzip that is none"),
    ],
)
async def test_a_broken_call_is_refused_alone(
    server: Running, body: bytes, headers: tuple[tuple[str, str], ...], code: int
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with Connection(server.grpc_port) as connection:
        for method in (PUBLISH, PUBLISH_STREAM):
            assert (await connection.status(connection.call(method, body, *headers)))[0] == code
        assert await publishes(connection)
    assert await stored(server.broker, "s") == ["good"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


@pytest.mark.parametrize("method", UNARY)
async def test_a_call_that_ends_inside_its_request_is_answered(server: Running, method: str) -> None:
    whole = UNARY[method]
    async with Connection(server.grpc_port) as connection:
        assert await publishes(connection)
        for body in (frame(whole[:-1], length=len(whole)), b"\0\0", b""):
            found = await connection.status(connection.call(method, body))
            assert found == (INVALID, "the call ended before its request was whole")
    assert await stored(server.broker, "s") == ["good"]


async def test_a_publish_stream_that_ends_inside_a_message_keeps_those_before(server: Running) -> None:
    async with Connection(server.grpc_port) as connection:
        call = connection.call(PUBLISH_STREAM, frame(GOOD) + frame(GOOD[:-1], length=len(GOOD)))
        (answer,) = await connection.messages(call, 1)
        assert producer_pb2.PublishStreamResponse.FromString(answer).ack.stored == 1
        await connection.status(call)
    assert await stored(server.broker, "s") == ["good"]


@pytest.mark.parametrize("method", UNARY)
async def test_a_call_that_falls_silent_inside_its_request_is_cut(method: str) -> None:
    async with running(limits={"body_timeout_s": 0.2}) as server:
        async with Connection(server.grpc_port) as connection:
            call = connection.call(method, frame(UNARY[method][:-1], length=len(UNARY[method])), half_close=False)
            assert await connection.status(call) == (DEADLINE, "the request did not come within 0.2 s")
            assert await publishes(connection)


@pytest.mark.parametrize("method", ["/rat.v1.ProducerService/Nothing", "/rat.v2.ProducerService/Publish", "/", "/a"])
async def test_an_unknown_method_is_unimplemented(server: Running, method: str) -> None:
    async with Connection(server.grpc_port) as connection:
        assert (await connection.status(connection.call(method, frame(GOOD))))[0] == UNIMPLEMENTED
        assert await publishes(connection)


async def test_a_publish_that_was_stored_but_not_acknowledged_is_a_duplicate_when_retried(server: Running) -> None:
    sent = frame(request("s", 1, 2, producer=ref(1)).SerializeToString())
    async with Connection(server.grpc_port) as connection:
        held, append = asyncio.Event(), server.broker.log.append

        async def late(batches: list[Batch], *rest: object, **options: object) -> None:
            await append(batches)
            await held.wait()

        server.broker.log.append = late  # type: ignore[method-assign,assignment]
        call = connection.call(PUBLISH_STREAM, sent, half_close=False)
        async with asyncio.timeout(10):
            while not server.broker.log.last_offset:
                await asyncio.sleep(0.01)
        connection.reset(call)
    held.set()
    async with Connection(server.grpc_port) as connection:
        call = connection.call(PUBLISH_STREAM, sent)
        (answer,) = await connection.messages(call, 1)
        assert (await connection.status(call))[0] == OK
    ack = producer_pb2.PublishStreamResponse.FromString(answer).ack
    assert (ack.stored, ack.duplicates, ack.first_offset) == (0, 2, 1)
    assert await stored(server.broker, "s") == [1, 2]


async def test_a_newer_producer_shuts_out_the_older_on_another_connection(server: Running) -> None:
    async with Connection(server.grpc_port) as old, Connection(server.grpc_port) as new:
        calls = [connection.call(PUBLISH_STREAM, b"", half_close=False) for connection in (old, new)]
        sends = [(old, 1, 1), (new, 1, 2), (old, 2, 1), (new, 2, 2)]
        outcomes = []
        for at, (connection, sequence, epoch) in enumerate(sends):
            message = frame(request("s", at, producer=ref(sequence, epoch=epoch)).SerializeToString())
            call = calls[connection is new]
            connection.send(call, message)
            answer = producer_pb2.PublishStreamResponse.FromString((await connection.messages(call, 1 + at // 2))[-1])
            outcomes.append(answer.error.code)
    assert outcomes == [0, 0, 10, 0]
    assert await stored(server.broker, "s") == [0, 1, 3]
