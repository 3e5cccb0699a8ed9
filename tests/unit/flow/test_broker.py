"""The broker: back-pressure and limits."""

from __future__ import annotations

import asyncio

import pytest

from ratsvc.core.draft import Draft
from ratsvc.core.record import Batch
from ratsvc.errors import Busy
from ratsvc.flow.broker import ReadRequest
from tests.unit.flow.filled import broker, put, records


async def test_producers_pause_while_the_queue_is_full_and_nothing_is_lost() -> None:
    async with broker(limits={"queue_records": 10}) as one:
        held, append = asyncio.Event(), one.log.append

        async def stalled(batches: list[Batch], *rest: object, **options: object) -> None:
            await held.wait()
            await append(batches)

        one.log.append = stalled  # type: ignore[method-assign,assignment]
        acks = [one.submit(Draft("s", records(0, 6)))]
        await asyncio.sleep(0)
        acks += [one.submit(Draft("s", records(0, 6))) for _ in range(2)]
        assert not one.has_room
        room = asyncio.ensure_future(one.wait_for_room())
        await asyncio.sleep(0.01)
        assert not room.done()
        held.set()
        await room
        assert [ack.first for ack in await asyncio.gather(*acks)] == [1, 7, 13]


async def test_limits_on_streams_and_subscriptions_are_kept() -> None:
    async with broker(limits={"streams": 2, "subscriptions": 1}) as one:
        await put(one, "a", 1)
        await put(one, "b", 1)
        with pytest.raises(Busy):
            await put(one, "c", 1)
        with await one.subscribe(ReadRequest(("a",))), pytest.raises(Busy):
            await one.subscribe(ReadRequest(("a",)))
        with await one.subscribe(ReadRequest(("a",))):
            pass
