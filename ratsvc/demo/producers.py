"""Prices (maps with keys), a language model's tokens (text that ends), logs (text), a sensor (binary frames) and
files (an upload each). Everything is made up here, from one seed, and bounded: old token and file streams go."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import re
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count

import grpc.aio
from rat.v1 import admin_pb2, admin_pb2_grpc

from ratsvc.client import Producer
from ratsvc.demo.picture import plasma_png
from ratsvc.errors import RatError

PRICES = {"ACME": 182.4, "GLOBEX": 74.15, "INITECH": 31.02, "UMBRELLA": 256.8, "HOOLI": 119.5}
LOGS = (
    "INFO  checkout: order {n} accepted in {ms} ms",
    "INFO  mail: receipt for order {n} sent",
    "WARN  stock: shelf {shelf} is down to {ms} pieces",
    "DEBUG cache: {ms} entries evicted",
    "ERROR payment: card of order {n} declined, will be asked again",
)
ANSWERS = (
    (
        "What is a stream?",
        "A stream is an append-only, ordered sequence of records. Each record has an offset, and an offset with the "
        "log's epoch makes a cursor. Leave whenever you like: come back with your cursor, and you get exactly what "
        "came after.",
    ),
    (
        "What is back-pressure?",
        "A slow part slows what feeds it, and nothing is dropped. Here a full queue stops the reading of a gRPC "
        "stream, and HTTP/2 flow control does the rest, all the way back to the producer.",
    ),
    (
        "What does a slow reader do to the others?",
        "Nothing. It falls back to reading from the log at its own pace. If the log has moved on by then, it is told "
        "which records are missing. A gap is always said, never silent.",
    ),
)
SAMPLES = 32
FRAME_S = 0.05
AGAIN_S = 5.0
KEPT = 3
"""How many token and file streams stay."""


class SampleProducers:
    """All five, on one connection. A feed that is refused (its stream was ended, say) says so and tries again.

    Args:
        address: of the service's gRPC.
        say: called with a line for each refusal.
        seed: makes the data the same each time.
    """

    def __init__(self, address: str, say: Callable[[str], None], seed: int = 7) -> None:
        self._address = address
        self._say = say
        self._random = random.Random(seed)
        self._token_numbers, self._file_numbers = count(1), count(1)
        self._tokens_made: deque[str] = deque()
        self._files_made: deque[str] = deque()

    async def run(self) -> None:
        """Publishes until it is cancelled."""
        async with grpc.aio.insecure_channel(self._address) as channel, Producer(self._address) as producer:
            self._streams = admin_pb2_grpc.StreamServiceStub(channel)  # type: ignore[no-untyped-call]
            async with asyncio.TaskGroup() as group:
                for feed in (self._prices, self._tokens, self._logs, self._sensor, self._files):
                    group.create_task(self._kept_going(feed, producer))

    async def _kept_going(self, feed: Callable[[Producer], Awaitable[None]], producer: Producer) -> None:
        said = ""
        while True:
            try:
                await feed(producer)
            except (RatError, grpc.aio.AioRpcError) as error:
                detail = error.detail if isinstance(error, RatError) else error.details()
                line = f"{feed.__name__.removeprefix('_')} paused: {detail}"
                if line != said:
                    self._say(line)
                said = line
            await asyncio.sleep(AGAIN_S)

    async def _prices(self, producer: Producer) -> None:
        prices = dict(PRICES)
        while True:
            symbol = self._random.choice(list(prices))
            change = self._random.gauss(0, 0.002)
            prices[symbol] = round(max(1.0, prices[symbol] * (1 + change)), 2)
            tick = {"symbol": symbol, "price": prices[symbol], "change": round(change * 100, 3),
                    "volume": self._random.randint(1, 900)}  # fmt: skip
            await producer.publish("demo.prices", tick, key=symbol)
            await asyncio.sleep(self._random.uniform(0.02, 0.12))

    async def _tokens(self, producer: Producer) -> None:
        while True:
            number = next(self._token_numbers)
            stream = f"demo.tokens.{number}"
            self._tokens_made.append(stream)
            prompt, answer = ANSWERS[number % len(ANSWERS)]
            await producer.publish("demo.tokens", {"stream": stream, "prompt": prompt})
            for token in re.findall(r" ?\S{1,5}", answer):
                await producer.publish(stream, token, event="token")
                await asyncio.sleep(self._random.uniform(0.02, 0.09))
            await self._streams.EndStream(admin_pb2.EndStreamRequest(name=stream))
            await self._delete_old(self._tokens_made)
            await asyncio.sleep(6)

    async def _logs(self, producer: Producer) -> None:
        for number in count(1_000):
            line = self._random.choice(LOGS)
            ms, shelf = self._random.randint(2, 90), f"{self._random.choice('ABCD')}{self._random.randint(1, 9)}"
            await producer.publish("demo.logs", line.format(n=number, ms=ms, shelf=shelf))
            await asyncio.sleep(self._random.uniform(0.1, 0.9))

    async def _sensor(self, producer: Producer) -> None:
        """Frames of 32 samples, each a little-endian 32-bit float between -1 and 1."""
        for frame in count():
            samples = []
            for at in range(frame * SAMPLES, (frame + 1) * SAMPLES):
                pulse = math.exp(-(((at % 160) - 80) ** 2) / 18)
                samples.append(0.35 * math.sin(at / 23) + 0.55 * pulse + self._random.gauss(0, 0.015))
            await producer.publish("demo.sensor", struct.pack(f"<{SAMPLES}f", *samples))
            await asyncio.sleep(FRAME_S)

    async def _files(self, producer: Producer) -> None:
        while True:
            number = next(self._file_numbers)
            stream, name = f"demo.file.{number}", f"plasma-{number}.png"
            self._files_made.append(stream)
            data = await asyncio.to_thread(plasma_png, 320, 200, number)
            await producer.upload(stream, data, name=name, content_type="image/png", end_stream=True)
            digest = hashlib.sha256(data).hexdigest()
            await producer.publish("demo.files", {"stream": stream, "name": name, "size": len(data), "sha256": digest})
            await self._delete_old(self._files_made)
            await asyncio.sleep(12)

    async def _delete_old(self, made: deque[str]) -> None:
        while len(made) > KEPT:
            await self._streams.DeleteStream(admin_pb2.DeleteStreamRequest(name=made.popleft()))
