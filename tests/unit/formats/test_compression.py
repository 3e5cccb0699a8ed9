"""gzip blocks that readers share: what they decode to, how often they are made, how large they are."""

from __future__ import annotations

import base64
import gzip
import os
import zlib

from ratsvc.core.figures import Figures
from ratsvc.core.items import End, Gap, GapReason, Heartbeat, Item
from ratsvc.core.record import Batch
from ratsvc.formats import Budget, Compressor, GzipBody, encode_items, make_format
from ratsvc.formats.compression import LARGE_BYTES, WINDOW_BYTES, LaneBlocks
from tests.unit.formats.items import EPOCH, make

LINES = make_format("ndjson", epoch=EPOCH)


def compressor(windows: int = 10, kept_bytes: int = 1_000_000) -> Compressor:
    figures = Figures()
    return Compressor(6, windows, kept_bytes, Budget(100, figures), figures)


def event(number: int) -> bytes:
    """An event of 95 bytes, as prices come."""
    text = b'{"symbol":"%b","price":%d,"volume":%d}' % (
        (b"ACME", b"GLOB", b"INIT")[number % 3], 10_000 + number * 7919 % 40_000, number * 31 % 977
    )  # fmt: skip
    return (b"id: 0a1b2c3d-%d\ndata: %b" % (100_000 + number, text)).ljust(93) + b"\n\n"


def batches(count: int, values: int = 1) -> list[Batch]:
    return [
        make([{"n": at + n, "text": "some words that come again"} for n in range(values)], first=100 + at * values)
        for at in range(count)
    ]


def told(body: GzipBody, items: list[Item]) -> tuple[bytes, bytes]:
    """The coded bytes of items, and the plain ones."""
    plain = encode_items(LINES, items)
    return b"".join(body.coded(LINES.key, items, plain)), b"".join(plain)


def test_a_response_is_one_member_with_the_right_trailer_whatever_comes() -> None:
    body = GzipBody(compressor(), "ndjson")
    items: list[Item] = [*batches(3), Gap(1, 2, GapReason.RETENTION), *batches(1, 3_000), Heartbeat(9), End(9, "ended")]
    coded, plain = body.start(b"hello\n"), b"hello\n"
    inflate = zlib.decompressobj(31)
    assert inflate.decompress(coded) == b"hello\n"
    for item in items:
        data, expected = told(body, [item])
        assert inflate.decompress(data) == expected  # at once, not later
        plain += expected
    assert inflate.decompress(body.end()) == b""
    assert (inflate.eof, inflate.unused_data) == (True, b"")
    again = GzipBody(compressor(), "ndjson")
    start = again.start(b"")
    data, expected = told(again, items)
    assert gzip.decompress(start + data + again.end()) == expected


def test_a_response_that_is_cut_is_seen_as_incomplete() -> None:
    body = GzipBody(compressor(), "ndjson")
    inflate = zlib.decompressobj(31)
    inflate.decompress(body.start(b"") + told(body, [*batches(3)])[0])
    assert not inflate.eof


def test_readers_who_catch_up_with_the_same_bytes_share_their_blocks() -> None:
    work = compressor()
    items: list[Item] = [*batches(800), *batches(1, 2_000), *batches(900)]
    first, _ = told(GzipBody(work, "ndjson"), items)
    made = work.figures.compressions["alone"]
    assert 4 <= made <= 8
    # other objects with the same bytes, as a durable log gives them; but for the large batch, which keeps its own block
    again: list[Item] = [*batches(800), items[800], *batches(900)]
    for _ in range(50):
        assert told(GzipBody(work, "ndjson"), again)[0] == first
    assert work.figures.compressions == {"alone": made}


def test_what_is_kept_for_others_is_bounded() -> None:
    work = compressor(kept_bytes=50_000)
    for at in range(50):
        work.shared(os.urandom(4_000) + bytes(at))
    assert 0 < work._kept_bytes <= 50_000
    assert work._kept_bytes == sum(len(data) + len(block) for data, block in work._kept.items())
    none = compressor(kept_bytes=0)
    assert zlib.decompress(b"".join([none.shared(b"x" * 5_000), b"\3\0"]), -15) == b"x" * 5_000
    assert not none._kept


