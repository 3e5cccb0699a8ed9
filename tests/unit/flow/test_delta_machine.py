"""Readers of deltas against a trivial model: whatever is published, filtered, removed, and however readers fall behind,
drop and come back, what they put together from whole documents and patches is what was published.

The patches are applied by the package `jsonpatch`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar

import jsonpatch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from ratsvc.core.cursor import Earliest, Latest, parse_start
from ratsvc.core.draft import Draft
from ratsvc.core.retention import Retention
from ratsvc.flow import deltas
from ratsvc.flow.broker import Broker, ReadRequest, Subscription
from ratsvc.formats import View, encode_items, make_format
from ratsvc.http_api.delivery import plain
from ratsvc.quickmem import wire
from ratsvc.settings import load

NAMES = ["a", "b"]
KEYS = ["", "k1", "k2"]
EVENTS = ["", "x"]
Document = dict[str, object]
changes = st.tuples(st.sampled_from("fgh"), st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=4))
rows = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(EVENTS), changes), min_size=1, max_size=6)


@dataclass(eq=False)
class Reader:
    """A connection after the other: a wire that takes bytes, and what is made of them."""

    coding: ClassVar[None] = None

    request: ReadRequest
    cursor: str = ""
    data: bytes = b""
    is_slow: bool = False
    documents: dict[tuple[str, str], Document] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    def push(self, data: bytes, offset: int) -> bool:
        if self.is_slow:
            return False
        self.data += data
        return True

    def framing(self) -> Callable[[bytes], bytes]:
        return plain


class DeltaMachine(RuleBasedStateMachine):
    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.published: dict[int, Document] = {}
        self.newest: dict[tuple[str, str], Document] = {}
        self.open: list[Reader] = []

    def run(self, coroutine):  # type: ignore[no-untyped-def]
        return self.loop.run_until_complete(coroutine)

    @initialize(max_bytes=st.sampled_from([1024, 6000, 1 << 20, 1 << 20]), tail_bytes=st.sampled_from([1024, 1 << 24]))
    def start(self, max_bytes: int, tail_bytes: int) -> None:
        async def enter() -> Broker:
            limits = {"reader_bytes": 1024, "delta_bytes": max_bytes, "tail_bytes": tail_bytes}
            return await Broker(load(flags={"limits": limits})).__aenter__()

        self.max_bytes = max_bytes
        self.turn, deltas.PATCHED_A_TURN = deltas.PATCHED_A_TURN, 3
        self.broker = self.run(enter())
        for name in NAMES:
            self.commit(name, [(key, "", ("f", 0)) for key in KEYS])
            self.subscribe((name,), None, None, "snapshot")

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            deltas.PATCHED_A_TURN = self.turn
            for reader in self.open:
                self.disconnect(reader)
            left = self.broker.deltas.bytes
            self.run(self.broker.__aexit__(None, None, None))
            self.loop.close()
        assert left == 0, "documents are left behind"

    @rule(name=st.sampled_from(NAMES), commits=st.lists(rows, min_size=1, max_size=3), calmly=st.booleans())
    def publish(self, name: str, commits: list[list[tuple[str, str, tuple[str, object]]]], calmly: bool) -> None:
        for rows in commits:
            if calmly:
                self.settle()
            self.commit(name, rows)

    def commit(self, name: str, rows: list[tuple[str, str, tuple[str, object]]]) -> None:
        documents = []
        for key, _, (field_name, value) in rows:
            document = deepcopy(self.newest.get((name, key), {"static": "x" * 200}))
            document[field_name] = value
            documents.append(document)
            self.newest[name, key] = document
        keys, events = [key for key, _, _ in rows], [event for _, event, _ in rows]
        records = [
            wire.record(document, key, event) for document, key, event in zip(documents, keys, events, strict=True)
        ]

        async def submit():  # type: ignore[no-untyped-def]
            return await self.broker.submit(
                Draft(name, records, keys if any(keys) else None, events if any(events) else None)
            )

        ack = self.run(submit())
        self.published.update(zip(range(ack.first, ack.last + 1), documents, strict=True))

    @rule(name=st.sampled_from(NAMES), keep=st.integers(1, 10))
    def retain(self, name: str, keep: int) -> None:
        if self.broker.log.registry.find(name):
            self.run(self.broker.update(name, Retention(keep)))

    @rule(name=st.sampled_from(NAMES))
    def purge(self, name: str) -> None:
        if self.broker.log.registry.find(name):
            self.run(self.broker.purge(name))

    @rule(
        target=readers,
        streams=st.sampled_from([("a",), ("a", "b"), (">",)]),
        keys=st.sampled_from([None, None, frozenset(["", "k1"])]),
        events=st.sampled_from([None, None, frozenset("x")]),
        start=st.sampled_from(["earliest", "latest", "snapshot"]),
    )
    def subscribe(
        self, streams: tuple[str, ...], keys: frozenset[str] | None, events: frozenset[str] | None, start: str
    ) -> Reader:
        place = Earliest() if start == "earliest" else Latest()
        request = ReadRequest(
            streams, place, keys=keys, events=events, snapshot=start == "snapshot", delta=True, heartbeat_s=3600
        )
        reader = Reader(request)
        self.open.append(reader)
        self.connect(reader)
        return reader

    def connect(self, reader: Reader) -> None:
        subscription = self.run(self.broker.subscribe(reader.request))
        reader.documents, reader.data = {}, b""
        reader.cursor = reader.cursor or str(subscription.start)
        reader.task = self.loop.create_task(self.deliver(reader, subscription))

    def disconnect(self, reader: Reader) -> None:
        async def over(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        if reader.task is not None:
            self.run(over(reader.task))

    async def deliver(self, reader: Reader, subscription: Subscription) -> None:
        lines = make_format("ndjson", epoch=self.broker.epoch, view=View.RECORD)
        with subscription:
            while (items := await subscription.poll()) is not None:
                if items:
                    reader.data += b"".join(encode_items(lines, items))
                    await asyncio.sleep(0)
                else:
                    await subscription.live(lines, reader)

    @rule(reader=readers, is_slow=st.booleans())
    def slow_down(self, reader: Reader, is_slow: bool) -> None:
        reader.is_slow = is_slow

    @rule(reader=readers)
    def drop_and_come_back(self, reader: Reader) -> None:
        self.settle()
        self.disconnect(reader)
        old = reader.request
        reader.request = ReadRequest(
            old.streams, parse_start(reader.cursor), keys=old.keys, events=old.events, snapshot=old.snapshot,
            delta=True, heartbeat_s=3600,
        )  # fmt: skip
        self.connect(reader)

    @rule()
    def settle(self) -> None:
        """Lets everyone read what there is, and looks at what they made of it."""

        async def turns() -> None:
            for _ in range(40):
                await asyncio.sleep(0)

        self.run(turns())
        for reader in self.open:
            data, reader.data = reader.data, b""
            for line in data.splitlines():
                self.heard(reader, json.loads(line))
            assert reader.task is not None
            assert not reader.task.done(), reader.task.exception()
        assert self.broker.deltas.bytes <= self.max_bytes * 1.3

    def heard(self, reader: Reader, word: Document) -> None:
        if "offset" not in word:
            place = word.get("heartbeat")
            reader.cursor = place["cursor"] if isinstance(place, dict) else reader.cursor
            return
        name = str(word["stream"]), str(word.get("key", ""))
        if "patch" in word:
            assert "value" not in word
            document = jsonpatch.apply_patch(reader.documents[name], word["patch"])
        else:
            document = word["value"]
        assert document == self.published[word["offset"]]  # type: ignore[index]
        reader.documents[name] = document
        reader.cursor = str(word["cursor"])


TestDeltaMachine = DeltaMachine.TestCase
TestDeltaMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_was_removed_before_a_snapshot_is_told_its_reader_whole() -> None:
    state = DeltaMachine()
    try:
        state.start(max_bytes=6_000, tail_bytes=1 << 24)
        state.subscribe(events=None, keys=None, start="earliest", streams=("a", "b"))
        state.retain(keep=1, name="b")
        state.subscribe(events=None, keys=None, start="snapshot", streams=("a", "b"))
        state.settle()
        state.publish(calmly=False, commits=[[("", "", ("f", 0)), ("k1", "", ("f", 0))]], name="b")
        state.settle()
    finally:
        state.teardown()
