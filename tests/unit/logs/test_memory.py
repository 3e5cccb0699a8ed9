"""The memory engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.registry import Registry
from ratsvc.logs.memory import OVERHEAD_BYTES, MemoryLog
from ratsvc.logs.protocol import Log
from tests.unit.logs.contract import Clock, LogContract, Writer, offsets


def memory(clock: Clock, max_bytes: int = 1 << 30) -> MemoryLog:
    return MemoryLog(Registry(1000), Dedupe(10, 1), max_bytes, clock)


class TestMemoryLog(LogContract):
    @pytest_asyncio.fixture
    async def log(self, clock: Clock) -> AsyncIterator[Log]:
        log = memory(clock)
        yield log
        await log.close()


async def test_over_the_bound_on_the_whole_the_oldest_of_all_streams_go_first() -> None:
    clock = Clock()
    log = memory(clock, (OVERHEAD_BYTES + 2) * 20)
    writer = Writer(log, clock)
    a, b = await writer.stream("a"), await writer.stream("b")
    await writer.put(("a", 2))
    for _ in range(50):
        await writer.put(("b", 2))
    await writer.put(("a", 2))
    assert a.evicted_through == 2
    kept = offsets(await log.read([a, b], 0, 1 << 30))
    assert kept == list(range(104 - len(kept) + 1, 105))
    assert 18 <= len(kept) <= 20


async def test_the_bound_on_the_whole_survives_purges_and_deletes() -> None:
    clock = Clock()
    log = memory(clock, (OVERHEAD_BYTES + 3) * 20)
    writer = Writer(log, clock)
    for _ in range(30):
        a = await writer.stream("a")
        b = log.registry.find("b") or await writer.stream("b")
        await writer.put(("a", 15), ("b", 15))
        await log.purge(b)
        await writer.put(("b", 3))
        await log.delete(a)
    assert len(log._oldest) <= 2
    assert log.bytes == b.bytes
