"""Snapshots against a trivial model: publish, retain, purge, delete, subscribe, read a bit, drop anywhere, come back.

A reader is one who comes back with the last cursor that it was told. What it must see: the newest record of each key up
to the point, in the order of offsets; then every record after the point, once; after a gap the state anew.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from ratsvc.core.cursor import Cursor, Latest
from ratsvc.core.draft import Draft
from ratsvc.core.items import End, Gap, GapReason, Heartbeat, Item
from ratsvc.core.record import Batch
from ratsvc.core.retention import Retention
from ratsvc.flow import snapshots
from ratsvc.flow.broker import Broker, ReadRequest, Subscription
from ratsvc.names import matches
from ratsvc.settings import load

NAMES = ["a", "b"]
KEYS = ["", "k1", "k2", "k3", "k4"]
EVENTS = ["", "x", "y"]
rows = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(EVENTS)), min_size=1, max_size=12)


@dataclass(frozen=True)
class Row:
    """A published record, as the model knows it."""

    stream: str
    key: str
    event: str


@dataclass
class Reader:
    """One who reads a snapshot, over any number of subscriptions."""

    request: ReadRequest
    subscription: Subscription
    cursor: Cursor
    point: int = 0
    """Of the snapshot that its state is of."""
    state: dict[tuple[str, str], int] = field(default_factory=dict)
    """The newest offset that it has, by stream and key."""
    seen: int = 0
    """Up to here it has every change after the point."""
    gap_to: int = 0
    must_begin_anew: bool = False
    """Whether it was told a gap, and no new snapshot since."""

    def wants(self, row: Row) -> bool:
        request = self.request
        return (
            any(matches(pattern, row.stream) for pattern in request.streams)
            and (request.keys is None or row.key in request.keys)
            and (request.events is None or row.event in request.events)
        )


class SnapshotMachine(RuleBasedStateMachine):
    readers = Bundle("readers")
    durable = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.history: dict[int, Row] = {}
        self.gone: dict[str, int] = {}
        """The newest offset that is no longer kept, by stream."""
        self.open: list[Reader] = []

    def run(self, coroutine):  # type: ignore[no-untyped-def]
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def start(self) -> None:
        self.planned, snapshots.PLANNED = snapshots.PLANNED, 3

        self.directory = tempfile.TemporaryDirectory(prefix="ratsvc-snapshots-")
        self.broker = self.entered()
        for name in NAMES:
            self.publish(name, [(key, event) for key in KEYS for event in EVENTS])

    def entered(self) -> Broker:
        place = {"data_dir": Path(self.directory.name) / "log"} if self.durable else {}

        async def enter() -> Broker:
            return await Broker(load(flags={"limits": {"reader_bytes": 1024}, **place})).__aenter__()

        return self.run(enter())  # type: ignore[no-any-return]

    def teardown(self) -> None:
        try:
            for reader in self.open:
                self.read_all(reader)
        finally:
            snapshots.PLANNED = self.planned
            for reader in self.open:
                reader.subscription.close()
            self.run(self.broker.__aexit__(None, None, None))
            self.loop.close()
            self.directory.cleanup()

    @rule(name=st.sampled_from(NAMES), rows=rows)
    def publish(self, name: str, rows: list[tuple[str, str]]) -> None:
        async def submit():  # type: ignore[no-untyped-def]
            keys, events = [key for key, _ in rows], [event for _, event in rows]
            records = [b"x" * 300 for _ in rows]
            return await self.broker.submit(
                Draft(name, records, keys if any(keys) else None, events if any(events) else None)
            )

        ack = self.run(submit())
        for offset, (key, event) in zip(range(ack.first, ack.last + 1), rows, strict=True):
            self.history[offset] = Row(name, key, event)
        self.note_retention()

    @rule(name=st.sampled_from(NAMES), keep=st.integers(1, 20))
    def retain(self, name: str, keep: int) -> None:
        if self.exists(name):
            self.run(self.broker.update(name, Retention(keep)))
            self.note_retention()

    @rule(name=st.sampled_from(NAMES), delete=st.booleans())
    def purge(self, name: str, delete: bool) -> None:
        if self.exists(name):
            self.gone[name] = self.broker.info(name).last_offset
            self.run(self.broker.delete(name) if delete else self.broker.purge(name))

    def exists(self, name: str) -> bool:
        return self.broker.log.registry.find(name) is not None

    def note_retention(self) -> None:
        for name in NAMES:
            if self.exists(name):
                self.gone[name] = max(self.gone.get(name, 0), self.broker.info(name).evicted_through)

    @rule(
        target=readers,
        streams=st.sampled_from([("a",), ("a", "b"), (">",)]),
        keys=st.sampled_from([None, frozenset(["k1", "k3"])]),
        events=st.sampled_from([None, frozenset("x"), frozenset(["", "y"])]),
    )
    def subscribe(self, streams: tuple[str, ...], keys: frozenset[str] | None, events: frozenset[str] | None) -> Reader:
        request = ReadRequest(streams, Latest(), keys=keys, events=events, snapshot=True)
        subscription = self.run(self.broker.subscribe(request))
        start = subscription.start
        reader = Reader(request, subscription, start, start.point, seen=start.point or start.offset)
        self.open.append(reader)
        return reader

    @rule(reader=readers, records=st.integers(0, 8))
    def drop_and_come_back(self, reader: Reader, records: int) -> None:
        """The reader takes some records, and comes back with the cursor of the last."""
        self.read(reader, records)
        reader.subscription.close()
        self.come_back(reader)

    def come_back(self, reader: Reader) -> None:
        request = reader.request
        again = ReadRequest(request.streams, reader.cursor, keys=request.keys, events=request.events, snapshot=True)
        reader.subscription = self.run(self.broker.subscribe(again))
        assert reader.subscription.start == reader.cursor

    @rule(reader=readers)
    def read_one_step(self, reader: Reader) -> None:
        for item in self.run(reader.subscription.poll()):
            self.take(reader, item, None)

    @rule(reader=readers)
    def read_all(self, reader: Reader) -> None:
        self.read(reader, None)
        assert not reader.must_begin_anew
        assert not reader.cursor.point
        for (stream, key), offset in self.newest(reader).items():
            if offset > self.gone.get(stream, 0):
                assert reader.state.get((stream, key)) == offset, f"{key} of {stream} is not what it was last"
        missing = [o for o in self.changes(reader, reader.seen, max(self.history, default=0)) if o > reader.gap_to]
        assert not missing, f"lost without a word: {missing}"

    def read(self, reader: Reader, records: int | None) -> None:
        while items := self.run(reader.subscription.poll()):
            for item in items:
                records = self.take(reader, item, records)
                if records == 0:
                    return

    def take(self, reader: Reader, item: Item, records: int | None) -> int | None:
        """Takes an item as its reader does, at most so many records of it."""
        match item:
            case Gap():
                reader.gap_to = max(reader.gap_to, item.to)
                assert item.reason is not GapReason.EPOCH
                reader.must_begin_anew = True
            case Heartbeat():
                reader.cursor = Cursor(self.broker.epoch, item.offset, item.point)
                if item.point and not item.offset:
                    reader.state, reader.point, reader.seen = {}, item.point, item.point
                    reader.must_begin_anew = False
            case Batch():
                assert not reader.must_begin_anew
                for offset in item.offsets:
                    if records == 0:
                        break
                    records = None if records is None else records - 1
                    self.check(reader, item, offset)
                    reader.cursor = Cursor(self.broker.epoch, offset, item.point)
            case End():
                raise AssertionError("nothing ends here")
        return records

    def check(self, reader: Reader, batch: Batch, offset: int) -> None:
        row = self.history[offset]
        assert row.stream == batch.stream
        assert reader.wants(row)
        assert offset > self.gone.get(row.stream, 0)
        if batch.point:
            assert (batch.point, bool(row.key)) == (reader.point, True)
            assert reader.cursor.offset < offset <= reader.point
            newer = [o for o in self.changes(reader, offset, reader.point) if self.history[o].key == row.key]
            assert not [o for o in newer if self.history[o].stream == row.stream], "not the newest of its key"
        else:
            assert offset > max(reader.seen, reader.point)
            silent = [o for o in self.changes(reader, reader.seen, offset - 1) if o > reader.gap_to]
            assert not silent, f"lost without a word: {silent}"
            reader.seen = offset
        reader.state[row.stream, row.key] = offset

    def changes(self, reader: Reader, after: int, to: int) -> list[int]:
        return [o for o in range(after + 1, to + 1) if o in self.history and reader.wants(self.history[o])]

    def newest(self, reader: Reader) -> dict[tuple[str, str], int]:
        """The newest offset of each key that the reader wants."""
        wanted = self.changes(reader, 0, max(self.history, default=0))
        return {(row.stream, row.key): o for o in wanted if (row := self.history[o]).key}


class DurableSnapshotMachine(SnapshotMachine):
    """The same on disk, where the service may be started again."""

    durable = True

    @rule()
    def start_again(self) -> None:
        for reader in self.open:
            reader.subscription.close()
        self.run(self.broker.__aexit__(None, None, None))
        self.broker = self.entered()
        for reader in self.open:
            self.come_back(reader)


TestSnapshotMachine = SnapshotMachine.TestCase
TestSnapshotMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDurableSnapshotMachine = DurableSnapshotMachine.TestCase
TestDurableSnapshotMachine.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)
