"""The journal of `--durability interval`: what was acknowledged since the last commit.

Each entry is written (not synced) before its records are acknowledged, so that a crash of the process loses none of
them; a power loss may take those since the last commit. It is emptied when they are in the database.
A torn or damaged entry ends it: what comes after was never complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import msgspec

from ratsvc.core.dedupe import Claim
from ratsvc.core.record import ProducerRef

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


class Group(NamedTuple):
    """What one append brought."""

    rows: list[JournalRow]
    claims: list[JournalClaim]


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
        whole = os.fstat(self._file).st_size
        while len(head := os.pread(self._file, _HEAD, self._size)) == _HEAD:
            length, crc = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            if length > whole - self._size - _HEAD:
                return
            data = os.pread(self._file, length, self._size + _HEAD)
            if len(data) < length or not length or google_crc32c.value(data) != crc:
                return
            yield decoder.decode(data)
            self._size += _HEAD + length

    def append(self, group: Group) -> None:
        """Writes an entry. Raises OSError: then nothing of it is there."""
        if self._is_stale:
            os.ftruncate(self._file, 0)
            self._is_stale = False
        data = self._encoder.encode(group)
        entry = len(data).to_bytes(4, "big") + google_crc32c.value(data).to_bytes(4, "big") + data
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
