"""The durable engine: the contract, and what it keeps over restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.registry import Registry
from ratsvc.core.retention import Retention
from ratsvc.logs.lmdb import LmdbLog
from ratsvc.logs.protocol import Log
from tests.unit.logs.contract import Clock, LogContract


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
