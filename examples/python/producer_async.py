"""Publishes with `ratsvc.client.Producer`: batches gather by themselves, and a retry stores nothing twice.

python examples/python/producer_async.py --grpc 127.0.0.1:50051 --stream readings --count 1000
"""

import argparse
import asyncio
import os
from datetime import UTC, datetime

from ratsvc.client import Producer


async def main() -> None:
    """Sends readings, then waits until all of them are acknowledged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpc", default=os.environ.get("RATSVC_GRPC", "127.0.0.1:50051"))
    parser.add_argument("--stream", default="readings")
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()

    async with Producer(args.grpc) as producer:
        for n in range(args.count):
            # Any of None, bool, int, float, str, bytes, datetime, list, dict; dataclasses and more.
            reading = {"n": n, "celsius": 20 + n % 10 / 4, "taken": datetime.now(UTC), "raw": bytes([0, n % 256])}
            # Waits only while too much is unacknowledged. What it returns is a future of this record's place.
            await producer.send(args.stream, reading, key=f"sensor-{n % 4}")
        await producer.flush()  # raises what was refused
        last = await producer.publish(args.stream, {"n": args.count, "last": True})  # one record, with its place
    print(f"{args.count + 1} readings stored; the last is {last.cursor}")


asyncio.run(main())
