"""Deltas: records told as JSON patches from the record of their key before.

A connection's reader has every document that it was told on it. While it catches up, its own `Documents` say which
these are. A live reader needs none: it was told all records of its selection since some offset (`Since`), so it has
a patch's base when that came later. So the selection's `Documents` serve all its live readers, who differ only in
which of a commit's patches they can take; most can take all.

A patch is made once, whoever needs it, and is known by the offsets of both records; what is encoded with the same
patches is encoded once. Documents are kept as the records that they came in, within a bound for all; what has no
room is told whole. They go with their readers.
Cost: a patch of a document of 1 kB and 60 values 60 µs, once; a commit two comparisons for each live reader beside its
write; nothing where nobody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple, Protocol, cast

from ratsvc.core.cursor import MAX_OFFSET
from ratsvc.core.record import Batch, Told
from ratsvc.flow.hub import Lane, Member, Selection
from ratsvc.quickmem import json_lines, wire
from ratsvc.quickmem.patch import Operation, diff

MAX_DOCUMENT_BYTES = 256 * 1024
"""Larger documents are always told whole."""
OVERHEAD_BYTES = 250
"""Beside the bytes of a document or patch."""

PATCHED_A_TURN = 256
"""Records that are compared before others have their turn: further ones of a commit are told live readers whole."""

Patch = list[Operation]


class Since(NamedTuple):
    """What a reader has: every record after `offset`; and, when `whole`, the newest of each key up to it, but for what
    was removed up to `floor`."""

    offset: int
    whole: bool = False
    floor: int = 0

    def has(self, base: int, key: str) -> bool:
        """Whether it has the record at `base`, which is the newest of its key before one that comes now."""
        return base > self.offset or (self.whole and key != "" and base > self.floor)


class Taken(NamedTuple):
    """What there is to tell of a record: its patch, and the offset of the record that it is for; 0: there is none."""

    key: str
    base: int
    patch: Patch | None


class Deltas:
    """What all readers of deltas share.

    Args:
        max_bytes: of documents and patches.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.readers = 0
        self._patches: dict[tuple[int, int], tuple[Patch | None, int]] = {}
        self._patch_bytes = 0

    def patch(self, base: int, old: bytes, offset: int, new: bytes) -> Patch | None:
        """The patch that makes the record at `offset` of that at `base`; None when the whole is smaller."""
        found = self._patches.get((base, offset))
        if found is None:
            found = self._patches[base, offset] = _made(old, new)
            self._patch_bytes += found[1]
            self.bytes += found[1]
            while self._patch_bytes > self.max_bytes // 4 and len(self._patches) > 1:
                self._let_go(next(iter(self._patches)))
        return found[0]

    def reader(self) -> Documents:
        """What one more reader has: nothing yet. To be given back with `left`."""
        self.readers += 1
        return Documents(self)

    def left(self, documents: Documents) -> None:
        """A reader is gone, and with the last one all patches."""
        documents.clear()
        self.readers -= 1
        while self._patches and not self.readers:
            self._let_go(next(iter(self._patches)))

    def _let_go(self, key: tuple[int, int]) -> None:
        size = self._patches.pop(key)[1]
        self._patch_bytes -= size
        self.bytes -= size


def _made(old: bytes, new: bytes) -> tuple[Patch | None, int]:
    value = wire.value_of(new)
    patch = diff(wire.value_of(old), value)
    if patch is not None:
        size = len(json_lines([patch]))
        if size < len(json_lines([value])):
            return patch, size + OVERHEAD_BYTES
    return None, OVERHEAD_BYTES


