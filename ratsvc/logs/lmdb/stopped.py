"""A log that no service runs, read as far as it can be read: for `ratsvc log`.

Opening takes the directory's lock, so that no service starts on it meanwhile, and changes nothing: nothing is
compacted, the journal is left as it is. What is damaged is told to `report`, in words, and left out; what is not is
still found, also in a log that the service refuses. Rows carry their checksums, so nothing wrong is ever given.
Memory: the streams, whatever the number of records.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ratsvc.core.record import Batch
from ratsvc.errors import InvalidArgument, LogRefused
from ratsvc.logs.lmdb.directory import FILES, Mark, owner_of, read_mark, refuse_unfinished
from ratsvc.logs.lmdb.journal import JournalRow
from ratsvc.logs.lmdb.kept import META, KeptStream, Meta, meta_of
from ratsvc.logs.lmdb.leftover import groups_left
from ratsvc.logs.lmdb.pages import Pages, Report
from ratsvc.logs.lmdb.rows import INDEX_KEY, ROW_KEY, Damaged, Entry, Head, batch_of, entry_of, head_of, unsealed
from ratsvc.names import check_name

LOST = "lost"
"""Of a stream whose name cannot be read, the records are given under this name and its number."""


@dataclass(slots=True)
class Known:
    """A stream."""

    name: str
    kept: KeptStream | None
    """Its record; None when it cannot be read."""

    @property
    def evicted_through(self) -> int:
        """Rows up to this offset may still be there, but nobody may read them."""
        return self.kept.evicted_through if self.kept else 0


@dataclass(slots=True, frozen=True)
class Stored:
    """A row that matches its checksum."""

    head: Head
    crc: int
    batch: Batch


@dataclass(slots=True, frozen=True)
class Lost:
    """A row that cannot be read."""

    first: int
    crc: int
    why: str


class StoppedLog:
    """A log, opened to be read.

    Args:
        path: the data directory.
        report: is told of what is damaged; may be told the same again.
        progress: is told how many bytes of the database were read.

    Raises:
        LogRefused: there is no log, a service uses it, or a newer version wrote it.
    """

    def __init__(self, path: Path, report: Report, progress: Callable[[int], None] = lambda _: None) -> None:
        self.path = path
        self.report = report
        self.journal = path / "journal"
        self._lock = _held(path)
        try:
            self.pages = self._opened(progress)
        except BaseException:
            self._release()
            raise
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def _opened(self, progress: Callable[[int], None]) -> Pages:
        refuse_unfinished(self.path)
        if not any((self.path / name).exists() for name in FILES):
            raise LogRefused(f"there is no log in {self.path}")
        data = self.path / "data.mdb"
        try:
            if not data.exists():
                self.report(f"{data} is missing")
                return Pages(Path(os.devnull), lambda _: None, progress)
            return Pages(data, self.report, progress)
        except OSError as error:
            raise LogRefused(f"cannot read {data}: {error.strerror}") from None

    def _load(self) -> None:
        self.mark: Mark | None = None
        try:
            self.mark = read_mark(self.path)
        except LogRefused as error:
            self.report(error.detail)
        except OSError as error:
            raise LogRefused(f"cannot read {self.path / 'mark'}: {error.strerror}") from None
        self.meta = self._meta()
        self.epoch = self.meta.epoch if self.meta else self.mark.epoch if self.mark else ""
        self.trash: dict[int, int] = {}
        for key, value in self.pages.items(b"trash"):
            if len(key) == 4 and len(value) == 8:
                self.trash[int.from_bytes(key, "big")] = int.from_bytes(value, "big")
            else:
                self.report("an entry of the table trash has a wrong size")
        self.streams: dict[int, Known] = {}
        self._load_streams()
        self.last_offset = self.meta.last_offset if self.meta else 0
        for row in self._journal_rows():
            empty = KeptStream(row.stream, row.sid, row.created_ns, (0, 0, 0.0), 0, 0, 0, 0, 0, False, 0, 0, 0, 0)
            self.streams.setdefault(row.sid, Known(row.stream, empty))

    def _meta(self) -> Meta | None:
        data = self.pages.get(b"meta", META)
        if data is None:
            self.report("the log's own record is missing")
            return None
        try:
            return meta_of(data, self.path / "data.mdb")
        except Damaged as error:
            self.report(str(error))
            return None

    def _load_streams(self) -> None:
        damaged: list[tuple[str, KeptStream | None]] = []
        for key, value in self.pages.items(b"streams"):
            name = key.decode("utf-8", "replace")
            try:
                kept = unsealed(value, KeptStream, f"the record of stream {name!a}")
            except Damaged as error:
                self.report(str(error))
                guess = _guess(value)
                damaged.append((_name_of(name, guess), guess))
            else:
                self.streams[kept.sid] = Known(kept.name, kept)
                if kept.name != name:
                    self.report(f"stream {kept.name} is kept in the place of {name!a}")
        if damaged:
            self._place(damaged)

    def _place(self, damaged: list[tuple[str, KeptStream | None]]) -> None:
        """Finds the rows of streams whose records are damaged: by the number that is left of the record where rows
        have it, else where there is only one possibility."""
        unknown = set()
        sid = 0
        while found := next(self.pages.items(b"index", INDEX_KEY.pack(sid, 0)), None):
            sid = int.from_bytes(found[0][:4], "big")
            if sid not in self.streams and sid not in self.trash:
                unknown.add(sid)
            sid += 1
            if sid >= 2**32:
                break
        nameless = []
        for name, guess in damaged:
            if not name:
                continue
            if guess is not None and guess.sid in unknown:
                unknown.remove(guess.sid)
                self.streams[guess.sid] = Known(name, None)
            else:
                nameless.append(name)
        if len(nameless) == len(unknown) == 1:
            self.streams[unknown.pop()] = Known(nameless[0], None)

    def rows(self, seen: bytearray | None = None) -> Iterator[Stored | Lost]:
        """All rows of the database, in the order of their offsets, also those that were evicted but not yet swept.

        Args:
            seen: see `Pages.items`.
        """
        for key, body in self.pages.items(b"rows", seen=seen):
            try:
                first, crc = ROW_KEY.unpack(key)
            except struct.error:
                yield Lost(0, 0, "the key of a row has a wrong size")
                continue
            yield self._row(first, crc, body)

    def journal_rows(self) -> Iterator[Stored | Lost]:
        """The rows that are only in the journal."""
        for row in self._journal_rows():
            yield self._row(row.first, row.crc, row.body)

    def is_gone(self, row: Stored) -> bool:
        """Whether nobody may read a row any more."""
        sid, last = row.head.sid, row.batch.last
        return last <= self.trash.get(sid, 0) or (sid in self.streams and last <= self.streams[sid].evicted_through)

    def named(self, sid: int) -> Known:
        """The stream with a number."""
        return self.streams.get(sid) or self.streams.setdefault(sid, Known(f"{LOST}.{sid}", None))

    def entries(self, sid: int) -> Iterator[Entry]:
        """The index of a stream. Raises Damaged."""
        for key, value in self.pages.items(b"index", INDEX_KEY.pack(sid, 0)):
            if key[:4] != INDEX_KEY.pack(sid, 0)[:4]:
                return
            yield entry_of(key, value)

    def _row(self, first: int, crc: int, body: bytes) -> Stored | Lost:
        try:
            head = head_of(body)
            known = self.streams.get(head.sid)
            batch, _ = batch_of(known.name if known else f"{LOST}.{head.sid}", head.sid, first, crc, body)
        except (Damaged, struct.error, ValueError, msgspec.MsgspecError) as error:
            return Lost(first, crc, str(error))
        return Stored(head, crc, batch)

    def _journal_rows(self) -> Iterator[JournalRow]:
        for group in groups_left(self.journal, self.report):
            if group.is_after(self.last_offset):
                yield from group.rows

    def close(self) -> None:
        """Gives the directory back."""
        self.pages.close()
        self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)


def _held(path: Path) -> int:
    """The lock of a directory, held without a change to it; -1 where it has none. Raises LogRefused."""
    try:
        lock = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise LogRefused(f"cannot read the data directory {path}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        owner = owner_of(lock)
        os.close(lock)
        raise LogRefused(f"the data directory {path} is in use by {owner}: stop that, or work on a copy") from None
    return lock


def _name_of(key: str, guess: KeptStream | None) -> str:
    """The name of a stream whose record is damaged; "" where neither its key nor what is left of it has one."""
    for name in (key, guess.name if guess else ""):
        try:
            return check_name(name)
        except InvalidArgument:
            continue
    return ""


def _guess(value: bytes) -> KeptStream | None:
    """What a damaged record of a stream seems to say."""
    try:
        return msgspec.msgpack.decode(value[4:], type=KeptStream)
    except (msgspec.MsgspecError, ValueError):
        return None
