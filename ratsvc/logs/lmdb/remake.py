"""A new log, made of what another one held.

It is made in a directory within its own, and its files are put into their place when all is on disk, the database
last: with that the log is there, and before it the directory is one of an unfinished import, which is refused as such.
So a log is there whole or not at all, however this ends. The directory's lock is held meanwhile.
Records keep their offsets, so that what else names those (producers' numbers, chunks of files) still does.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ratsvc.core.dedupe import Claim, Dedupe, Producer
from ratsvc.core.draft import ProducerRef
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import LogRefused
from ratsvc.logs.lmdb.directory import FILES, IMPORTING, Directory, is_unfinished, sync
from ratsvc.logs.lmdb.engine import LmdbLog

COMMIT_BYTES = 4 * 1024 * 1024
COMMIT_BATCHES = 2_000
COMMIT_CLAIMS = 20_000
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
        self._within = path / IMPORTING
        self._waiting: list[Batch] = []
        self._bytes = 0
        self._claims: list[Claim] = []
        self._is_open = True
        self._refuse_log()
        self._made = not path.exists()
        self._directory = Directory(path)
        try:
            self._refuse_log()  # another import may have been quicker
        except LogRefused:
            self._directory.close()
            raise
        try:
            self._clear()  # of an import that was killed
            self._dedupe = Dedupe(0, 0)
            self._log = LmdbLog(Registry(_MOST_STREAMS), self._dedupe, self._within, policy=lambda _: Retention())
        except BaseException:
            self._remove()
            raise

    def _refuse_log(self) -> None:
        if any((self.path / name).exists() for name in FILES) and not is_unfinished(self.path):
            raise LogRefused(f"{self.path} holds a log already: an import makes a new one")

    @property
    def epoch(self) -> str:
        """Of the new log."""
        return self._log.epoch

    async def create(self, name: str, created_ns: int, asked: Retention, ended: bool) -> None:
        """Makes a stream."""
        await self._log.create(StreamInfo(name, asked, created_ns, asked, ended=ended))

    async def append(self, batch: Batch) -> None:
        """Takes records of a stream that was made. Raises LogRefused when time goes back."""
        newest = self._waiting[-1].time_ns if self._waiting else self._log.last_time_ns
        if batch.time_ns < newest:
            raise LogRefused("the records are not in the order of their times")
        self._waiting.append(batch)
        self._bytes += batch.size
        if self._bytes >= COMMIT_BYTES or len(self._waiting) >= COMMIT_BATCHES:
            await self._commit()

    async def remember(self, id_: str, known: Producer) -> None:
        """Takes what is known of a producer; its `used_ns` is by the new log's age."""
        self._dedupe.table(id_)[id_] = known
        ref = ProducerRef(id_, known.epoch, 0)
        publishes = zip(known.sequences, known.offsets, strict=True)
        self._claims += [Claim(ref, sequence, 0, offset) for sequence, offset in publishes]
        if len(self._claims) >= COMMIT_CLAIMS:
            await self._commit()

    async def _commit(self) -> None:
        if self._waiting or self._claims:
            await self._log.append(self._waiting, self._claims)
        self._waiting, self._bytes, self._claims = [], 0, []
        self._dedupe.producers.clear()  # the database has them
        self._dedupe.keys.clear()

    async def finish(self, last_offset: int) -> None:
        """Puts the log into its place; records to come are given offsets after `last_offset`."""
        await self._commit()
        self._log.last_offset = max(self._log.last_offset, last_offset)
        await self._log.flush()
        self._is_open = False
        await self._log.close()
        sync(self._within / "mark")
        for name in FILES:
            self._directory.sync()  # so that the disk too has them in this order
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
        self._clear()
        (self.path / "lock").unlink(missing_ok=True)
        self._directory.close()
        if self._made:
            self.path.rmdir()

    def _clear(self) -> None:
        """Removes all but the lock; while anything is left, it is an unfinished import."""
        for name in reversed(FILES):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self._within, ignore_errors=True)
