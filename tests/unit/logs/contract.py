"""What every engine must do: a class of tests that an engine's own test file inherits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.logs.protocol import Log

SECOND = 10**9


class Clock:
    """A clock that is set by hand, for an engine's `clock`."""

    def __init__(self) -> None:
        self.now_ns = 5000 * SECOND

    def __call__(self) -> int:
        return self.now_ns


class Writer:
    """Writes records to a log as the sequencer does; a record is its offset in text."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self.log = log
        self.clock = clock
        self.time_ns = 1000 * SECOND

    def wait(self, seconds: int) -> None:
        """Lets time go by."""
        self.time_ns += seconds * SECOND
        self.clock.now_ns += seconds * SECOND

    async def stream(self, name: str, **retention: float) -> StreamInfo:
        info = StreamInfo(name, Retention(**retention), self.time_ns)  # type: ignore[arg-type]
        await self.log.create(info)
        return info

    async def put(self, *parts: tuple[str, int]) -> None:
        """One commit: so many records to each of the streams."""
        offset, batches = self.log.last_offset + 1, []
        for name, count in parts:
            offsets = range(offset, offset + count)
            batches.append(Batch(name, offsets, self.time_ns, [b"%d" % at for at in offsets]))
            offset += count
        await self.log.append(batches)


def offsets(batches: Sequence[Batch | Gap]) -> list[int]:
    for batch in batches:
        assert isinstance(batch, Batch)
        assert batch.records == [b"%d" % at for at in batch.offsets]
    return [at for batch in batches if isinstance(batch, Batch) for at in batch.offsets]


class LogContract:
    """An engine's test class inherits this and gives the fixture `log`, made with `clock`."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest_asyncio.fixture
    async def log(self, clock: Clock) -> AsyncIterator[Log]:
        raise NotImplementedError
        yield

    @pytest_asyncio.fixture
    async def writer(self, log: Log, clock: Clock) -> Writer:
        return Writer(log, clock)

    async def all_of(self, log: Log, *names: str, after: int = 0, max_bytes: int = 1 << 30) -> list[int]:
        return offsets(await log.read([log.registry.get(name) for name in names], after, max_bytes))

    async def test_records_come_back_in_offset_order_over_all_streams(self, log: Log, writer: Writer) -> None:
        for name in "abc":
            await writer.stream(name)
        await writer.put(("a", 2), ("b", 1))
        await writer.put(("c", 3), ("a", 1))
        assert await self.all_of(log, "a", "b", "c") == [1, 2, 3, 4, 5, 6, 7]
        assert await self.all_of(log, "a", "b") == [1, 2, 3, 7]
        assert await self.all_of(log, "c") == [4, 5, 6]
        assert log.last_offset == 7

    async def test_a_read_begins_after_any_offset_even_inside_a_batch(self, log: Log, writer: Writer) -> None:
        await writer.stream("a")
        for _ in range(5):
            await writer.put(("a", 4))
        for after in range(21):
            assert await self.all_of(log, "a", after=after) == list(range(after + 1, 21))

    async def test_a_read_is_bounded_and_goes_on(self, log: Log, writer: Writer) -> None:
        await writer.stream("a")
        await writer.stream("b")
        for _ in range(50):
            await writer.put(("a", 3), ("b", 2))
        seen: list[int] = []
        while True:
            part = await self.all_of(log, "a", "b", after=seen[-1] if seen else 0, max_bytes=20)
            if not part:
                break
            assert len(part) <= 30
            seen += part
        assert seen == list(range(1, 251))

    async def test_a_read_that_begins_inside_a_large_batch_skips_nothing(self, log: Log, writer: Writer) -> None:
        await writer.stream("a")
        await writer.stream("b")
        await writer.put(("a", 50), ("a", 1), ("b", 1), ("a", 1))
        seen = [49]
        while part := await self.all_of(log, "a", "b", after=seen[-1], max_bytes=60):
            seen += part
        assert seen == list(range(49, 54))

    async def test_the_figures_of_a_stream_are_true(self, log: Log, writer: Writer) -> None:
        info = await writer.stream("a")
        assert (info.records, info.first_offset, info.last_offset) == (0, 0, 0)
        await writer.put(("a", 12))
        assert (info.records, info.bytes, info.first_offset, info.last_offset) == (12, 15, 1, 12)
        assert (info.updated_ns, log.bytes, log.last_time_ns) == (writer.time_ns, 15, writer.time_ns)

    @pytest.mark.parametrize("sizes", [[1] * 30, [7] * 5, [30], [3, 20, 1, 1, 9]])
    async def test_retention_by_count_is_exact(self, log: Log, writer: Writer, sizes: list[int]) -> None:
        info = await writer.stream("a", max_records=5)
        for size in sizes:
            await writer.put(("a", size))
        newest = sum(sizes)
        assert await self.all_of(log, "a") == list(range(newest - 4, newest + 1))
        assert (info.records, info.first_offset, info.evicted_through) == (5, newest - 4, newest - 5)

    async def test_retention_by_bytes_keeps_what_fits_and_always_the_newest(self, log: Log, writer: Writer) -> None:
        info = await writer.stream("a", max_bytes=7)
        await writer.put(("a", 9), ("a", 3))  # offsets 1 to 9 take one byte each, 10 to 12 two
        assert await self.all_of(log, "a") == [9, 10, 11, 12]
        assert info.bytes == 7
        await log.update(info, Retention(max_bytes=1), Retention(max_bytes=1))
        assert await self.all_of(log, "a") == [12]

    async def test_retention_by_age_removes_what_is_older(self, log: Log, writer: Writer) -> None:
        info = await writer.stream("a", max_age_s=10)
        await writer.stream("b")
        await writer.put(("a", 2), ("b", 1))
        writer.wait(8)
        await writer.put(("a", 2))
        writer.wait(3)
        await log.tend()
        assert await self.all_of(log, "a", "b") == [3, 4, 5]
        assert info.evicted_through == 2
        writer.wait(30)
        await log.tend()
        assert await self.all_of(log, "a") == []
        assert (info.records, info.first_offset, info.last_offset, info.evicted_through) == (0, 0, 5, 5)

    async def test_a_start_is_found_by_time(self, log: Log, writer: Writer) -> None:
        a, b = await writer.stream("a"), await writer.stream("b")
        for _ in range(10):
            await writer.put(("a", 2), ("b", 1))
            writer.wait(1)
        base = 1000 * SECOND
        assert await log.after_time([a], base - 1) == 0
        assert await log.after_time([a, b], base + 3 * SECOND) == 9
        assert await log.after_time([b], base + 3 * SECOND - 1) == 11
        assert await log.after_time([a, b], base + 60 * SECOND) == 30
        assert await log.after_time([], 0) == 30

    async def test_a_start_is_found_from_the_end(self, log: Log, writer: Writer) -> None:
        a, b = await writer.stream("a"), await writer.stream("b")
        for _ in range(4):
            await writer.put(("a", 3), ("b", 1))
        assert await self.all_of(log, "a", after=await log.after_last([a], 4)) == [11, 13, 14, 15]
        assert await self.all_of(log, "a", "b", after=await log.after_last([a, b], 3)) == [14, 15, 16]
        assert await log.after_last([a], 1000) == 0
        assert await log.after_last([], 5) == 16

    async def test_a_purge_leaves_the_stream_and_says_what_is_gone(self, log: Log, writer: Writer) -> None:
        info = await writer.stream("a")
        await writer.put(("a", 5))
        await log.purge(info)
        assert await self.all_of(log, "a") == []
        assert (info.records, info.bytes, info.evicted_through, info.purged_through) == (0, 0, 5, 5)
        await writer.put(("a", 1))
        assert await self.all_of(log, "a") == [6]

    async def test_a_deleted_stream_leaves_a_word_for_its_readers(self, log: Log, writer: Writer) -> None:
        info = await writer.stream("a")
        await writer.put(("a", 5))
        await log.delete(info)
        assert log.registry.find("a") is None
        gap = log.registry.gap(("a",), [], 2)
        assert gap is not None
        assert gap.to == 5
        assert log.registry.gap(("a",), [], 5) is None
        again = await writer.stream("a")
        assert again.evicted_through == 5
        await writer.put(("a", 1))
        assert await self.all_of(log, "a") == [6]

    async def test_an_ended_stream_keeps_its_records(self, log: Log, writer: Writer) -> None:
        info = await writer.stream("a")
        await writer.put(("a", 2))
        await log.end(info)
        assert info.ended
        assert await self.all_of(log, "a") == [1, 2]
