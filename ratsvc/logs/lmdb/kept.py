"""What the database keeps beside rows: the log's own record, and one of each stream.

A write works on a `Change`, a copy of a stream's figures, which becomes the truth when it is on disk.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import LogRefused
from ratsvc.logs.lmdb.directory import ADVICE, Directory, Mark
from ratsvc.logs.lmdb.places import Place
from ratsvc.logs.lmdb.rows import Damaged, Row, sealed, text_of, unsealed
from ratsvc.logs.lmdb.store import MIB, Store

FORMAT = 1
META = b"log"
_NOT_KEPT = frozenset({"readers", "total_records", "total_bytes"})
"""Of a stream's figures: those that belong to the process, and go on meanwhile."""


class Meta(NamedTuple):
    """The log's own record."""

    format: int
    epoch: str
    last_offset: int
    last_time_ns: int
    reserved: int
    """After a crash, offsets go on after this: those up to it may have been seen and lost."""
    commits: int
    chain: int
    """The running checksum over all rows ever committed."""
    next_sid: int
    uptime_ns: int
    longest: int
    """Bytes of the longest row."""
    floor: int
    """See `Registry.floor`."""


class KeptStream(NamedTuple):
    """A stream's record, by its name."""

    name: str
    sid: int
    created_ns: int
    asked: tuple[int, int, float]
    updated_ns: int
    records: int
    bytes: int
    first_offset: int
    last_offset: int
    ended: bool
    evicted_through: int
    evicted_time_ns: int
    purged_through: int
    chain: int


@dataclass(slots=True)
class Change:
    """A stream as it will be when the write is done."""

    place: Place
    info: StreamInfo
    chain: int
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, place: Place) -> Change:
        """Nothing changed yet."""
        return cls(place, copy.copy(place.info), place.chain)

    @classmethod
    def within(cls, changes: dict[str, Change], place: Place) -> Change:
        """The one of a stream among `changes`; begun there where there is none yet."""
        name = place.info.name
        if name not in changes:
            changes[name] = cls.of(place)
        return changes[name]

    def add(self, row: Row) -> None:
        """Counts a row in."""
        info, entry = self.info, row.entry
        if not info.records:
            info.first_offset = entry.first
        info.records += entry.count
        info.bytes += entry.size
        info.last_offset = entry.last
        info.updated_ns = entry.time_ns
        self.chain = entry.crc
        self.rows.append(row)

    def apply(self) -> None:
        """Makes it so."""
        live = self.place.info
        for name in StreamInfo.__slots__:
            if name not in _NOT_KEPT:
                setattr(live, name, getattr(self.info, name))
        self.place.chain = self.chain
        self.place.recent += self.rows

    def sealed(self) -> bytes:
        """As the database keeps the stream."""
        i, asked = self.info, self.info.asked
        return sealed(
            KeptStream(
                i.name,
                self.place.sid,
                i.created_ns,
                (asked.max_records, asked.max_bytes, asked.max_age_s),
                i.updated_ns,
                i.records,
                i.bytes,
                i.first_offset,
                i.last_offset,
                i.ended,
                i.evicted_through,
                i.evicted_time_ns,
                i.purged_through,
                self.chain,
            )
        )


def load_meta(store: Store, directory: Directory) -> Meta | None:
    """The log's own record, compared with the mark beside it; None for a new log.

    Raises:
        LogRefused: its format is newer, or it is behind its mark.
        Damaged: it cannot be read.
    """
    mark = directory.mark()
    data = store.get(b"meta", META, MIB)
    if data is None:
        if mark is not None:
            raise LogRefused(f"{directory.data} is empty, but the log had got to {mark.last_offset}. {ADVICE}")
        return None
    meta = meta_of(data, directory.data)
    _compare(meta, mark, directory)
    return meta


def meta_of(data: bytes, place: Path) -> Meta:
    """The log's own record as the database at `place` keeps it.

    Raises:
        LogRefused: its format is newer.
        Damaged: it cannot be read.
    """
    found = unsealed(data, list[object], "the log's own record")
    if found and isinstance(found[0], int) and found[0] > FORMAT:
        raise LogRefused(f"{place} has format {found[0]}; this version of ratsvc knows {FORMAT}: use a newer one")
    return unsealed(data, Meta, "the log's own record")


def load_streams(store: Store, policy: Callable[[str], Retention]) -> Iterator[Place]:
    """All streams. Raises Damaged."""
    with store.cursor(b"streams") as cursor:
        for key, value in cursor:
            name = text_of(key, "a stream")
            kept = unsealed(value, KeptStream, f"stream {name!r}")
            if kept.name != name:
                raise Damaged(f"stream {name!r} is kept in the place of {kept.name!r}")
            asked = Retention(*kept.asked)
            info = StreamInfo(
                name, asked.over(policy(name)), kept.created_ns, asked, kept.updated_ns, kept.records, kept.bytes,
                kept.first_offset, kept.last_offset, kept.ended, False, kept.evicted_through, kept.evicted_time_ns,
                kept.purged_through,
            )  # fmt: skip
            yield Place(info, kept.sid, kept.chain, kept.last_offset)


def load_tombstones(store: Store) -> dict[str, int]:
    """The newest offset of each deleted stream, by name, oldest first. Raises Damaged."""
    with store.cursor(b"tombstones") as cursor:
        gone = {text_of(name, "a tombstone"): int.from_bytes(value, "big") for name, value in cursor}
    return dict(sorted(gone.items(), key=lambda item: item[1]))


def load_trash(store: Store) -> dict[int, int]:
    """Up to which offset rows are left to sweep, by the number of a stream."""
    with store.cursor(b"trash") as cursor:
        return {int.from_bytes(sid, "big"): int.from_bytes(value, "big") for sid, value in cursor}


def _compare(meta: Meta, mark: Mark | None, directory: Directory) -> None:
    place = directory.data
    if mark is None:
        raise LogRefused(f"{place} has no high-water mark beside it: it is not known whether it is whole. {ADVICE}")
    behind = meta.commits < mark.commits or (meta.commits == mark.commits and meta.chain != mark.chain)
    if meta.epoch != mark.epoch or behind:
        raise LogRefused(
            f"{place} ends at {meta.epoch}-{meta.last_offset}, but the log had got to {mark.epoch}-"
            f"{mark.last_offset}: it is an older copy, or commits are missing. {ADVICE}"
        )
