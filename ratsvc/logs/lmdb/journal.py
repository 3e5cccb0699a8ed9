"""The journal of `--durability interval`: what was acknowledged since the last commit.

Each entry is written (not synced) before its records are acknowledged, so that a crash of the process loses none of
them; a power loss may take those since the last commit. It is emptied when they are in the database.
A torn or damaged entry ends it: what comes after was never complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec

from ratsvc.core.dedupe import Claim
from ratsvc.core.draft import ProducerRef
from ratsvc.logs.lmdb.rows import Entry, Row, checksum

_HEAD = 8


class JournalClaim(NamedTuple):
    """A `Claim` as it is written."""

    id: str
    epoch: int
    sequence: int
    records: int
    offset: int

    @classmethod
    def of(cls, claim: Claim) -> JournalClaim:
        """A claim, to be written."""
        return cls(claim.ref.id, claim.ref.epoch, claim.sequence, claim.count, claim.offset)

    def claim(self) -> Claim:
        """The claim that was written."""
        return Claim(ProducerRef(self.id, self.epoch, self.sequence), self.sequence, self.records, self.offset)


class JournalRow(NamedTuple):
    """A row as it is written: to which stream it belongs, and when that was made."""

    stream: str
    created_ns: int
    sid: int
    first: int
    records: int
    crc: int
    size: int
    time_ns: int
    uptime_ns: int
    body: bytes

    @classmethod
    def of(cls, row: Row, stream: str, created_ns: int) -> JournalRow:
        """A row, to be written."""
        e = row.entry
        return cls(stream, created_ns, row.sid, e.first, e.count, e.crc, e.size, e.time_ns, e.uptime_ns, row.body)

    def row(self) -> Row:
        """The row that was written."""
        entry = Entry(self.first, self.records, self.crc, self.size, self.time_ns, self.uptime_ns)
        return Row(self.sid, entry, self.body)


class Group(NamedTuple):
    """What one append brought."""

    rows: list[JournalRow]
    claims: list[JournalClaim]

    def is_after(self, offset: int) -> bool:
        """Whether it is newer than `offset`: else a crash came after its commit and before the journal was emptied."""
        return not self.rows or self.rows[-1].first + self.rows[-1].records - 1 > offset


class Waiting:
    """What is in the journal and not yet in the database."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.rows: list[Row] = []
        self.bytes = 0
        self.since = 0.0

    def add(self, group: Group, rows: list[Row]) -> None:
        """What another append brought."""
        if not self.groups:
            self.since = monotonic()
        self.groups.append(group)
        self.rows += rows
        self.bytes += sum(len(row.body) for row in rows)

    def claims(self) -> list[Claim]:
        """What producers claimed."""
        return [claim.claim() for group in self.groups for claim in group.claims]


class JournalEntry(NamedTuple):
    """An entry that is there as a whole."""

    at: int
    """Where in the file it begins."""
    end: int
    data: bytes | None
    """None when it does not match its checksum."""


def whole_entries(file: int) -> Iterator[JournalEntry]:
    """The entries of a journal, up to one that is torn."""
    size, at = os.fstat(file).st_size, 0
    while size - at >= _HEAD:
        head = os.pread(file, _HEAD, at)
        length, crc = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
        end = at + _HEAD + length
        if not length or end > size:
            return
        data = os.pread(file, length, at + _HEAD)
        yield JournalEntry(at, end, data if checksum(data) == crc else None)
        at = end


class Journal:
    """The file; `groups` first, then `append`, which blocks and belongs into a thread, and `clear`."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = 0
        self._is_stale = False
        self._encoder = msgspec.msgpack.Encoder()

    def groups(self) -> Iterator[Group]:
        """What an earlier process left, in order."""
        decoder = msgspec.msgpack.Decoder(Group)
        for entry in whole_entries(self._file):
            if entry.data is None:
                return
            yield decoder.decode(entry.data)
            self._size = entry.end

    def append(self, group: Group) -> None:
        """Writes an entry. Raises OSError: then nothing of it is there."""
        if self._is_stale:
            os.ftruncate(self._file, 0)
            self._is_stale = False
        data = self._encoder.encode(group)
        entry = len(data).to_bytes(4, "big") + checksum(data).to_bytes(4, "big") + data
        try:
            written = 0
            while written < len(entry):
                written += os.pwrite(self._file, memoryview(entry)[written:], self._size + written)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(entry)

    def clear(self) -> None:
        """Forgets all: it is in the database. Does not block; the file is emptied later."""
        self._is_stale = True
        self._size = 0

    def close(self) -> None:
        """Closes the file."""
        if self._is_stale:
            os.ftruncate(self._file, 0)
        os.close(self._file)
