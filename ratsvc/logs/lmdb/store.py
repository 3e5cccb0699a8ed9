"""The LMDB database: opened with care, read in one thread, committed in another.

LMDB runs without its own locks, since one process uses the directory and one task writes: reads and puts happen in
the event loop's thread (a few µs; in another thread each would wait for the interpreter), only the commit with its
fsync goes to a thread. A view (read transaction) is taken when no commit is under way and replaced after each:
LMDB never reuses pages that the two newest snapshots show, so a view is safe while the next one is committed.

LMDB has no checksums and reads through a memory map, where a read beyond the file kills the process. So before it is
used the file is compared with its last page, and its trees are looked at (`survey`); it is kept longer than its last
page by `slack` (a hole, which takes no room), and nothing longer than the longest row ever written is touched. Never
`writemap`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import lmdb
import structlog

from ratsvc.errors import LogRefused
from ratsvc.logs.lmdb.directory import ADVICE, Directory, disk_full, is_full
from ratsvc.logs.lmdb.survey import survey

T = TypeVar("T")
_log = structlog.get_logger()

MIB = 1024 * 1024
MIN_MAP = 256 * MIB
MIN_SLACK = 8 * MIB
COMPACT_FROM = 64 * MIB
MIN_ALLOCATED = 256 * 1024
MAX_ALLOCATED_AHEAD = 16 * MIB
TABLES = (b"meta", b"streams", b"rows", b"index", b"tombstones", b"trash", b"producers", b"places")


class Store:
    """The database in a directory.

    Args:
        directory: of this process alone.
        survey_s: how long its trees are looked at first, where it is there already.

    Raises:
        LogRefused: it is no database of ours, is damaged, or the file is shorter than it says.
    """

    def __init__(self, directory: Directory, survey_s: float) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, "commit")
        self._slack = MIN_SLACK
        self.is_new = not directory.data.exists()
        if not self.is_new:
            self._check_size()
            survey(directory.data, survey_s)
        self._open()

    def _check_size(self) -> None:
        """Refuses a file that LMDB could not read without dying."""
        data = self._directory.data
        size = data.stat().st_size
        try:
            if not size:
                raise lmdb.InvalidError("the file is empty")
            with lmdb.open(str(data.parent), readonly=True, lock=False, create=False) as env:
                needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
                entries = env.stat()["entries"]
                if size >= needed and entries:
                    with env.begin() as transaction:
                        if transaction.get(TABLES[0]) is None:
                            raise lmdb.InvalidError("it is a database of another program")
        except lmdb.Error as error:
            raise LogRefused(f"{data} is not a log, or is damaged: {error}. {ADVICE}") from None
        if size < needed:
            raise LogRefused(f"{data} was cut: it has {size} bytes and needs {needed}. {ADVICE}")

    def _open(self) -> None:
        data = self._directory.data
        self._allocated = 0
        size = MIN_MAP
        while not self.is_new and size < 2 * data.stat().st_size:
            size *= 2
        try:
            self._env = lmdb.open(str(data.parent), map_size=size, max_dbs=len(TABLES), lock=False, mode=0o640)
            self._tables = {name: self._env.open_db(name) for name in TABLES}
        except lmdb.Error as error:
            raise LogRefused(f"{data} cannot be opened: {error}. {ADVICE}") from None
        self._page_bytes = int(self._env.stat()["psize"])
        self.view = self._env.begin(buffers=True)
        self._stretch()

    def __getitem__(self, table: bytes) -> lmdb._Database:
        return self._tables[table]

    @contextmanager
    def cursor(self, table: bytes) -> Iterator[lmdb.Cursor]:
        """A place in a table as the view shows it; not to be kept over an `await`."""
        with self.view.cursor(self._tables[table]) as cursor:
            yield cursor

    def get(self, table: bytes, key: bytes, most: int) -> bytes | None:
        """A value of the view; None when there is none, or it has over `most` bytes, which were never written."""
        found = self.view.get(key, db=self._tables[table])
        return None if found is None or len(found) > most else bytes(found)

    async def write(self, fill: Callable[[lmdb.Transaction], Awaitable[T]], size: int, longest: int) -> T:
        """Runs `fill` in a write transaction and commits it to the disk; the view shows it when this returns.

        Args:
            fill: puts what is to be written; run again from the start when the map had to grow.
            size: bytes of all values, about.
            longest: bytes of the longest value.

        Raises:
            DiskFull: nothing was written; it may be tried again.
            lmdb.Error: the disk or the database is broken: the process must stop, since what is on disk is unknown.
        """
        await self._allocate(2 * size + MIN_ALLOCATED)
        while True:
            transaction = self._env.begin(write=True)
            try:
                result = await fill(transaction)
                await self.in_thread(transaction.commit)
            except lmdb.MapFullError:
                transaction.abort()
                self._grow()
                continue
            except lmdb.Error as error:
                transaction.abort()
                if "No space left" in str(error) or "quota exceeded" in str(error):
                    raise disk_full() from None
                raise
            except BaseException:
                transaction.abort()
                raise
            self.renew()
            self._slack = max(self._slack, 2 * longest)
            self._stretch()
            return result

    async def _allocate(self, needed: int) -> None:
        """Makes sure that the disk has room for what a commit may add to the file: LMDB tells of a disk that is full
        in the middle of a write as it tells of one that is broken. Raises DiskFull."""
        end = self.file_bytes
        if self._allocated >= end + needed:
            return
        for more in (needed + min(end, MAX_ALLOCATED_AHEAD), needed):
            try:
                await self.in_thread(partial(self._extend, end, more))
            except OSError as error:
                if not is_full(error):
                    raise lmdb.DiskError(f"cannot extend the file: {error.strerror}") from None
            else:
                self._allocated = end + more
                return
        if end - self.used_bytes < 2 * needed:  # else there are free pages inside
            raise disk_full()

    def _extend(self, start: int, size: int) -> None:
        with self._directory.data.open("r+b") as file:
            os.posix_fallocate(file.fileno(), start, size)

    def renew(self) -> None:
        """Takes a new view: after an error LMDB lets nothing more be read from the old one."""
        self.view.abort()
        self.view = self._env.begin(buffers=True)

    def _grow(self) -> None:
        self.view.abort()
        self._env.set_mapsize(2 * self._env.info()["map_size"])
        self.view = self._env.begin(buffers=True)

    def _stretch(self) -> None:
        """Keeps the file longer than its last page by what a damaged length could reach."""
        needed = self.file_bytes + self._slack
        path = self._directory.data
        if path.stat().st_size < needed:
            os.truncate(path, needed + self._slack)

    @property
    def file_bytes(self) -> int:
        """Bytes of the file up to its last page."""
        return int(self._env.info()["last_pgno"] + 1) * self._page_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes of the pages that hold something."""
        try:
            tables = [self.view.stat(table) for table in self._tables.values()]
        except lmdb.BadTxnError:
            self.renew()
            tables = [self.view.stat(table) for table in self._tables.values()]
        return sum(t["branch_pages"] + t["leaf_pages"] + t["overflow_pages"] for t in tables) * self._page_bytes

    def compact(self) -> None:
        """Gives room back to the disk when more than half of the file is free. Blocks: for the start alone."""
        free = self.file_bytes - self.used_bytes
        if free < COMPACT_FROM or 2 * free < self.file_bytes:
            return
        copy = self._directory.path / "compact"
        before = self.file_bytes
        copy.mkdir(exist_ok=True)
        (copy / "data.mdb").unlink(missing_ok=True)
        try:
            self._env.copy(str(copy), compact=True)
        except lmdb.Error as error:
            _log.warning("compact_failed", error=str(error))
        else:
            self.view.abort()
            self._env.close()
            os.replace(copy / "data.mdb", self._directory.data)
            self._directory.sync()
            self._open()
            _log.info("compacted", before_bytes=before, after_bytes=self.file_bytes)
        finally:
            (copy / "data.mdb").unlink(missing_ok=True)
            copy.rmdir()

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Runs `call` in the thread that commits: one at a time, in order, and to its end even when cancelled."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, call)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def close(self) -> None:
        """Closes the database."""
        self._thread.shutdown()
        self.view.abort()
        self._env.close()
