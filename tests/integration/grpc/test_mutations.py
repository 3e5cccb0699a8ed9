"""Requests that are nearly good: each is taken or refused for what is wrong with it, alone, and nothing of it is half
done."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import grpc.aio
import pytest
from rat.v1 import admin_pb2, consumer_pb2, producer_pb2, record_pb2

from ratsvc.quickmem import to_data_value, to_tree
from tests.conftest import Running
from tests.integration.grpc.test_publish import exchange, ref, request
from tests.integration.mutations import mutated

VALUES: list[object] = [
    None, True, -5, 2**64 - 1, 1.5, "text", b"bytes", datetime(2026, 1, 2, tzinfo=UTC), [1, [2]], {"a": {"b": [1]}},
]  # fmt: skip
RECORDS = [
    record_pb2.Record(value=encode(value), key="k", event="e", headers={"h": "v"})
    for value in VALUES
    for encode in (to_data_value, to_tree)
]
OK, NOT_FOUND, REFUSALS = 0, 5, {3, 8, 9, 10}  # INVALID_ARGUMENT, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED
CALLS = {
    "ProducerService/Publish": request("s", *RECORDS[:3]).SerializeToString(),
    "ConsumerService/Fetch": consumer_pb2.FetchRequest(
        streams=["s", "a.*"], limit=5, until="now", snapshot=True, keys=["k"]
    ).SerializeToString(),
    "StreamService/CreateStream": admin_pb2.CreateStreamRequest(name="t").SerializeToString(),
    "StreamService/ListStreams": admin_pb2.ListStreamsRequest(pattern="s.>").SerializeToString(),
    "StreamService/GetStream": admin_pb2.GetStreamRequest(name="t").SerializeToString(),
}


def good(random: Random) -> bytes:
    fields = {"producer": ref(1, id=f"p{random.randrange(9)}")} if random.random() < 0.3 else {}
    return request("s", *random.sample(RECORDS, 3), **fields).SerializeToString()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_request_that_is_nearly_good_is_taken_whole_or_not_at_all(server: Running, seed: int) -> None:
    random = Random(seed)
    messages = [mutated(random, good(random)) for _ in range(400)]
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        answers = await exchange(channel, messages)
    assert [answer.request for answer in answers] == list(range(1, 401))
    stored = 0
    for message, answer in zip(messages, answers, strict=True):
        if answer.WhichOneof("outcome") == "ack":
            taken = producer_pb2.PublishRequest.FromString(message)
            assert answer.ack.stored + answer.ack.duplicates == len(taken.records)
            stored += answer.ack.stored
        else:
            assert answer.error.code in REFUSALS, (message.hex(), answer)
            assert answer.error.message.isprintable()
    assert 0 < stored == server.broker.figures.records


async def test_a_call_that_is_nearly_good_is_answered_or_refused(server: Running) -> None:
    random = Random(4)
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        for method, message in CALLS.items():
            call = channel.unary_unary(f"/rat.v1.{method}", None, None)
            for _ in range(80):
                sent = mutated(random, message)
                status: int = (await call(sent, timeout=10).code()).value[0]
                assert status in REFUSALS | {OK, NOT_FOUND}, (method, sent.hex())
