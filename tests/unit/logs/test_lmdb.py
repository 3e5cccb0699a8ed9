"""The durable engine: the contract, and what it keeps over restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.registry import Registry
from ratsvc.core.retention import Retention
from ratsvc.logs.lmdb import LmdbLog, reads
from ratsvc.logs.protocol import Log
from tests.unit.logs.contract import Clock, LogContract, Writer


def opened(directory: Path, clock: Clock, interval_s: float = 0.0) -> LmdbLog:
    return LmdbLog(
        Registry(1000), Dedupe(10, 1), directory, policy=lambda _: Retention(), flush_interval_s=interval_s, clock=clock
    )


@pytest.mark.parametrize("interval_s", [0.0, 3600.0], ids=["always", "interval"])
class TestLmdbLog(LogContract):
    @pytest_asyncio.fixture
    async def log(self, clock: Clock, tmp_path: Path, interval_s: float) -> AsyncIterator[Log]:
        log = opened(tmp_path / "log", clock, interval_s)
        yield log
        await log.close()

    async def test_what_is_committed_while_a_read_of_many_streams_goes_on_is_not_passed_over(
        self, log: Log, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [f"s{n}" for n in range(reads.MERGED + 2)]
        for name in ("other", *names):
            await writer.stream(name)
        await writer.put(("other", 1), ("other", 1))
        await writer.put(*[(name, 1) for name in names[:-1]])  # not the last one
        steps = []

        async def sleep(seconds: float) -> None:
            """Others have their turn after each step of the read; now it is these."""
            steps.append(seconds)
            if len(steps) == 1:
                await writer.put((names[-1], 1))
                await writer.put((names[0], 1))

        monkeypatch.setattr(reads, "LOOKS_A_READ", 2)  # the first of them is the row before
        monkeypatch.setattr(reads, "asyncio", SimpleNamespace(sleep=sleep))
        found: list[int] = []
        while new := await self.all_of(log, *names, after=max(found, default=0)):
            found += new
        assert steps
        assert found == list(range(3, log.last_offset + 1))
