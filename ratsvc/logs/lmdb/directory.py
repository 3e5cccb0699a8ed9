"""What lies beside the database in a data directory: the lock, and the high-water mark.

The lock (`flock` on `lock`, given back by the kernel however a process ends) lets one process use the directory.
The mark (`mark`) says how far the log had got: a database that is behind it was emptied, cut or put back from a
copy, and is refused. It is written after each commit that is on disk, into one of two slots by turns, so that a torn
write leaves the other one; it is never ahead of the disk.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import NamedTuple

import structlog

from ratsvc.errors import DiskFull, LogRefused
from ratsvc.logs.lmdb.rows import Damaged, sealed, unsealed

_log = structlog.get_logger()

ADVICE = "Keep a copy; `ratsvc log export` saves what can be read, `ratsvc log import` makes a new log of it"
FILES = ("journal", "mark", "data.mdb")
IMPORTING = "importing"
"""Within a data directory: where an import makes its log, whose files are put into their place in that order."""
SLOT_BYTES = 512
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs"}


class Mark(NamedTuple):
    """How far a log had got."""

    epoch: str
    commits: int
    last_offset: int
    chain: int
    """The running checksum over all rows ever committed."""


class Directory:
    """A data directory that this process alone uses, until `close`.

    Args:
        path: made when it does not exist.

    Raises:
        LogRefused: it cannot be made, written, or is in use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data.mdb"
        self.journal = path / "journal"
        self._mark = -1
        try:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise LogRefused(f"cannot use the data directory {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = owner_of(self._lock)
            os.close(self._lock)
            raise LogRefused(f"the data directory {path} is in use by {owner}") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"process {os.getpid()}\n".encode(), 0)
        kind = _file_system(path)
        if kind in NETWORK:
            _log.warning("data_dir_on_network", file_system=kind, hint="locks and fsync may not hold there")

    def mark(self) -> Mark | None:
        """The newest mark; None when there never was one. Raises LogRefused."""
        return read_mark(self.path)

    def set_mark(self, mark: Mark) -> None:
        """Remembers how far the log has got: 3 µs."""
        is_new = False
        if self._mark < 0:
            self._mark = os.open(self.path / "mark", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            is_new = os.fstat(self._mark).st_size < 2 * SLOT_BYTES
        data = sealed(mark)
        os.pwrite(self._mark, bytes([len(data)]) + data, mark.commits % 2 * SLOT_BYTES)
        if is_new:  # from now on there is always one to read
            os.ftruncate(self._mark, 2 * SLOT_BYTES)
            os.fsync(self._mark)
            self.sync()

    def settle(self) -> None:
        """Removes what a finished import left behind. Raises LogRefused where one was not finished."""
        refuse_unfinished(self.path)
        shutil.rmtree(self.path / IMPORTING, ignore_errors=True)

    def sync(self) -> None:
        """Makes the names of new files durable."""
        sync(self.path)

    def free(self) -> tuple[int, int]:
        """Bytes free on the disk, and its size."""
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    def close(self) -> None:
        """Gives the directory back."""
        if self._mark >= 0:
            os.close(self._mark)
        os.close(self._lock)


def is_unfinished(path: Path) -> bool:
    """Whether an import into a data directory was killed before its log was in its place: `data.mdb` comes last."""
    within = path / IMPORTING
    return within.exists() and (not (path / FILES[-1]).exists() or any((within / name).exists() for name in FILES))


def refuse_unfinished(path: Path) -> None:
    """Raises LogRefused where an import was not finished: what is there now is no log."""
    if is_unfinished(path):
        raise LogRefused(
            f"an import into {path} was not finished: run `ratsvc log import` again, which begins anew, or empty the"
            " directory"
        )


def sync(path: Path) -> None:
    """Makes a file's content, or the names in a directory, durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def owner_of(lock: int) -> str:
    """Who holds a lock, in words."""
    return os.pread(lock, 100, 0).decode("ascii", "replace").strip() or "another process"


def is_full(error: OSError) -> bool:
    """Whether it says that the disk has no room."""
    return error.errno in (ENOSPC, EDQUOT)


def disk_full() -> DiskFull:
    """What refuses records then."""
    return DiskFull("the disk is full: no records are taken until there is room", retry_after_s=5)


def read_mark(directory: Path) -> Mark | None:
    """The newest mark in a data directory; None when there never was one. Raises LogRefused."""
    try:
        data = (directory / "mark").read_bytes()
    except FileNotFoundError:
        return None
    found = []
    for slot in (data[:SLOT_BYTES], data[SLOT_BYTES : 2 * SLOT_BYTES]):
        try:
            found.append(unsealed(slot[1 : 1 + slot[0]], Mark, "the mark"))
        except (Damaged, IndexError):
            continue
    if not found:
        raise LogRefused(f"{directory / 'mark'} is damaged: it is not known how far the log had got. {ADVICE}")
    return max(found, key=lambda mark: mark.commits)


def _file_system(path: Path) -> str:
    """The kind of the file system that `path` is on; "" when that is not known."""
    place = str(path.resolve())
    kind, longest = "", -1
    try:
        mounts = Path("/proc/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in mounts:
        _, point, found, *_ = line.split()
        point = point.replace("\\040", " ")
        if len(point) > longest and (place == point or place.startswith(point.rstrip("/") + "/")):
            kind, longest = found, len(point)
    return kind
