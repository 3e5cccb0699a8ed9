"""The durable engine and its files: they grow, shrink, belong to one process, and are refused when they are newer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import DiskFull, LogRefused
from ratsvc.logs.limits import DiskLimits
from ratsvc.logs.lmdb import LmdbLog, store
from ratsvc.logs.lmdb.kept import FORMAT, META, Meta
from ratsvc.logs.lmdb.rows import sealed, unsealed
from tests.unit.logs.contract import SECOND, Clock

MIB = 1024 * 1024


def opened(directory: Path, limits: DiskLimits | None = None, clock: Clock | None = None) -> LmdbLog:
    return LmdbLog(
        Registry(1000), Dedupe(10, 10**12), directory, policy=lambda _: Retention(), limits=limits,
        clock=clock or Clock(),
    )  # fmt: skip


async def put(log: LmdbLog, count: int, size: int, stream: str = "s") -> None:
    if log.registry.find(stream) is None:
        await log.create(StreamInfo(stream, Retention(), 1))
    for _ in range(count):
        offset = log.last_offset + 1
        await log.append([Batch(stream, range(offset, offset + 1), 1000, [bytes([offset % 256]) * size])])


async def read(log: LmdbLog, stream: str = "s") -> list[int]:
    found, position = [], 0
    while part := await log.read([log.registry.get(stream)], position, MIB):
        for batch in part:
            assert isinstance(batch, Batch)
            found += [offset for offset, record in zip(batch.offsets, batch.records, strict=True)
                      if record[:1] == bytes([offset % 256])]  # fmt: skip
            position = batch.last
    return found


def test_the_map_grows_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MIN_MAP", MIB)

    async def run() -> None:
        log = opened(tmp_path / "log")
        await put(log, 50, 100_000)
        assert await read(log) == list(range(1, 51))
        await log.close()
        log = opened(tmp_path / "log")
        assert await read(log) == list(range(1, 51))
        await put(log, 100, 100_000)
        assert await read(log) == list(range(1, 151))
        await log.close()

    asyncio.run(run())


def test_what_retention_frees_is_used_again_and_given_back_at_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "COMPACT_FROM", MIB)

    async def run() -> None:
        log = opened(tmp_path / "log")
        await put(log, 100, 100_000)
        await log.purge(log.registry.get("s"))
        for _ in range(3):
            await log.tend()
        before = log._store.file_bytes
        await put(log, 50, 100_000)
        assert log._store.file_bytes < before + MIB
        await log.purge(log.registry.get("s"))
        await log.tend()
        await put(log, 3, 100)
        await log.close()
        log = opened(tmp_path / "log")
        assert log._store.file_bytes < MIB
        assert await read(log) == [151, 152, 153]
        await log.close()
        log = opened(tmp_path / "log")
        await put(log, 1, 100)
        assert await read(log) == [151, 152, 153, 154]
        await log.close()

    asyncio.run(run())


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    async def run() -> None:
        log = opened(tmp_path / "log")
        await put(log, 1, 10)
        await log.close()

    asyncio.run(run())
    with lmdb.open(str(tmp_path / "log"), max_dbs=8, lock=False) as env:
        table = env.open_db(b"meta", create=False)
        with env.begin(write=True) as transaction:
            found = transaction.get(META, db=table)
            assert found is not None
            meta = unsealed(found, Meta, "meta")
            transaction.put(META, sealed(meta._replace(format=FORMAT + 1)), db=table)
    with pytest.raises(LogRefused, match=rf"format {FORMAT + 1}; this version of ratsvc knows {FORMAT}"):
        opened(tmp_path / "log")


def test_a_directory_belongs_to_one_process_which_is_named(tmp_path: Path) -> None:
    async def run() -> None:
        log = opened(tmp_path / "log")
        command = [sys.executable, "-m", "ratsvc", "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        second = subprocess.run(
            [*command, "--data-dir", str(tmp_path / "log")], capture_output=True, text=True, timeout=60
        )
        assert second.returncode == 1
        assert "is in use by process" in second.stderr
        assert "Traceback" not in second.stderr
        await log.close()
        await opened(tmp_path / "log").close()

    asyncio.run(run())


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LogRefused, match="cannot use the data directory"):
        opened(tmp_path / "file" / "log")


def test_over_the_bound_on_the_whole_the_oldest_records_of_all_streams_go(tmp_path: Path) -> None:
    async def run() -> None:
        log = opened(tmp_path / "log", DiskLimits(log_bytes=10_000))
        for stream in "abc":
            await put(log, 50, 100, stream)
        await log.tend()
        assert log.bytes <= 10_000
        kept = [offset for stream in "abc" for offset in await read(log, stream)]
        assert kept == list(range(51, 151))
        assert log.evicted == 50
        await log.close()

    asyncio.run(run())


def test_a_disk_with_too_little_room_takes_no_records(tmp_path: Path) -> None:
    async def run() -> None:
        log = opened(tmp_path / "log", DiskLimits(reserve_bytes=1 << 60))
        await put(log, 1, 100)
        await log.tend()
        with pytest.raises(DiskFull):
            await put(log, 1, 100)
        assert await read(log) == [1]
        await log.close()

    asyncio.run(run())


def test_the_age_of_a_record_is_the_time_that_the_log_was_open(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        log = opened(tmp_path / "log", clock=clock)
        await put(log, 1, 100)
        await log.update(log.registry.get("s"), Retention(max_age_s=100), Retention(max_age_s=100))
        clock.now_ns += 60 * SECOND
        await log.close()
        clock.now_ns += 10**9 * SECOND
        log = opened(tmp_path / "log", clock=clock)
        await log.tend()
        assert await read(log) == [1]
        clock.now_ns += 41 * SECOND
        await log.tend()
        assert await read(log) == []
        await log.close()

    asyncio.run(run())
