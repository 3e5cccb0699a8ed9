"""A new log, made of what another one held.

It is made in a directory within its own, and its files are put into their place when all is on disk, the mark last: a
database without one is refused. So a log is there whole or not at all, however this ends. The directory's lock is held
meanwhile.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import LogRefused
from ratsvc.logs.lmdb.directory import Directory, sync
from ratsvc.logs.lmdb.engine import LmdbLog

FILES = ("data.mdb", "journal", "mark")
COMMIT_BYTES = 4 * 1024 * 1024
COMMIT_BATCHES = 2_000
_MOST_STREAMS = 1 << 31


class NewLog:
    """A log that is being made; `finish` it, or `discard` it.

    Args:
        path: where it will be; may exist, but hold no log.

    Raises:
        LogRefused: there is a log already, or the directory cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if any((path / name).exists() for name in FILES):
            raise LogRefused(f"{path} holds a log already: an import makes a new one")
        self._made = not path.exists()
        self._directory = Directory(path)
        self._within = path / "importing"
        self._waiting: list[Batch] = []
        self._bytes = 0
        self._last = 0
        self._is_open = True
        try:
            shutil.rmtree(self._within, ignore_errors=True)  # of an import that was killed
            dedupe = Dedupe(0, 0)
            self._log = LmdbLog(Registry(_MOST_STREAMS), dedupe, self._within, policy=lambda _: Retention())
        except BaseException:
            self._remove()
            raise

    @property
    def epoch(self) -> str:
        """Of the new log."""
        return self._log.epoch

    async def create(self, name: str, created_ns: int, asked: Retention, ended: bool) -> None:
        """Makes a stream."""
        await self._log.create(StreamInfo(name, asked, created_ns, asked, ended=ended))

    async def append(self, batch: Batch) -> None:
        """Takes records of a stream that was made; they get new offsets. Raises LogRefused when time goes back."""
        newest = self._waiting[-1].time_ns if self._waiting else self._log.last_time_ns
        if batch.time_ns < newest:
            raise LogRefused("the records are not in the order of their times")
        batch.offsets = range(self._last + 1, self._last + 1 + len(batch))
        self._last = batch.last
        self._waiting.append(batch)
        self._bytes += batch.size
        if self._bytes >= COMMIT_BYTES or len(self._waiting) >= COMMIT_BATCHES:
            await self._commit()

    async def _commit(self) -> None:
        if self._waiting:
            await self._log.append(self._waiting)
        self._waiting, self._bytes = [], 0

    async def finish(self) -> None:
        """Puts the log into its place."""
        await self._commit()
        await self._log.flush()
        self._is_open = False
        await self._log.close()
        sync(self._within / "mark")
        for name in FILES:
            os.rename(self._within / name, self.path / name)
        self._directory.sync()
        shutil.rmtree(self._within)
        self._directory.close()

    async def discard(self) -> None:
        """Leaves nothing behind."""
        try:
            if self._is_open:
                self._is_open = False
                await self._log.close()
        finally:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._within, ignore_errors=True)
        for name in (*FILES, "lock"):
            (self.path / name).unlink(missing_ok=True)
        self._directory.close()
        if self._made:
            self.path.rmdir()
