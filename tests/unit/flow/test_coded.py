"""A lane that is compressed: any readers that come and go get exactly what was written, decodable as it comes."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from ratsvc.core.figures import Figures
from ratsvc.core.items import Heartbeat, Item
from ratsvc.core.record import Batch, Encoding
from ratsvc.flow.hub import Lane, Selection
from ratsvc.formats import Budget, Compressor, GzipBody
from ratsvc.formats.compression import WINDOW_BYTES
from tests.unit.formats.items import make

NOISE = random.Random(6).randbytes(70_000)
WORDS = b"price volume symbol ACME 1234.5 "


class Bytes:
    """A format whose batches are bytes of the test's own."""

    name = key = "bytes"

    def __init__(self) -> None:
        self.contents: dict[int, bytes] = {}
        self._next = 1

    def made(self, data: bytes) -> Batch:
        batch = make([0], first=self._next)
        self.contents[self._next] = data
        self._next += 1
        return batch

    def batch(self, batch: Batch) -> Encoding:
        return batch.encoded(self.key, lambda one: self.contents[one.first])

    def heartbeat(self, offset: int) -> bytes:
        return b"beat %d\n" % offset


class Service:
    """One lane, with readers."""

    def __init__(self, windows: int = 4) -> None:
        self.figures = Figures()
        self.compressor = Compressor(6, windows, 100_000, Budget(100, self.figures), self.figures)
        self.format = Bytes()
        selection = Selection(("s",), None, None)
        coding = GzipBody(self.compressor, "bytes")
        self.lane = Lane(selection, self.format, 15.0, bytes, self.figures, coding)
        self.readers: list[Reader] = []

    def joined(self, caught_up: Sequence[bytes] = ()) -> Reader:
        reader = Reader(self)
        self.readers.append(reader)
        reader.catch_up(caught_up)
        reader.enter()
        return reader

    def publish(self, *data: bytes) -> None:
        self.lane.publish([self.format.made(one) for one in data])
        self.expect(b"".join(data))

    def tell(self, groups: dict[bytes, list[Reader]]) -> None:
        """Tells each group something of its own, as deltas do."""
        for data, readers in groups.items():
            told = [reader for reader in readers if reader.is_live]
            if told:
                self.lane._write(data, 1, told)
                for reader in told:
                    reader.expected += data if reader.takes else b""
        for reader in self.readers:
            reader.check()

    def beat(self, offset: int) -> None:
        self.lane.heartbeat(self.lane.written_at + 100, offset)
        self.expect(b"beat %d\n" % offset)

    def expect(self, data: bytes) -> None:
        for reader in self.readers:
            if reader.is_live and reader.takes:
                reader.expected += data
            reader.check()  # each as it comes


