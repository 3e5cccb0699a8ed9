"""The durable engine against the memory engine: the same operations give the same log, whatever restarts and crashes
come between."""

from __future__ import annotations

import asyncio
import random
import subprocess
from pathlib import Path

import pytest

from ratsvc.core.dedupe import Claim, Dedupe
from ratsvc.core.draft import ProducerRef
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.logs.lmdb import LmdbLog
from ratsvc.logs.memory import MemoryLog
from ratsvc.logs.protocol import Log
from tests.unit.logs.contract import SECOND, Clock

NAMES = ["a", "b", "c.d", "e"]
COMPARED = ("created_ns", "asked", "updated_ns", "records", "bytes", "first_offset", "last_offset", "ended",
            "evicted_through", "evicted_time_ns", "purged_through")  # fmt: skip


class Pair:
    """Both engines, driven alike."""

    def __init__(self, directory: Path, seed: int, interval_s: float) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.directory = directory
        self.interval_s = interval_s
        self.time_ns = 1000 * SECOND
        self.memory = MemoryLog(Registry(1000), Dedupe(50, SECOND), 1 << 40, self.clock)
        self.lmdb = self.opened(directory)
        self.sequences: dict[str, int] = {}
        self.crashes = 0

    def opened(self, directory: Path) -> LmdbLog:
        return LmdbLog(
            Registry(1000), Dedupe(50, SECOND), directory, policy=lambda _: Retention(max_records=40),
            flush_interval_s=self.interval_s, clock=self.clock,
        )  # fmt: skip

    @property
    def both(self) -> tuple[Log, Log]:
        return self.memory, self.lmdb

    async def put(self) -> None:
        batches: list[list[Batch]] = [[], []]
        claims: list[list[Claim]] = [[], []]
        offset = max(self.memory.last_offset, self.lmdb.last_offset) + 1
        self.time_ns += self.random.randrange(3) * SECOND
        for _ in range(self.random.randint(1, 3)):
            name, count = self.random.choice(NAMES), self.random.randint(1, 12)
            records = [self.random.randbytes(self.random.choice([1, 50, 5000])) for _ in range(count)]
            labels = [self.random.choice(["", "k", "é"]) for _ in records] if self.random.random() < 0.3 else None
            for log, found, claimed in zip(self.both, batches, claims, strict=True):
                if log.registry.find(name) is None:
                    asked = Retention()
                    await log.create(StreamInfo(name, Retention(max_records=40), self.time_ns, asked))
                found.append(Batch(name, range(offset, offset + count), self.time_ns, records, labels))
                sequence = self.sequences.get(name, 1)
                claimed.append(Claim(ProducerRef(name, 1, sequence), sequence, count, offset))
                log.dedupe.claim(claimed[-1], log.uptime_ns)
            self.sequences[name] = self.sequences.get(name, 1) + count
            offset += count
        for log, found, claimed in zip(self.both, batches, claims, strict=True):
            await log.append(found, claimed, flushed=self.random.random() < 0.1)
            log.dedupe.commit()

    async def alter(self) -> None:
        name, kind = self.random.choice(NAMES), self.random.randrange(4)
        records, size = self.random.choice([0, 3, 25]), self.random.choice([0, 1, 300, 20_000])
        keep = Retention(records, size, self.random.choice([0, 60]))
        for log in self.both:
            info = log.registry.find(name)
            if info is not None:
                match kind:
                    case 0:
                        await log.update(info, keep, keep.over(Retention(max_records=40)))
                    case 1:
                        await log.end(info)
                    case 2:
                        await log.purge(info)
                    case 3:
                        await log.delete(info)

    async def tend(self) -> None:
        self.clock.now_ns += self.random.randrange(40) * SECOND
        for log in self.both:
            await log.tend()
            log.dedupe.forgotten.clear()

    async def restart(self) -> None:
        await self.lmdb.close()
        self.lmdb = self.opened(self.directory)

    async def crash(self) -> None:
        self.crashes += 1
        copy = self.directory.with_name(f"log{self.crashes}")
        subprocess.run(["cp", "-r", "--sparse=always", self.directory, copy], check=True)
        await self.lmdb.close()
        self.directory, self.lmdb = copy, self.opened(copy)
        # A crash forgets for how long the log was open since its last write.
        self.memory._opened += self.memory.uptime_ns - self.lmdb.uptime_ns

    async def compare(self) -> None:
        memory, lmdb = self.both
        infos = [{info.name: info for info in log.registry} for log in self.both]
        assert set(infos[0]) == set(infos[1])
        for name, one in infos[0].items():
            assert [getattr(one, f) for f in COMPARED] == [getattr(infos[1][name], f) for f in COMPARED], name
        assert memory.bytes == lmdb.bytes
        for id_, one in memory.dedupe.producers.items():
            other = lmdb.dedupe.producers[id_]
            assert (one.epoch, one.expected) == (other.epoch, other.expected)
            assert (one.sequences, one.offsets) == (other.sequences, other.offsets)
        names = self.random.sample(sorted(infos[0]), self.random.randint(0, len(infos[0])))
        after = self.random.choice([0, self.random.randint(0, max(1, memory.last_offset)), memory.last_offset])
        count, time_ns = self.random.randint(1, 50), self.time_ns - self.random.randrange(60) * SECOND
        found = []
        for log in self.both:
            streams = [log.registry.get(name) for name in names]
            items = []
            position = after
            while part := await log.read(streams, position, self.random.choice([1, 10_000])):
                for batch in part:
                    assert isinstance(batch, Batch)
                    items += zip(batch.offsets, batch.records, batch.keys or [""] * len(batch), strict=True)
                    position = batch.last
            last_times = [info.updated_ns for info in streams if info.records]
            since = await log.after_time(streams, time_ns) if max(last_times, default=0) >= time_ns else None
            last = await log.after_last(streams, count) if any(info.records for info in streams) else None
            gap = log.registry.gap(tuple(NAMES), list(log.registry), after)
            found.append((items, since, last, gap))
        for one, other in zip(*(items for items, *_ in found), strict=False):
            assert one[0] == other[0], (names, after, [i[0] for i in found[0][0]], [i[0] for i in found[1][0]])
        assert found[0] == found[1]


@pytest.mark.parametrize("interval_s", [0.0, 3600.0], ids=["always", "interval"])
@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_same_log_as_in_memory(tmp_path: Path, seed: int, interval_s: float) -> None:
    async def run() -> None:
        pair = Pair(tmp_path / "log", seed, interval_s)
        steps = [pair.put] * 8 + [pair.alter] * 2 + [pair.tend, pair.restart, pair.crash]
        for _ in range(120):
            await pair.random.choice(steps)()
            await pair.compare()
        await pair.lmdb.close()

    asyncio.run(run())


def test_many_streams_are_read_in_one_order(tmp_path: Path) -> None:
    async def run() -> None:
        pair = Pair(tmp_path / "log", 1, 0.0)
        NAMES.extend(f"n{n}" for n in range(60))
        try:
            for _ in range(100):
                await pair.put()
            await pair.restart()
            for _ in range(10):
                await pair.compare()
        finally:
            del NAMES[4:]
            await pair.lmdb.close()

    asyncio.run(run())