class Documents:
    """The newest document of each stream and key that some readers have: offset and record, the latest last."""

    __slots__ = ("_deltas", "_of", "_taken")

    def __init__(self, deltas: Deltas) -> None:
        self._deltas = deltas
        self._of: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._taken: tuple[Sequence[Batch], list[list[Taken]]] | None = None

    def take(self, batch: Batch, most: int) -> list[Taken]:
        """Takes the records of a batch, newer than all before, and says how each may be told: at most so many as
        patches."""
        found: list[Taken] = []
        for offset, key, record in zip(batch.offsets, batch.keys or repeat(""), batch.records, strict=False):
            before = self._pop((batch.stream, key))
            patch = None
            if before is not None and most > 0:
                patch = self._deltas.patch(*before, offset, record)
                most -= 1
            found.append(Taken(key, before[0] if before and patch is not None else 0, patch))
            self._put((batch.stream, key), offset, record)
        return found

    def take_commit(self, batches: Sequence[Batch]) -> list[list[Taken]]:
        """`take` of each; the same again for the same commit."""
        if self._taken is None or self._taken[0] is not batches:
            found: list[list[Taken]] = []
            left = PATCHED_A_TURN
            for batch in batches:
                found.append(self.take(batch, left))
                left -= len(batch)
            self._taken = batches, found
        return self._taken[1]

    def join(self, others: Documents) -> None:
        """Takes over what `others` have and these have not."""
        for name in list(others._of):
            found = others._pop(name)
            if found is not None and name not in self._of:
                self._put(name, *found)

    def clear(self) -> None:
        """Lets go of all."""
        for name in list(self._of):
            self._pop(name)
        self._taken = None

    def _pop(self, name: tuple[str, str]) -> tuple[int, bytes] | None:
        found = self._of.pop(name, None)
        if found is not None:
            self._deltas.bytes -= len(found[1]) + OVERHEAD_BYTES
        return found

    def _put(self, name: tuple[str, str], offset: int, record: bytes) -> None:
        deltas, size = self._deltas, len(record) + OVERHEAD_BYTES
        if len(record) > MAX_DOCUMENT_BYTES:
            return
        while deltas.bytes + size > deltas.max_bytes and self._of:
            self._pop(next(iter(self._of)))
        if deltas.bytes + size <= deltas.max_bytes:
            self._of[name] = offset, record
            deltas.bytes += size


async def in_turns(batch: Batch, documents: Documents) -> list[Batch]:
    """The batch as a reader is told it who has these documents; others have their turn in between."""
    found = []
    for at in range(0, len(batch), PATCHED_A_TURN):
        if at:
            await asyncio.sleep(0)
        part = batch.part(at, at + PATCHED_A_TURN)
        found.append(told(part, documents.take(part, PATCHED_A_TURN)))
    return found


def told(batch: Batch, taken: Sequence[Taken], since: Since | None = None) -> Batch:
    """The batch as a reader is told it who has all bases, or those that `since` says."""
    bases = tuple(one.base if since is None or since.has(one.base, one.key) else 0 for one in taken)
    if not any(bases):
        return batch
    return Told(
        batch, batch.point, [one.patch if base else None for one, base in zip(taken, bases, strict=True)], bases
    )


class _DeltaMember(Member, Protocol):
    since: Since


class DeltaLane(Lane):
    """Live readers of deltas of a selection, in one format and framing."""

    __slots__ = ()

    @staticmethod
    def join(selection: Selection, own: Documents) -> None:
        """A reader who has caught up comes to the live ones: what it has, they may build on."""
        documents = _documents(selection)
        if documents is None:
            documents = selection.documents = Documents(own._deltas)
        if not _any_live(selection):
            documents.clear()  # nobody has kept them up
        documents.join(own)

    @staticmethod
    def left(selection: Selection) -> None:
        """A reader left the lane."""
        documents = _documents(selection)
        if documents is not None and not _any_live(selection):
            documents.clear()

    def publish(self, batches: Sequence[Batch]) -> None:
        documents = _documents(self.selection)
        assert documents is not None
        taken = documents.take_commit(batches)
        patched = [one for of_batch in taken for one in of_batch if one.base]
        oldest = min((one.base for one in patched), default=0)
        oldest_keyless = min((one.base for one in patched if not one.key), default=MAX_OFFSET)
        groups: dict[tuple[bool, ...], list[Member]] = {}
        for member in self.members:
            since = cast(_DeltaMember, member).since
            if since.offset < oldest or (since.whole and since.floor < oldest and since.offset < oldest_keyless):
                can: tuple[bool, ...] = ()
            else:
                can = tuple(since.has(one.base, one.key) for one in patched)
            groups.setdefault(can if not all(can) else (), []).append(member)
        for members in groups.values():
            since = cast(_DeltaMember, members[0]).since
            self._tell([told(batch, of, since) for batch, of in zip(batches, taken, strict=True)], members)


def _documents(selection: Selection) -> Documents | None:
    return cast(Documents | None, selection.documents)


def _any_live(selection: Selection) -> bool:
    return any(lane.members for lane in selection.lanes.values() if isinstance(lane, DeltaLane))