class Reader:
    """A live reader as the edge has one: its connection, its member, and a decoder at the other end."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.coding = GzipBody(service.compressor, "bytes")
        self.inflate = zlib.decompressobj(31)
        self.got = self.inflate.decompress(self.coding.start(b"start\n"))
        self.expected = b"start\n"
        self.wire = 0
        self.is_live = False
        self.takes = True

    def catch_up(self, data: Sequence[bytes]) -> None:
        if data:
            items = cast(list[Item], [self.service.format.made(one) for one in data])
            plain: list[Encoding] = [*data, b"word"]
            for block in self.coding.coded("bytes", [*items, Heartbeat(1)], plain):
                self._feed(block)
            self.expected += b"".join(plain)
        self.check()

    def check(self) -> None:
        """What came since the last check is what was written."""
        assert self.got == self.expected
        self.got = self.expected = b""

    def enter(self) -> None:
        self.takes = self.is_live = True
        self.service.lane.enter(self, self.coding)

    def push(self, data: Encoding, offset: int) -> bool:
        if self.takes:
            self._feed(bytes(data))
        return self.takes

    def leave(self) -> None:
        self.is_live = False

    def go(self) -> None:
        """What a subscription does that has to look again."""
        self.service.lane.forget(self)
        self.leave()

    def end(self) -> None:
        if self.is_live:
            self.go()
        assert self.inflate.decompress(self.coding.end()) == b""  # a wrong CRC or size raises
        assert (self.inflate.eof, self.inflate.unused_data, self.got) == (True, b"", b"")
        self.service.readers.remove(self)

    def _feed(self, data: bytes) -> None:
        self.wire += len(data)
        self.got += self.inflate.decompress(data)


small = st.integers(0, 60).map(lambda n: (WORDS * 8)[n : 5 * n + 1])
middle = st.integers(1, 500).map(lambda n: WORDS * n)
large = st.sampled_from([WORDS * 520, WORDS * 3_000, NOISE[:17_000], NOISE, WORDS * 9_000])
data = small | small | middle | large
steps = st.lists(
    st.tuples(st.just("publish"), st.lists(data, min_size=1, max_size=3))
    | st.tuples(st.just("burst"), st.lists(small, min_size=20, max_size=60))
    | st.tuples(st.sampled_from(["join", "return", "catch up"]), st.lists(data, max_size=2))
    | st.tuples(st.just("differ"), st.lists(data, min_size=2, max_size=3))
    | st.tuples(st.sampled_from(["end", "slow", "look again", "close", "beat"]), st.just([])),
    max_size=25,
)


@settings(max_examples=80)
@given(steps, st.sampled_from([0, 1, 4]), st.integers(0, 5), st.integers(0, 2**32).map(random.Random))
def test_any_readers_get_exactly_what_was_written(
    steps: list[tuple[str, list[bytes]]], windows: int, readers: int, chance: random.Random
) -> None:
    service = Service(windows)
    for _ in range(readers):
        service.joined()
    for step, pieces in steps:
        chosen = chance.choice(service.readers) if service.readers else None
        if step == "publish":
            service.publish(*pieces)
        elif step == "burst":
            for piece in pieces:
                service.publish(piece)
        elif step == "join":
            service.joined(pieces)
        elif step == "beat":
            service.beat(7)
        elif step == "close":
            service.lane.close()
        elif step == "differ":
            of = [chance.randrange(len(pieces)) for _ in service.readers]
            service.tell(
                {
                    piece + b"%d" % at: [one for one, group in zip(service.readers, of, strict=True) if group == at]
                    for at, piece in enumerate(pieces)
                }
            )
        elif chosen is None:
            continue
        elif step == "end":
            chosen.end()
        elif step == "slow":
            chosen.takes = False
        elif not chosen.is_live:
            chosen.catch_up(pieces)
            chosen.enter()
        elif step == "look again":
            chosen.go()
    for reader in [*service.readers]:
        reader.end()


def test_readers_at_different_places_share_their_blocks() -> None:
    service = Service()
    first = service.joined()
    for n in range(200):
        service.publish(b"event %d, as they come\n" % n)
    assert service.figures.compressions["window"] == 200
    alone = service.figures.compressions["alone"]
    others = [service.joined() for _ in range(20)]
    alone = service.figures.compressions["alone"]
    size, count = 0, 0
    while size < WINDOW_BYTES:
        event = b"event %d, as they come\n" % count
        service.publish(event)
        size, count = size + len(event), count + 1
    # while they are new: one block for the first reader, one for the twenty
    assert service.figures.compressions["window"] == 200 + count
    assert service.figures.compressions["alone"] - alone == count
    wire = [reader.wire for reader in (first, *others)]
    service.publish(b"event 7, as they come\n")
    assert service.figures.compressions["alone"] - alone == count
    assert {reader.wire - had for reader, had in zip((first, *others), wire, strict=True)} == {first.wire - wire[0]}
    assert first.wire - wire[0] < 16


def test_a_large_batch_is_compressed_once_for_lanes_and_those_who_catch_up() -> None:
    service = Service()
    for _ in range(3):
        service.joined([b"some"])
    batch = service.format.made(WORDS * 1_000)
    before = service.figures.compressions["alone"]
    service.lane.publish([batch])
    service.expect(WORDS * 1_000)
    late = Reader(service)
    list(late.coding.coded("bytes", [batch], [WORDS * 1_000]))
    assert service.figures.compressions["alone"] - before == 2  # the other is the start of the late one


def test_the_first_reader_of_a_lane_gets_small_blocks_at_once() -> None:
    service = Service()
    first = service.joined()
    service.publish(WORDS)
    first.end()
    reader = service.joined()
    before = service.figures.compressions["alone"]
    service.publish(WORDS)
    service.publish(WORDS)
    assert service.figures.compressions["alone"] == before
    assert reader.wire < len(WORDS) * 2


def test_bytes_are_counted_before_and_after_for_each_reader() -> None:
    service = Service()
    readers = [service.joined() for _ in range(3)]
    wire = sum(reader.wire for reader in readers)
    service.publish(WORDS * 10)
    figures = service.figures
    assert figures.compressed_from["bytes"] == 3 * len(WORDS) * 10
    assert figures.compressed_to["bytes"] == sum(reader.wire for reader in readers) - wire
    assert figures.delivered_bytes["bytes"] == figures.compressed_to["bytes"]


def test_readers_who_are_told_something_else_are_new_again() -> None:
    service = Service()
    first, second, third = (service.joined() for _ in range(3))
    service.publish(WORDS * 20)
    service.tell({WORDS * 3: [first, second], WORDS * 4: [third]})
    before = service.figures.compressions.copy()
    service.publish(WORDS)
    assert service.figures.compressions - before == {"window": 1, "alone": 1}
    for reader in (first, second, third):
        reader.end()
