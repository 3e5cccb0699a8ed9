"""Calls that no client library makes, frame by frame: each is refused alone, and the connection and the service go
on."""

from __future__ import annotations

import asyncio
import gzip
import logging
import resource
import time
from collections.abc import Callable

import grpc.aio
import pytest
import structlog
from rat.v1 import admin_pb2, consumer_pb2, producer_pb2

from ratsvc.core.draft import Draft
from ratsvc.core.record import Batch
from ratsvc.quickmem import wire
from tests.conftest import Running, running
from tests.integration.grpc.raw import Connection, frame
from tests.integration.grpc.test_publish import ref, request, stored

PUBLISH, PUBLISH_STREAM = "/rat.v1.ProducerService/Publish", "/rat.v1.ProducerService/PublishStream"
SUBSCRIBE = "/rat.v1.ConsumerService/Subscribe"
OK, INVALID, DEADLINE, TOO_LARGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 3, 4, 8, 12, 13, 14
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


@pytest.mark.parametrize(("error", "lines"), [(grpc.aio.InternalError("Failed"), 0), (ValueError("ours"), 1)])
async def test_that_a_peer_had_left_when_its_answer_was_ready_is_no_news(
    server: Running, caplog: pytest.LogCaptureFixture, error: Exception, lines: int
) -> None:
    # As grpc.aio logs it, for one of some thousand calls whose time is over while they are answered.
    logging.getLogger("grpc._cython.cygrpc").error("%s raised in core by servicer method", error, exc_info=error)
    assert len(caplog.records) == lines


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
        refused = await connection.status(connection.call(method, frame(GOOD)))
        assert refused == (UNIMPLEMENTED, f"there is no method {method}")
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


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_producer_that_never_reads_its_answers_is_cut_and_what_it_sent_is_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = {"unacknowledged_requests": 16}
    async with running(stall_timeout_s=0.5, limits=limits) as server, Connection(server.grpc_port) as connection:
        bad = frame(b"\xff" * 8)  # its answer is far longer than itself
        call = connection.call(PUBLISH_STREAM, frame(GOOD) + bad * 3_000, half_close=False)
        await until(lambda: server.broker.log.last_offset == 1)
        with structlog.testing.capture_logs() as lines:
            await until(lambda: any(line["event"] == "call_cut" for line in lines))
        answers = await connection.messages(call, 200)
        assert await connection.status(call) == (UNAVAILABLE, "nothing was taken of this call's answers for 0.5 s")
        assert producer_pb2.PublishStreamResponse.FromString(answers[0]).ack.stored == 1
        async with Connection(server.grpc_port) as other:
            assert await publishes(other)
        assert await stored(server.broker, "s") == ["good", "good"]
    assert not caplog.records


async def test_a_reader_that_never_takes_its_frames_is_cut_and_gives_its_place_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(stall_timeout_s=0.5) as server, Connection(server.grpc_port) as connection:
        for _ in range(20):
            await server.broker.submit(Draft("s", [wire.record("x" * 10_000)] * 10))
        subscribe = consumer_pb2.SubscribeRequest(streams=["s"], **{"from": "earliest"}).SerializeToString()
        calls = [connection.call(SUBSCRIBE, frame(subscribe)) for _ in range(5)]
        await until(lambda: len(server.broker.subscriptions) == 5)
        await until(lambda: not server.broker.subscriptions)
        connection.reset(calls[1])
        assert (await connection.status(calls[0]))[0] == UNAVAILABLE
    assert not caplog.records


async def test_peers_that_take_nothing_do_not_hold_up_a_drain() -> None:
    async with running(stall_timeout_s=0.5) as server, Connection(server.grpc_port) as connection:
        for _ in range(20):
            await server.broker.submit(Draft("s", [wire.record("x" * 10_000)] * 10))
        subscribe = consumer_pb2.SubscribeRequest(streams=["s"], **{"from": "earliest"}).SerializeToString()
        connection.call(SUBSCRIBE, frame(subscribe))
        connection.call(PUBLISH_STREAM, frame(b"\xff" * 8) * 3_000, half_close=False)
        await until(lambda: len(server.broker.subscriptions) == 1)
        began = time.monotonic()
        await server.server.drain(0.0)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("flag", [2, 7, 255])
async def test_of_a_frame_with_a_wrong_flag_nothing_is_stored(server: Running, flag: int) -> None:
    async with Connection(server.grpc_port) as connection:
        for method, message in UNARY.items():
            assert (await connection.status(connection.call(method, frame(message, flag=flag))))[0] == INVALID
        call = connection.call(PUBLISH_STREAM, frame(GOOD) + frame(GOOD, flag=flag) + frame(GOOD))
        answers = [producer_pb2.PublishStreamResponse.FromString(data) for data in await connection.messages(call, 2)]
        assert [(answer.ack.stored, answer.error.code) for answer in answers] == [(1, OK), (0, INVALID)]
        await connection.status(call)  # what came after is not read, and not acknowledged
        assert await publishes(connection)
    assert await stored(server.broker, "s") == ["good"] * 2


@pytest.mark.parametrize("media_type", ["text/plain", "application/json", ""])
async def test_a_call_of_another_media_type_is_taken_for_what_it_says(server: Running, media_type: str) -> None:
    async with Connection(server.grpc_port) as connection:
        for method in (PUBLISH, PUBLISH_STREAM):
            assert (await connection.status(connection.call(method, frame(GOOD), media_type=media_type)))[0] == OK
            await connection.status(connection.call(method, b'{"stream": "s"}', media_type=media_type))
        assert await publishes(connection)
    assert await stored(server.broker, "s") == ["good"] * 3
