"""The broker against a trivial model: publish, subscribe, retain, resume, end, purge, delete, in any order.

Each reader's history is checked as it goes: offsets increase; every record is one that the model published, byte
for byte; what is missing between two records is covered by a gap that was said before.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from ratsvc.core.cursor import Cursor, Earliest, Latest, Start
from ratsvc.core.draft import Draft, ProducerRef
from ratsvc.core.items import End, Gap
from ratsvc.core.record import Batch
from ratsvc.core.retention import Retention
from ratsvc.errors import StreamEnded, StreamNotFound
from ratsvc.flow.broker import Broker, ReadRequest, Subscription
from ratsvc.names import matches
from ratsvc.settings import load

NAMES = ["a", "b", "c.x", "c.y"]
PATTERNS = [("a",), ("b", "a"), ("c.*",), (">",), ("c.x", "b")]


@dataclass
class Stream:
    """The model of a stream: all that was ever published, and what is kept of it."""

    published: list[int] = field(default_factory=list)
    max_records: int = 0
    gone_through: int = 0
    ended: bool = False

    def kept(self) -> list[int]:
        kept = [offset for offset in self.published if offset > self.gone_through]
        return kept[-self.max_records :] if self.max_records else kept


@dataclass
class Reader:
    """A subscription and what it has seen."""

    patterns: tuple[str, ...]
    subscription: Subscription
    position: int
    gap_to: int
    """Up to here it was told that records are missing."""
    over: bool = False


class BrokerMachine(RuleBasedStateMachine):
    readers = Bundle("readers")
    cursors = Bundle("cursors")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.streams: dict[str, Stream] = {}
        self.history: dict[int, tuple[str, bytes]] = {}
        self.number = 0
        self.sequence = 1
        self.open: list[Reader] = []

    def run(self, coroutine):  # type: ignore[no-untyped-def]
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def start(self) -> None:
        async def enter() -> Broker:
            return await Broker(load(flags={"limits": {"reader_bytes": 1024}})).__aenter__()

        self.broker = self.run(enter())

    def teardown(self) -> None:
        for reader in self.open:
            reader.subscription.close()
        self.run(self.broker.__aexit__(None, None, None))
        self.loop.close()

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 40), retry=st.booleans())
    def publish(self, name: str, count: int, retry: bool) -> None:
        records = [b"%s %d %s" % (name.encode(), self.number + i, b"x" * 20) for i in range(count)]
        draft = Draft(name, records, producer=ProducerRef("p", 0, self.sequence))

        async def submit():  # type: ignore[no-untyped-def]
            return await self.broker.submit(draft)

        stream = self.streams.get(name, Stream())
        if stream.ended:
            with pytest.raises(StreamEnded):
                self.run(submit())
            return
        ack = self.run(submit())
        assert (ack.stored, ack.duplicates, ack.last - ack.first) == (count, 0, count - 1)
        self.streams.setdefault(name, stream)
        self.number += count
        self.sequence += count
        stream.published += range(ack.first, ack.last + 1)
        for offset, record in zip(range(ack.first, ack.last + 1), records, strict=True):
            assert offset > max(self.history, default=0)
            self.history[offset] = (name, record)
        if retry:
            again = self.run(submit())
            assert (again.first, again.stored, again.duplicates) == (ack.first, 0, count)

    @rule(name=st.sampled_from(NAMES), keep=st.integers(0, 30))
    def retain(self, name: str, keep: int) -> None:
        if name not in self.streams:
            with pytest.raises(StreamNotFound):
                self.run(self.broker.update(name, Retention(keep)))
            return
        stream = self.streams[name]
        stream.gone_through = max(
            stream.gone_through, *([o for o in stream.published if o not in stream.kept()] or [0])
        )
        stream.max_records = keep
        self.run(self.broker.update(name, Retention(keep)))

    @rule(name=st.sampled_from(NAMES))
    def end(self, name: str) -> None:
        if name in self.streams:
            self.run(self.broker.end(name))
            self.streams[name].ended = True

    @rule(name=st.sampled_from(NAMES))
    def purge(self, name: str) -> None:
        if name in self.streams:
            self.run(self.broker.purge(name))
            self.streams[name].gone_through = max(self.streams[name].published, default=0)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        if name in self.streams:
            self.run(self.broker.delete(name))
            del self.streams[name]

    @rule(target=readers, patterns=st.sampled_from(PATTERNS), earliest=st.booleans())
    def subscribe(self, patterns: tuple[str, ...], earliest: bool) -> Reader:
        return self.opened(patterns, Earliest() if earliest else Latest())

    @rule(target=readers, patterns=st.sampled_from(PATTERNS), cursor=consumes(cursors))
    def resume(self, patterns: tuple[str, ...], cursor: Cursor) -> Reader:
        return self.opened(patterns, cursor)

    def opened(self, patterns: tuple[str, ...], start: Start) -> Reader:
        subscription = self.run(self.broker.subscribe(ReadRequest(patterns, start)))
        reader = Reader(patterns, subscription, subscription.cursor.offset, subscription.cursor.offset)
        self.open.append(reader)
        return reader

    @rule(target=cursors, reader=readers)
    def leave(self, reader: Reader) -> Cursor:
        reader.subscription.close()
        reader.over = True
        return Cursor(self.broker.epoch, reader.position)

    @rule(reader=readers)
    def read(self, reader: Reader) -> None:
        """Reads all there is, and compares it with what the model says a reader at that place must get."""
        if reader.over:
            return
        while items := self.run(reader.subscription.poll()):
            for item in items:
                if isinstance(item, Gap):
                    assert item.to > reader.position
                    reader.gap_to = max(reader.gap_to, item.to)
                elif isinstance(item, Batch):
                    self.check(reader, item)
                else:
                    assert isinstance(item, End)
                    reader.over = True
        live = [o for n, s in self.streams.items() if self.covers(reader, n) for o in s.kept()]
        assert not [offset for offset in live if offset > reader.position]
        lost = [
            o for o in self.lost_between(reader, reader.position, max(self.history, default=0)) if o > reader.gap_to
        ]
        assert not lost, f"lost without a word: {lost}"

    def check(self, reader: Reader, batch: Batch) -> None:
        assert self.covers(reader, batch.stream)
        for offset, record in zip(batch.offsets, batch.records, strict=True):
            assert offset > reader.position
            assert self.history[offset] == (batch.stream, record)
            assert offset in self.streams[batch.stream].kept()
            silent = [o for o in self.lost_between(reader, reader.position, offset - 1) if o > reader.gap_to]
            assert not silent, f"lost without a word: {silent}"
            reader.position = offset

    def lost_between(self, reader: Reader, after: int, to: int) -> list[int]:
        return [o for o in range(after + 1, to + 1) if o in self.history and self.covers(reader, self.history[o][0])]

    @staticmethod
    def covers(reader: Reader, name: str) -> bool:
        return any(matches(pattern, name) for pattern in reader.patterns)

    @invariant()
    def figures_are_true(self) -> None:
        if not hasattr(self, "broker"):
            return
        assert {info.name for info in self.broker.list(limit=10)} == set(self.streams)
        for name, stream in self.streams.items():
            info, kept = self.broker.info(name), stream.kept()
            assert (info.records, info.first_offset) == (len(kept), kept[0] if kept else 0)
            assert info.bytes == sum(len(self.history[offset][1]) for offset in kept)


TestBrokerMachine = BrokerMachine.TestCase
TestBrokerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
