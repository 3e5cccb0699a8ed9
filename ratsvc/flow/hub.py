"""The hub: who reads what, so that a commit reaches its readers and nobody else.

A `Selection` is a set of names, patterns and filters; all readers with the same one share it, so a batch is
matched and filtered once. Within it, readers that are *live* in the same format share a `Lane`: a batch is encoded
once, and each reader costs one write. Everyone else waits on the selection and reads for itself.

Cost of a commit: O(selections of its streams) + one encoding a lane + one write a live reader.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from time import monotonic, perf_counter
from typing import Protocol

from ratsvc.core.figures import Figures
from ratsvc.core.record import Batch, Encoding, Framing
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.flow.coded import Coded, Coding
from ratsvc.names import is_pattern, matches


class Encoder(Protocol):
    """What a lane needs of a format."""

    key: Hashable

    @property
    def name(self) -> str: ...

    def batch(self, batch: Batch) -> Encoding: ...

    def heartbeat(self, offset: int) -> bytes: ...


class Member(Protocol):
    """A live reader. Both calls are made in the event loop and must not wait."""

    def push(self, data: Encoding, offset: int) -> bool:
        """Writes `data`, after which the reader is at `offset`. False: it cannot keep up (or is gone), nothing was
        written, and it was taken out of the lane."""

    def leave(self) -> None:
        """The lane closes: the reader must look again."""


class Lane:
    """The live readers of a selection in one format, framing and coding."""

    __slots__ = ("_coded", "_figures", "_frame", "encoder", "heartbeat_s", "members", "selection", "written_at")

    def __init__(
        self,
        selection: Selection,
        encoder: Encoder,
        heartbeat_s: float,
        frame: Framing,
        figures: Figures,
        coding: Coding | None = None,
    ) -> None:
        self.selection = selection
        self.encoder = encoder
        self.heartbeat_s = heartbeat_s
        self.members: dict[Member, None] = {}
        self._figures = figures
        self.written_at = monotonic()
        self._frame = frame
        self._coded = None if coding is None else Coded(coding.lane(), encoder, frame, figures)

    def enter(self, member: Member, coding: Coding | None) -> None:
        """Takes a member in, with the compression of its response."""
        self.members[member] = None
        if self._coded is not None and coding is not None:
            self._coded.enter(member, coding)

    def forget(self, member: Member) -> None:
        """A member has gone; idempotent."""
        self.members.pop(member, None)
        if self._coded is not None:
            self._coded.left(member)

    def publish(self, batches: Sequence[Batch]) -> None:
        """Writes the batches to every member."""
        self._tell(batches, self.members)

    def _tell(self, batches: Sequence[Batch], members: Collection[Member]) -> None:
        figures, encoder, readers = self._figures, self.encoder, len(members)
        figures.encoding(encoder.name, encoder.key, batches)
        figures.encoding_hits[encoder.name] += (readers - 1) * len(batches)
        began, encode = perf_counter(), encoder.batch
        data = encode(batches[0]) if len(batches) == 1 else b"".join(map(encode, batches))
        figures.encoding_seconds += perf_counter() - began
        written = self._write(data, batches[-1].last, members, batches)
        figures.delivered(encoder.name, readers * sum(map(len, batches)), written)

    def heartbeat(self, now: float, offset: int) -> None:
        """Writes a sign of life when it is due; `offset` is the log's newest."""
        if now - self.written_at >= self.heartbeat_s:
            self._write(self.encoder.heartbeat(offset), offset, self.members)

    def _write(self, data: Encoding, offset: int, members: Collection[Member], batches: Sequence[Batch] = ()) -> int:
        """Writes the data, which is that of `batches`, to `members`; returns the bytes of that, without framing."""
        self.written_at = monotonic()
        if self._coded is not None and data:
            slow, written = self._coded.write(data, offset, members, batches)
        else:
            framed, written = self._frame(data) if data else b"", len(members) * len(data)
            slow = [member for member in members if not member.push(framed, offset)]
        for member in slow:
            self.forget(member)
            member.leave()
        return written

    def close(self) -> None:
        """Sends every member back to look for itself."""
        for member in list(self.members):
            self.forget(member)
            member.leave()