def test_what_does_not_shrink_is_stored_and_what_is_huge_is_compressed_fast() -> None:
    work = compressor()
    noise = os.urandom(100_000)
    assert len(noise) < len(work.alone(noise)) < len(noise) + 100
    file = base64.b64encode(noise[:15_000])
    assert len(file) < len(work.alone(file)) < len(file) + 20
    assert work.figures.compressions == {"stored": 2}
    lines = b"".join(b"line %d of the text\n" % n for n in range(60_000))
    assert len(work.alone(lines)) < len(lines) / 3
    assert work.figures.compressions == {"stored": 2, "alone": 1}
    for block, data in ((work.alone(noise), noise), (work.alone(lines), lines)):
        assert zlib.decompress(block + b"\3\0", -15) == data


def test_alone_blocks_look_back_at_nothing_although_one_compressor_makes_them() -> None:
    work = compressor()
    secret = b"the secret of another stream, the secret of another stream"
    work.alone(secret)
    first, second = work.alone(secret), work.alone(secret)
    assert first == second
    assert zlib.decompress(second + b"\3\0", -15) == secret


def test_windows_are_for_so_many_lanes_and_come_back_when_a_lane_goes() -> None:
    work = compressor(windows=2)
    lanes = [LaneBlocks(work) for _ in range(3)]
    assert [lane.block(b"data") is None for lane in lanes] == [False, False, True]
    del lanes[0]
    assert lanes[1].block(b"data") is not None


def test_small_events_shrink_by_the_window_and_batches_with_it_or_alone() -> None:
    work = compressor()
    events = [event(n) for n in range(2_000)]
    assert {len(one) for one in events} == {95}

    def ratio(sizes: int, window: bool) -> float:
        lane, before, after = LaneBlocks(work), 0, 0
        for at in range(0, len(events), sizes):
            data = b"".join(events[at : at + sizes])
            block = lane.block(data) if window else lane.alone(data)
            assert block is not None
            lane.passed(data)
            before, after = before + len(data), after + len(block)
        return before / after

    assert ratio(1, window=False) < 1.2
    assert ratio(1, window=True) > 3
    assert ratio(50, window=False) > 4.5
    assert ratio(50, window=True) > 5


def test_a_window_goes_on_after_a_large_batch() -> None:
    work, body = compressor(), b"".join(map(event, range(400)))
    lane = LaneBlocks(work)
    assert len(body) > LARGE_BYTES > WINDOW_BYTES
    assert lane.block(body) is None
    lane.passed(body)
    small = lane.block(event(399))
    assert small is not None
    assert len(small) < 20
    inflate = zlib.decompressobj(-15)
    assert inflate.decompress(lane.alone(body) + small) == body + event(399)


def test_over_the_budget_blocks_are_stored_and_the_member_is_as_right_as_ever() -> None:
    figures = Figures()
    budget = Budget(50, figures, clock=lambda: 0.0)
    work = Compressor(6, 10, 100_000, budget, figures)
    body, lane = GzipBody(work, "ndjson"), LaneBlocks(work)
    coded, plain = body.start(b"hello\n"), b"hello\n"
    for at, left in enumerate((1.0, -1.0, 1.0)):
        budget.spend(budget._left - left)
        items: list[Item] = [*batches(40, 50 + at), *batches(1, 3_000 + at)]
        data, expected = told(body, items)
        coded, plain = coded + data, plain + expected
        body.enter(lane)
        for number in range(20):
            one = event(100 * at + number)
            block = lane.block(one)
            assert (block is None) == (left < 0)
            coded, plain = coded + (block or lane.alone(one)), plain + one
            lane.passed(one)
        body.leave()
        made = dict(figures.compressions)
        assert ("over_budget" in made) == (left < 0)
        figures.compressions.clear()
        assert left > 0 or set(made) == {"over_budget"}
    assert gzip.decompress(coded + body.end()) == plain
