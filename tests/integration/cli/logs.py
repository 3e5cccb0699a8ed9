"""Logs to be worked on: made with the engine itself, and read as they lie on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ratsvc.core.dedupe import Claim, Dedupe
from ratsvc.core.draft import ProducerRef
from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.logs.lmdb import LmdbLog
from ratsvc.logs.lmdb.contents import contents
from ratsvc.logs.lmdb.stopped import StoppedLog
from ratsvc.quickmem import record

START_NS = 1_700_000_000_000_000_000
FORMS = ["ndjson", "binary"]
"""Of an archive."""


class One(NamedTuple):
    """A record as it is kept."""

    stream: str
    time_ns: int
    record: bytes
    key: str
    event: str


def opened(directory: Path, interval_s: float = 0.0) -> LmdbLog:
    """A log, as a service opens it."""
    registry, dedupe = Registry(100_000), Dedupe(1_000, 1 << 60)
    return LmdbLog(registry, dedupe, directory, policy=lambda _: Retention(), flush_interval_s=interval_s)


def make(directory: Path, commits: int = 60, each: int = 7, large: bool = True) -> None:
    """Makes a log: `keep` keeps all, `few` the newest 50 records, `over` was ended; one stream more was deleted."""
    asyncio.run(_make(directory, commits, each, large))


async def _make(directory: Path, commits: int, each: int, large: bool) -> None:
    log = opened(directory)
    offset = 1
    streams = {"keep": Retention(), "few": Retention(50), "over.it": Retention(0, 1 << 30, 3600.5), "gone": Retention()}
    for name, asked in streams.items():
        await log.create(StreamInfo(name, asked, START_NS, asked))
    for commit in range(commits):
        batches, claims = [], []
        for name in list(streams):
            text = "x" * (9_000 if large and commit % 20 == 3 else 12)
            key, event = f"k{commit % 5}" if name == "keep" else "", "tick" if name == "few" else ""
            records = [record({"n": offset + i, "text": text}, key, event) for i in range(each)]
            keys, events = [key] * each if key else None, [event] * each if event else None
            offsets = range(offset, offset + each)
            batches.append(Batch(name, offsets, START_NS + commit * 1_000_003, records, keys, events))
            if name == "keep":
                ref = ProducerRef("p1", 1, commit * each + 1)
                claims.append(Claim(ref, ref.sequence, each, offset))
                log.dedupe.claim(claims[-1], 1)
            offset += each
        await log.append(batches, claims)
        log.dedupe.commit()
    await log.end(log.registry.get("over.it"))
    await log.delete(log.registry.get("gone"))
    await log.close()


def items(directory: Path) -> Iterator[Batch | Gap]:
    """What can be read of a log."""
    log = StoppedLog(directory, lambda _: None)
    try:
        yield from contents(log, lambda _: True)
    finally:
        log.close()


def records(directory: Path) -> list[One]:
    """The records of a log, in order."""
    found = []
    for item in items(directory):
        if isinstance(item, Batch):
            none = [""] * len(item)
            columns = zip(item.records, item.keys or none, item.events or none, strict=True)
            found += [One(item.stream, item.time_ns, *one) for one in columns]
    return found


def files(directory: Path) -> dict[str, tuple[bytes, int]]:
    """All files of a directory, with the times of their last change."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in directory.iterdir()}
