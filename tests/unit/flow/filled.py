"""Brokers, what is put into them, and what is read from them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ratsvc.core.draft import Draft
from ratsvc.core.items import Item
from ratsvc.core.record import Batch
from ratsvc.flow.broker import Broker, ReadRequest
from ratsvc.settings import load


@asynccontextmanager
async def broker(**changes: object) -> AsyncIterator[Broker]:
    async with Broker(load(flags=changes)) as one:
        yield one


def records(first: int, count: int, size: int = 4) -> list[bytes]:
    return [(b"%d" % i).rjust(size, b"0") for i in range(first, first + count)]


async def put(one: Broker, stream: str, count: int, size: int = 4, **columns: list[str]) -> int:
    ack = await one.submit(Draft(stream, records(0, count, size), **columns))  # type: ignore[arg-type]
    return ack.last


def offsets(items: list[Item]) -> list[int]:
    return [at for item in items if isinstance(item, Batch) for at in item.offsets]


async def drain_items(one: Broker, request: ReadRequest) -> list[Item]:
    with await one.subscribe(request) as subscription:
        found: list[Item] = []
        while items := await subscription.poll():
            found += items
        return found
