"""The same for code without an event loop: `SyncProducer` may be used from any thread.

python examples/python/producer_sync.py --grpc 127.0.0.1:50051 --stream readings --count 1000
"""

import argparse
import os
from datetime import UTC, datetime

from ratsvc.client import SyncProducer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--grpc", default=os.environ.get("RATSVC_GRPC", "127.0.0.1:50051"))
parser.add_argument("--stream", default="readings")
parser.add_argument("--count", type=int, default=1000)
args = parser.parse_args()

with SyncProducer(args.grpc) as producer:
    for n in range(args.count):
        reading = {"n": n, "celsius": 20 + n % 10 / 4, "taken": datetime.now(UTC), "raw": bytes([0, n % 256])}
        producer.send(args.stream, reading, key=f"sensor-{n % 4}")  # a future, as of concurrent.futures
    producer.flush()  # waits until all are acknowledged, and raises what was refused
    last = producer.publish(args.stream, {"n": args.count, "last": True})
print(f"{args.count + 1} readings stored; the last is {last.cursor}")
