"""A reader's life: waiting, heartbeats, lanes."""

from __future__ import annotations

import asyncio
import random

import pytest

from ratsvc.core.cursor import Earliest
from ratsvc.core.items import Heartbeat
from ratsvc.core.record import Batch, Framing
from ratsvc.errors import StreamNotFound
from ratsvc.flow.broker import ReadRequest
from tests.unit.flow.filled import broker, offsets, put


async def test_a_reader_waits_for_a_stream_that_does_not_exist_and_makes_none() -> None:
    async with broker() as one:
        with await one.subscribe(ReadRequest(("later.*",))) as subscription:
            reading = asyncio.ensure_future(subscription.next())
            await asyncio.sleep(0)
            assert one.list() == []
            await put(one, "other", 1)
            await put(one, "later.x", 2)
            assert offsets(await reading) == [2, 3]
        with pytest.raises(StreamNotFound):
            await one.subscribe(ReadRequest(("never",), must_exist=True))
        assert not one.subscriptions


async def test_a_quiet_subscription_gets_heartbeats_that_move_its_position() -> None:
    async with broker() as one:
        with await one.subscribe(ReadRequest(("s",), heartbeat_s=0.05)) as subscription:
            last = await put(one, "elsewhere", 7)
            assert await subscription.next() == [Heartbeat(last)]


class Lines:
    """An encoder and a wire that collect offsets."""

    name = key = "lines"
    coding = None

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.encodings = 0
        self.takes = True

    def batch(self, batch: Batch) -> bytes:
        def encode(what: Batch) -> bytes:
            self.encodings += 1
            return " ".join(map(str, what.offsets)).encode() + b" "

        return batch.encoded(self.key, encode)

    def heartbeat(self, offset: int) -> bytes:
        return b""

    def framing(self) -> Framing:
        return bytes

    def push(self, data: bytes, offset: int) -> bool:
        if self.takes:
            self.seen += map(int, data.split())
        return self.takes

    def leave(self) -> None:
        raise AssertionError("the subscription's own member leaves")


async def test_live_readers_share_one_encoding_and_a_slow_one_falls_out_without_loss() -> None:
    async with broker() as one:
        encoder = Lines()
        wires = [Lines() for _ in range(5)]
        stop = asyncio.Event()

        async def follow(wire: Lines) -> None:
            with await one.subscribe(ReadRequest(("s.>",), Earliest())) as subscription:
                while (items := await subscription.poll()) is not None:
                    wire.seen += offsets(items)
                    if not items:
                        await subscription.live(encoder, wire)
                        while not wire.takes and not stop.is_set():
                            await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(follow(wire)) for wire in wires]
        await asyncio.sleep(0.01)
        generator = random.Random(7)
        for round_ in range(200):
            wires[3].takes = generator.random() > 0.3
            await put(one, f"s.{round_ % 3}", generator.randint(1, 9))
        wires[3].takes = True
        last = await put(one, "s.last", 1)
        await asyncio.sleep(0.01)
        assert encoder.encodings <= 201
        stop.set()
        await one.drain(0)
        await asyncio.gather(*tasks)
        for wire in wires:
            assert wire.seen == list(range(1, last + 1))
