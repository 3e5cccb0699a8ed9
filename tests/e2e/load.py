"""A producer in a process of its own: `python -m tests.e2e.load ADDRESS STREAM RECORDS_PER_S`, until it is stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
from time import monotonic

from ratsvc.client import Producer

STEP_S = 0.02


async def run(address: str, stream: str, rate: int) -> None:
    """Publishes at that rate, as well as it can."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    began, sent = monotonic(), 0
    async with Producer(address) as producer:
        while not stop.is_set():
            due = int((monotonic() - began) * rate)
            for n in range(sent, due):
                await producer.send(stream, {"n": n, "text": "some text of a record", "price": n / 4})
            sent = due
            await asyncio.sleep(STEP_S)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
