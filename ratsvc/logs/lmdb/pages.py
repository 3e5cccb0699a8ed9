"""LMDB's file read without LMDB: page by page, each number checked before it is used.

LMDB trusts its file: there a damaged page is a crash of the process, or a silent hole. Here a page that cannot be
right is said and left out, and what hangs on the others is still found. For the tools, which read damaged logs, and
for the look at a file before a start; the service reads through LMDB. Nothing is ever written.
Layout: LMDB 0.9, data version 1, 64 bits (`mdb.c`: MDB_page, MDB_node, MDB_db, MDB_meta); the tests compare what is
read with what LMDB reads. Cost: 1 µs an entry (CPython 3.11).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

_HEADER = Struct("=QHHHH")
"""Number of the page, (unused), flags, end of the pointers, begin of the nodes."""
_RUN = Struct("=I")
"""In the header of an overflow page, from byte 12 on: how many pages it has."""
_NODE = Struct("=HHHH")
"""Size of the data (low, high), flags, size of the key. In a branch the first three are the child's number."""
_TABLE = Struct("=IHHQQQQQ")
_META = Struct("=IIQQ48s48sQQ")
_PAGE_NUMBER = Struct("=Q")
_LITTLE = sys.byteorder == "little"

MAGIC, VERSION = 0xBEEFC0DE, 1
NONE = 2**64 - 1
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
_KINDS = {BRANCH: "branch", LEAF: "leaf", OVERFLOW: "overflow", META: "meta"}
_BIG_DATA, _SUB_DATA = 1, 2
MAX_DEPTH = 32
_PAGE_SIZES = (4096, 16384, 65536, 8192, 32768)

NUMBER_KEYS = 8
"""A flag of a table: LMDB has it on the free pages."""
FREE = b"\0free"
"""The table of free pages, which has no name in the file."""
MAIN = b"\0main"
"""The table of tables."""

Report = Callable[[str], None]


class Table(NamedTuple):
    """What the file says of a table."""

    page_bytes: int
    """Of the file; only in the table of free pages."""
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


