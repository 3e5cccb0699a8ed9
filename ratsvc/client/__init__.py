"""ratsvc from Python: publish over gRPC, read over HTTP; async and sync.

async with Producer("127.0.0.1:50051") as producer:
    await producer.publish("prices", {"symbol": "ACME", "price": 1.5}, key="ACME")

async for record in Consumer("http://127.0.0.1:8080", "prices"):
    print(record.cursor, record.value)
"""

from ratsvc.client.consumer import Consumer, GapSeen, Received
from ratsvc.client.outbox import Delivered
from ratsvc.client.producer import Producer
from ratsvc.client.sync import SyncConsumer, SyncProducer

__all__ = ["Consumer", "Delivered", "GapSeen", "Producer", "Received", "SyncConsumer", "SyncProducer"]
