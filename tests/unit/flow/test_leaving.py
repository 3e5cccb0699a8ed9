"""Readers that are sent away."""

from __future__ import annotations

import asyncio

import pytest

from ratsvc.core.items import Item, Reconnect
from ratsvc.errors import SettingsError, Unavailable
from ratsvc.flow.broker import ReadRequest
from ratsvc.settings import load
from tests.unit.flow.filled import broker


async def test_a_drain_tells_every_reader_to_come_back_and_takes_no_new_ones() -> None:
    async with broker() as one:
        subscription = await one.subscribe(ReadRequest(("s",)))

        async def read() -> list[Item]:
            with subscription:
                return await subscription.next()

        reading = asyncio.ensure_future(read())
        await one.drain(0.01)
        (item,) = await reading
        assert isinstance(item, Reconnect)
        assert item.reason == "drain"
        with pytest.raises(Unavailable):
            await one.subscribe(ReadRequest(("s",)))


async def test_with_a_restart_to_come_readers_are_told_to_stay_away_until_it_is_over_in_the_order_they_go() -> None:
    async with broker(drain_s=0.2, restart_s=30) as one:
        subscriptions = [await one.subscribe(ReadRequest(("s",))) for _ in range(20)]
        told: list[int] = []

        async def read(at: int) -> None:
            with subscriptions[at] as subscription:
                (item,) = await subscription.next()
                assert isinstance(item, Reconnect)
                told.append(item.retry_ms)

        readings = [asyncio.ensure_future(read(at)) for at in range(20)]
        await one.drain(0.2)
        await asyncio.gather(*readings)
        assert all(30_000 <= retry_ms <= 30_400 for retry_ms in told)
        assert 30_000 <= one.leaving.retry_ms() <= 30_400


async def test_a_drain_has_to_end_before_the_stop_is_forced() -> None:
    with pytest.raises(SettingsError, match="drain_s must end 5 s before stop_timeout_s"):
        load(flags={"drain_s": 21})