class Pages:
    """An LMDB file.

    Args:
        path: of the file.
        report: is told, in words, of each page that is damaged; may be told the same again.
        progress: is told how many bytes were read.
    """

    def __init__(self, path: Path, report: Report, progress: Callable[[int], None] = lambda _: None) -> None:
        self._report = report
        self.progress = progress
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._file).st_size
        self.page_bytes = 0
        self.last_page = 0
        self.transaction = 0
        self.tables: dict[bytes, Table] = {}
        self.tally: dict[bytes, list[int]] = {}
        """What whole walks found of each table: branches, leaves, overflow pages, entries."""
        self._open()

    def _open(self) -> None:
        if not self.size:
            self._report("the database is empty: its file has no bytes")
            return
        found = []
        for at, offset in enumerate((0, self._second())):
            meta = self._meta(offset, at)
            if meta is None:
                self._report(f"meta page {at} is damaged")
            else:
                found.append(meta)
        if not found:
            return
        self.transaction, self.last_page, main, free = max(found, key=lambda meta: meta[0])
        self.page_bytes = free.page_bytes
        self.tables = {FREE: free, MAIN: main}
        for name, value in list(self.items(MAIN)):
            if len(value) == _TABLE.size:
                self.tables[name] = Table(*_TABLE.unpack(value))
            else:
                self._report(f"the table {name.decode('ascii', 'replace')} cannot be read")
        self.tally.clear()

    def _second(self) -> int:
        """Where the second meta page is: one page after the first."""
        first = self._meta(0, 0)
        if first is not None:
            return first[3].page_bytes
        return next((size for size in _PAGE_SIZES if self._meta(size, 1) is not None), _PAGE_SIZES[0])

    def _meta(self, offset: int, number: int) -> tuple[int, int, Table, Table] | None:
        """Transaction, last page, main table and free pages of a meta page; None when it cannot be one."""
        data = os.pread(self._file, _HEADER.size + _META.size, offset)
        if len(data) < _HEADER.size + _META.size:
            return None
        page, _, flags, _, _ = _HEADER.unpack_from(data)
        magic, version, _, _, free, main, last, transaction = _META.unpack_from(data, _HEADER.size)
        if page == number and magic == MAGIC and version != VERSION:
            self._report(f"meta page {number} has LMDB's data version {version}: only {VERSION} can be read")
        tables = Table(*_TABLE.unpack(main)), Table(*_TABLE.unpack(free))
        good = page == number and flags & META and magic == MAGIC and version == VERSION
        good = good and tables[1].page_bytes in _PAGE_SIZES and last < 2**48
        return (
            (transaction, last, *tables)
            if good and all(2 <= t.root <= last or t.root == NONE for t in tables)
            else None
        )

    @property
    def needed(self) -> int:
        """Bytes up to the last page."""
        return (self.last_page + 1) * self.page_bytes

    @property
    def used(self) -> int:
        """Bytes of the pages that all tables say they have, but for free pages."""
        tables = [table for name, table in self.tables.items() if name != FREE]
        return sum(t.branches + t.leaves + t.overflows for t in tables) * self.page_bytes

    def new_map(self) -> bytearray:
        """A map of pages, for `items`: none was seen."""
        return bytearray(min(self.last_page, self.size // (self.page_bytes or 1)) + 1)

    def items(self, name: bytes, start: bytes = b"", seen: bytearray | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of a table in order, from the key `start` on.

        Args:
            seen: which pages were read before, also in other tables: a page has one place only. Without it, this walk
                sees to it for itself.
        """
        table = self.tables.get(name)
        tally = [0, 0, 0, 0]
        if not start:
            self.tally[name] = tally
            seen = self.new_map() if seen is None else seen
        if table is None or table.root == NONE:
            return
        sorts = name != FREE  # whose keys are numbers
        before = b""
        for number, page in self._leaves(name, table, start, seen, tally):
            for at, flags, key, value in self._nodes(name, number, page):
                if (flags == _SUB_DATA) != (name == MAIN) and flags != _BIG_DATA:
                    self._report(f"page {number}, of {shown(name)}: an entry is of a wrong kind")
                if sorts and key <= before and before:
                    self._report(f"page {number}, of {shown(name)}: its keys are out of order")
                before = key
                if sorts and key < start:
                    continue
                if flags & _BIG_DATA:
                    data = self._overflow(name, page, at, value, seen, tally)
                    if data is None:
                        continue
                else:
                    data = page[at : at + value]
                tally[3] += 1
                yield key, data

    def get(self, name: bytes, key: bytes) -> bytes | None:
        """The value of a key; None when there is none, or it cannot be read."""
        found, value = next(self.items(name, key), (b"", b""))
        return value if found == key else None

    def free_pages(self, seen: bytearray | None = None) -> int:
        """How many pages are free, as far as that can be read."""
        count = 0
        for _, value in self.items(FREE, seen=seen):
            numbers = memoryview(value[: len(value) // 8 * 8]).cast("Q")
            if not numbers or numbers[0] != len(numbers) - 1:
                self._report("a list of free pages cannot be read")
                continue
            count += numbers[0]
            for number in numbers[1:]:
                if not 2 <= number <= self.last_page:
                    self._report(f"page {number} is said to be free, but there is none")
                elif seen is not None:
                    self._mark(number, seen, "the free pages")
        return count

    def _leaves(
        self, name: bytes, table: Table, start: bytes, seen: bytearray | None, tally: list[int]
    ) -> Iterator[tuple[int, bytes]]:
        """The leaf pages of a table in order, from the one on that `start` would be in."""
        if not 0 < table.depth <= MAX_DEPTH:
            self._report(f"the table {shown(name)} cannot be {table.depth} pages deep")
            return
        waiting = [(table.root, 1)]
        while waiting:
            number, depth = waiting.pop()
            is_leaf = depth == table.depth
            page = self.page(number, LEAF if is_leaf else BRANCH, name, seen)
            if page is None:
                continue
            tally[1 if is_leaf else 0] += 1
            if is_leaf:
                yield number, page
                continue
            children = self.children(name, number, page)
            at = 0
            if start:
                after = [i for i, (key, _) in enumerate(children) if i and key <= start]
                at = after[-1] if after else 0
            waiting += [(child, depth + 1) for _, child in reversed(children[at:])]

    def page(self, number: int, kind: int, name: bytes, seen: bytearray | None) -> bytes | None:
        """A page of a tree; None, and said, when it is none."""
        what = f"page {number}, a {_KINDS[kind]} of {shown(name)}"
        if not 2 <= number <= self.last_page:
            self._report(f"{what}, is outside the file")
            return None
        if not self._mark(number, seen, shown(name)):
            return None
        data = os.pread(self._file, self.page_bytes, number * self.page_bytes)
        self.progress(len(data))
        if len(data) < self.page_bytes:
            self._report(f"{what}, is cut off: the file ends before it")
            return None
        found, _, flags, lower, upper = _HEADER.unpack_from(data)
        if found != number or flags & 0x7F != kind or lower % 2 or not 16 <= lower <= upper <= self.page_bytes:
            self._report(f"{what}, is damaged: what it holds is lost")
            return None
        return data

    def _mark(self, number: int, seen: bytearray | None, what: str) -> bool:
        if seen is None or number >= len(seen):
            return True
        if seen[number]:
            self._report(f"page {number} is used twice, the second time by {what}")
            return False
        seen[number] = 1
        return True

    def _nodes(self, name: bytes, number: int, page: bytes) -> Iterator[tuple[int, int, bytes, int]]:
        """Where the data of each node of a leaf is, its flags, its key, and the size of its value."""
        lower, upper = _HEADER.unpack_from(page)[3:]
        for place in memoryview(page)[16:lower].cast("H"):
            if upper <= place <= self.page_bytes - _NODE.size:
                low, high, flags, key_size = _NODE.unpack_from(page, place)
                size = low | high << 16 if _LITTLE else high | low << 16
                at = place + _NODE.size + key_size
                if at + (8 if flags & _BIG_DATA else size) <= self.page_bytes and flags <= _BIG_DATA | _SUB_DATA:
                    yield at, flags, page[place + _NODE.size : at], size
                    continue
            self._report(f"page {number}, a leaf of {shown(name)}, is damaged: an entry of it is lost")

    def has_places(self, page: bytes) -> bool:
        """Whether a leaf has entries, and says that each begins within it."""
        lower, upper = _HEADER.unpack_from(page)[3:]
        places = memoryview(page)[16:lower].cast("H")
        return lower > 16 and upper <= min(places) and max(places) <= self.page_bytes - _NODE.size

    def children(self, name: bytes, number: int, page: bytes) -> list[tuple[bytes, int]]:
        """The children of a branch, each with the key that it begins with; the first one's says nothing."""
        lower, upper = _HEADER.unpack_from(page)[3:]
        found: list[tuple[bytes, int]] = []
        for place in memoryview(page)[16:lower].cast("H"):
            if upper <= place <= self.page_bytes - _NODE.size:
                low, high, top, key_size = _NODE.unpack_from(page, place)
                at = place + _NODE.size + key_size
                if at <= self.page_bytes:
                    child = (low | high << 16 if _LITTLE else high | low << 16) | top << 32
                    found.append((page[place + _NODE.size : at], child))
                    continue
            self._report(f"page {number}, a branch of {shown(name)}, is damaged: what is below it is lost in part")
        return found

    def _overflow(
        self, name: bytes, page: bytes, at: int, size: int, seen: bytearray | None, tally: list[int]
    ) -> bytes | None:
        """A value that has pages of its own; None, and said, when they are none."""
        (number,) = _PAGE_NUMBER.unpack_from(page, at)
        count = (_HEADER.size + size + self.page_bytes - 1) // self.page_bytes
        what = f"page {number}, which holds a value of {shown(name)}"
        if not 2 <= number <= self.last_page + 1 - count:
            self._report(f"{what}, is outside the file")
            return None
        for one in range(number, number + count):
            if not self._mark(one, seen, shown(name)):
                return None
        if number * self.page_bytes + _HEADER.size + size > self.size:
            self._report(f"{what}, is cut off: the file ends before it")
            return None
        data = os.pread(self._file, _HEADER.size + size, number * self.page_bytes)
        self.progress(count * self.page_bytes)
        found, _, flags, _, _ = _HEADER.unpack_from(data)
        if found != number or flags & 0x7F != OVERFLOW or _RUN.unpack_from(data, 12)[0] < count:
            self._report(f"{what}, is damaged: the value is lost")
            return None
        tally[2] += count
        return data[_HEADER.size :]

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def shown(name: bytes) -> str:
    """What a table is called."""
    return {FREE: "the free pages", MAIN: "the tables"}.get(name, name.decode("ascii", "replace"))