class Selection:
    """Names and patterns with filters, and who reads them."""

    __slots__ = (
        "_events", "_keys", "batches", "documents", "identity", "lanes", "patterns", "streams", "users",
        "waiting", "wild",
    )  # fmt: skip

    def __init__(self, patterns: tuple[str, ...], keys: frozenset[str] | None, events: frozenset[str] | None) -> None:
        self.identity = (patterns, keys, events)
        self.patterns = patterns
        self.wild = any(map(is_pattern, patterns))
        self._keys = keys
        self._events = events
        self.streams: dict[str, StreamInfo] = {}
        self.lanes: dict[Hashable, Lane] = {}
        self.waiting: set[asyncio.Future[None]] = set()
        self.users = 0
        self.batches: list[Batch] = []
        """Of the commit that is being delivered."""
        self.documents: object = None
        """What live readers of deltas have: see `deltas`."""

    def covers(self, name: str) -> bool:
        """Whether a stream belongs to this selection."""
        return any(matches(pattern, name) for pattern in self.patterns)

    def filtered(self, batch: Batch) -> Batch | None:
        """The records of a batch that pass the filters; None when none does."""
        if self._keys is None and self._events is None:
            return batch
        keys, events = batch.keys or [""] * len(batch), batch.events or [""] * len(batch)
        return batch.picked(
            [
                at
                for at, (key, event) in enumerate(zip(keys, events, strict=True))
                if (self._keys is None or key in self._keys) and (self._events is None or event in self._events)
            ]
        )

    def wake(self) -> None:
        """Makes everyone who waits look again."""
        waiting, self.waiting = self.waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def look_again(self) -> None:
        """Makes everyone look again: something other than records happened."""
        for lane in list(self.lanes.values()):
            lane.close()
        self.wake()


class Hub:
    """All selections, by the streams they cover."""

    def __init__(self, registry: Registry, figures: Figures) -> None:
        self._registry = registry
        self.figures = figures
        self._selections: dict[Hashable, Selection] = {}
        self._of_stream: dict[str, dict[Selection, None]] = {}

    def select(
        self, patterns: tuple[str, ...], keys: frozenset[str] | None, events: frozenset[str] | None
    ) -> Selection:
        """The selection of these, shared; the caller gives it back with `release`."""
        selection = self._selections.get((patterns, keys, events))
        if selection is None:
            selection = Selection(patterns, keys, events)
            self._selections[selection.identity] = selection
            for info in self._registry.matching(patterns):
                self._join(selection, info)
        selection.users += 1
        for info in selection.streams.values():
            info.readers += 1
        return selection

    def release(self, selection: Selection) -> None:
        """One reader less."""
        selection.users -= 1
        for info in selection.streams.values():
            info.readers -= 1
        if not selection.users:
            del self._selections[selection.identity]
            for name in selection.streams:
                self._of_stream[name].pop(selection, None)

    def added(self, info: StreamInfo) -> None:
        """A stream was made."""
        for selection in self._selections.values():
            if selection.covers(info.name):
                self._join(selection, info)
                info.readers += selection.users

    def removed(self, info: StreamInfo) -> None:
        """A stream was deleted."""
        for selection in self._of_stream.pop(info.name, {}):
            selection.streams.pop(info.name, None)
            selection.look_again()

    def changed(self, info: StreamInfo) -> None:
        """A stream was ended or purged."""
        for selection in self._of_stream.get(info.name, ()):
            selection.look_again()

    def publish(self, batches: Sequence[Batch]) -> None:
        """Delivers the batches of one commit."""
        touched: dict[Selection, None] = {}
        for batch in batches:
            for selection in self._of_stream.get(batch.stream, ()):
                kept = selection.filtered(batch)
                if kept is not None:
                    selection.batches.append(kept)
                    touched[selection] = None
        for selection in touched:
            ready, selection.batches = selection.batches, []
            for lane in list(selection.lanes.values()):
                if lane.members:
                    lane.publish(ready)
            selection.wake()

    def readers(self, stream: str) -> tuple[Counter[str], int]:
        """A stream's live readers by format, and how many others it has."""
        live: Counter[str] = Counter()
        users = 0
        for selection in self._of_stream.get(stream, ()):
            users += selection.users
            for lane in selection.lanes.values():
                live[lane.encoder.name] += len(lane.members)
        return +live, users - live.total()

    def live_readers(self, batches: Sequence[Batch]) -> Counter[str]:
        """How many readers batches are written to at once, by format."""
        found: Counter[str] = Counter()
        for selection in {one for batch in batches for one in self._of_stream.get(batch.stream, ())}:
            for lane in selection.lanes.values():
                if lane.members:
                    found[lane.encoder.name] += len(lane.members)
        return found

    def tick(self, now: float, offset: int) -> None:
        """Sends the heartbeats that are due, and forgets empty lanes."""
        for selection in list(self._selections.values()):
            for identity, lane in list(selection.lanes.items()):
                if lane.members:
                    lane.heartbeat(now, offset)
                else:
                    del selection.lanes[identity]

    def look_again(self) -> None:
        """Makes every reader look again."""
        for selection in list(self._selections.values()):
            selection.look_again()

    def _join(self, selection: Selection, info: StreamInfo) -> None:
        selection.streams[info.name] = info
        self._of_stream.setdefault(info.name, {})[selection] = None
