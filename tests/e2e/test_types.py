"""A value's types, from each way of publishing over gRPC to each reader of the binary format."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import pytest
from rat.v1 import consumer_pb2, consumer_pb2_grpc, producer_pb2, producer_pb2_grpc, record_pb2
from rat.v1.value_pb2 import DataValue, MapValue

from ratsvc.client import Consumer, Producer, SyncConsumer, SyncProducer
from ratsvc.client.frames import Received
from ratsvc.quickmem import from_data_value
from tests.conftest import Running, running
from tests.e2e.client_js import read_with

VALUE = {"n": 2**63, "b": b"\x00\xff", "t": True, "i": 1, "f": 1.0}
TREE = DataValue(
    map_value=MapValue(
        entries={
            "n": DataValue(uint_value=2**63),
            "b": DataValue(bytes_value=b"\x00\xff"),
            "t": DataValue(bool_value=True),
            "i": DataValue(int_value=1),
            "f": DataValue(double_value=1.0),
        }
    )
)
PACKED = DataValue(packed=msgspec.msgpack.encode(VALUE))
JSON = DataValue(json=b'{"n":9223372036854775808,"b":"AP8=","t":true,"i":1,"f":1.0}')
#: JSON has no bytes: there they are the text that they were published as.
RECEIVED = [VALUE, VALUE, VALUE, VALUE, {**VALUE, "b": "AP8="}]
#: An integer is a BigInt there, so 1.0 alone is a number.
IN_NODE = {"n": {"bigint": "9223372036854775808"}, "b": {"bytes": [0, 255]}, "t": True, "i": {"bigint": "1"}, "f": 1.0}


def typed(values: list[Any]) -> list[dict[str, tuple[type, object]]]:
    return [{name: (type(part), part) for name, part in value.items()} for value in values]


async def publish(server: Running) -> None:
    """By both Python clients, and in each encoding of the protos."""
    async with Producer(server.grpc_addr) as producer:
        await producer.publish("s", VALUE)

    def from_a_thread() -> None:
        with SyncProducer(server.grpc_addr) as producer:
            producer.publish("s", VALUE)

    await asyncio.to_thread(from_a_thread)
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        records = [record_pb2.Record(value=value) for value in (TREE, PACKED, JSON)]
        request = producer_pb2.PublishRequest(stream="s", records=records)
        await producer_pb2_grpc.ProducerServiceStub(channel).Publish(request)
    await server.broker.end("s")


async def with_consumer(server: Running, node: str) -> list[Any]:
    consumer = Consumer(server.http_url, "s", from_="earliest", format="binary")
    return [item.value async for item in consumer if isinstance(item, Received)]


async def with_sync_consumer(server: Running, node: str) -> list[Any]:
    def read() -> list[Any]:
        consumer = SyncConsumer(server.http_url, "s", from_="earliest", format="binary")
        return [item.value for item in consumer if isinstance(item, Received)]

    return await asyncio.to_thread(read)


async def with_grpc(server: Running, node: str) -> list[Any]:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        request = consumer_pb2.SubscribeRequest(streams=["s"], **{"from": "earliest"})
        frames = [frame async for frame in consumer_pb2_grpc.ConsumerServiceStub(channel).Subscribe(request)]
    records = [record for frame in frames for record in frame.batch.records]
    assert [record.value for record in records][2:] == [TREE, PACKED, JSON]  # as they were published
    return [from_data_value(record.value) for record in records]


@pytest.mark.parametrize("read", [with_consumer, with_sync_consumer, with_grpc])
@pytest.mark.parametrize("engine", ["memory", "lmdb"])
async def test_types_are_kept_from_every_producer_to_every_reader(
    read: Callable[[Running, str], Any], engine: str, tmp_path: Path
) -> None:
    async with running(**({"data_dir": tmp_path} if engine == "lmdb" else {})) as server:
        await publish(server)
        assert typed(await read(server, "")) == typed(RECEIVED)


async def test_types_are_kept_from_every_producer_to_client_js(server: Running, node: str) -> None:
    await publish(server)
    read = await read_with(node, f"{server.http_url}/v1/streams/s?from=earliest&until=now", format="binary")
    assert read.values() == [IN_NODE] * 4 + [{**IN_NODE, "b": "AP8="}]
    assert all(value["t"] is True for value in read.values())
