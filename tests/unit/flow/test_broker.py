"""The broker: subscriptions, limits, overflow, snapshots, back-pressure, drain."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ratsvc.core.cursor import Cursor, Earliest, LastN, SinceTime, Start
from ratsvc.core.record import Batch, Draft, End, Framing, Gap, GapReason, Heartbeat, Item, Reconnect
from ratsvc.core.retention import Retention
from ratsvc.errors import Busy, InvalidArgument, SettingsError, StreamExists, StreamNotFound, Unavailable
from ratsvc.flow.broker import Broker, Overflow, ReadRequest
from ratsvc.settings import load


@asynccontextmanager
async def broker(**changes: object) -> AsyncIterator[Broker]:
    async with Broker(load(flags=changes)) as one:
        yield one


def records(first: int, count: int, size: int = 4) -> list[bytes]:
    return [(b"%d" % i).rjust(size, b"0") for i in range(first, first + count)]


async def put(one: Broker, stream: str, count: int, size: int = 4, **columns: list[str]) -> int:
    ack = await one.submit(Draft(stream, records(0, count, size), **columns))  # type: ignore[arg-type]
    return ack.last


def offsets(items: list[Item]) -> list[int]:
    return [at for item in items if isinstance(item, Batch) for at in item.offsets]


async def drain_items(one: Broker, request: ReadRequest) -> list[Item]:
    with await one.subscribe(request) as subscription:
        found: list[Item] = []
        while items := await subscription.poll():
            found += items
        return found


@pytest.mark.parametrize(
    ("start", "first"), [(Earliest(), 1), (LastN(3), 8), (LastN(99), 1), (SinceTime(0), 1), (SinceTime(2**62), 11)]
)
async def test_where_a_reader_starts(start: Start, first: int) -> None:
    async with broker() as one:
        await put(one, "s", 10)
        assert offsets(await drain_items(one, ReadRequest(("s",), start))) == list(range(first, 11))


async def test_a_cursor_of_another_epoch_or_from_the_future_gets_a_gap_and_everything() -> None:
    async with broker() as one:
        await put(one, "s", 3)
        for cursor in (Cursor("other", 2), Cursor(one.epoch, 99)):
            gap, *rest = await drain_items(one, ReadRequest(("s",), cursor))
            assert isinstance(gap, Gap)
            assert (gap.reason, gap.from_epoch) == (GapReason.EPOCH, cursor.epoch)
            assert offsets(rest) == [1, 2, 3]


async def test_a_limit_and_an_until_end_exactly_there() -> None:
    async with broker() as one:
        await put(one, "s", 5)
        await put(one, "t", 5)
        items = await drain_items(one, ReadRequest(("s", "t"), Earliest(), limit=7))
        assert offsets(items) == [1, 2, 3, 4, 5, 6, 7]
        assert items[-1] == End(7, "limit")
        items = await drain_items(one, ReadRequest(("s",), Earliest(), until=Cursor(one.epoch, 3)))
        assert offsets(items) == [1, 2, 3]
        assert isinstance(items[-1], End)
        items = await drain_items(one, ReadRequest(("s",), Earliest(), until="now"))
        assert offsets(items) == [1, 2, 3, 4, 5]
        assert isinstance(items[-1], End)
        assert await drain_items(one, ReadRequest(("none",), until="now")) == [End(10, "until")]


async def test_an_until_of_another_epoch_is_refused_and_leaves_no_subscription() -> None:
    async with broker() as one:
        with pytest.raises(InvalidArgument, match="until") as caught:
            await one.subscribe(ReadRequest(("s",), until=Cursor("other", 1)))
        assert caught.value.field == "until"
        assert not one.subscriptions


async def test_filters_pass_what_was_asked_for_and_the_position_moves_past_the_rest() -> None:
    async with broker() as one:
        await put(one, "s", 4, keys=["a", "b", "", "a"], events=["x", "x", "", ""])
        assert offsets(await drain_items(one, ReadRequest(("s",), Earliest(), keys=frozenset("a")))) == [1, 4]
        assert offsets(await drain_items(one, ReadRequest(("s",), Earliest(), events=frozenset("x")))) == [1, 2]
        both = ReadRequest(("s",), Earliest(), keys=frozenset("a"), events=frozenset("x"))
        assert offsets(await drain_items(one, both)) == [1]
        with await one.subscribe(ReadRequest(("s",), Earliest(), keys=frozenset("z"))) as subscription:
            assert await subscription.poll() == []
            assert subscription.cursor.offset == 4


async def test_a_reader_waits_for_a_stream_that_does_not_exist_and_makes_none() -> None:
    async with broker() as one:
        with await one.subscribe(ReadRequest(("later.*",))) as subscription:
            reading = asyncio.ensure_future(subscription.next())
            await asyncio.sleep(0)
            assert one.list() == []
            await put(one, "other", 1)
            await put(one, "later.x", 2)
            assert offsets(await reading) == [2, 3]
        with pytest.raises(StreamNotFound):
            await one.subscribe(ReadRequest(("never",), must_exist=True))
        assert not one.subscriptions


async def test_a_quiet_subscription_gets_heartbeats_that_move_its_position() -> None:
    async with broker() as one:
        with await one.subscribe(ReadRequest(("s",), heartbeat_s=0.05)) as subscription:
            last = await put(one, "elsewhere", 7)
            assert await subscription.next() == [Heartbeat(last)]


async def test_an_ended_stream_gives_its_records_then_its_end_and_then_is_at_its_end() -> None:
    async with broker() as one:
        last = await put(one, "s", 3)
        await one.end("s")
        items = await drain_items(one, ReadRequest(("s",), Earliest()))
        assert (offsets(items), items[-1]) == ([1, 2, 3], End(3, "ended"))
        with await one.subscribe(ReadRequest(("s",), Cursor(one.epoch, last))) as subscription:
            assert subscription.at_end
        with await one.subscribe(ReadRequest(("s",), Cursor(one.epoch, last - 1))) as subscription:
            assert not subscription.at_end


async def test_the_newest_of_each_key_comes_first_when_a_snapshot_is_asked_for() -> None:
    async with broker() as one:
        await put(one, "s", 6, keys=["a", "b", "a", "c", "b", "a"])
        with await one.subscribe(ReadRequest(("s",), snapshot=True)) as subscription:
            assert offsets(await subscription.poll() or []) == [4, 5, 6]
            await put(one, "s", 1, keys=["a"])
            assert offsets(await subscription.next()) == [7]


async def test_a_slow_reader_gets_what_it_asked_for() -> None:
    async with broker(limits={"reader_bytes": 1024}) as one:
        for overflow in Overflow:
            request = ReadRequest(("s",), overflow=overflow)
            with await one.subscribe(request) as subscription:
                assert await subscription.poll() == []
                start = subscription.cursor.offset
                for _ in range(10):
                    await put(one, "s", 10, size=100, keys=[*list("abababab"), "c", "d"])
                items = await subscription.poll() or []
                if overflow is Overflow.CATCH_UP:
                    assert offsets(items)[0] == start + 1
                elif overflow is Overflow.LATEST:
                    assert items[0] == Gap(start, start + 100, GapReason.SLOW, skipped=96)
                    assert [at - start for at in offsets(items)] == [97, 98, 99, 100]
                    assert await subscription.poll() == []
                else:
                    assert isinstance(items[-1], Reconnect)
                    assert items[-1].reason == "slow"
                    assert await subscription.poll() is None


async def test_a_reader_behind_retention_is_told_once_what_it_missed() -> None:
    async with broker() as one:
        await one.create("s", Retention(max_records=5))
        with await one.subscribe(ReadRequest(("s",), Earliest())) as subscription:
            await put(one, "s", 20)
            assert await subscription.poll() == [Gap(0, 15, GapReason.RETENTION)]
            assert offsets(await subscription.poll() or []) == [16, 17, 18, 19, 20]
            assert await subscription.poll() == []
            await put(one, "s", 7)
            assert await subscription.poll() == [Gap(20, 22, GapReason.RETENTION)]


async def test_producers_pause_while_the_queue_is_full_and_nothing_is_lost() -> None:
    async with broker(limits={"queue_records": 10}) as one:
        held, append = asyncio.Event(), one.log.append

        async def stalled(batches: list[Batch], *rest: object, **options: object) -> None:
            await held.wait()
            await append(batches)

        one.log.append = stalled  # type: ignore[method-assign,assignment]
        acks = [one.submit(Draft("s", records(0, 6)))]
        await asyncio.sleep(0)
        acks += [one.submit(Draft("s", records(0, 6))) for _ in range(2)]
        assert not one.has_room
        room = asyncio.ensure_future(one.wait_for_room())
        await asyncio.sleep(0.01)
        assert not room.done()
        held.set()
        await room
        assert [ack.first for ack in await asyncio.gather(*acks)] == [1, 7, 13]


async def test_limits_on_streams_and_subscriptions_are_kept() -> None:
    async with broker(limits={"streams": 2, "subscriptions": 1}) as one:
        await put(one, "a", 1)
        await put(one, "b", 1)
        with pytest.raises(Busy):
            await put(one, "c", 1)
        with await one.subscribe(ReadRequest(("a",))), pytest.raises(Busy):
            await one.subscribe(ReadRequest(("a",)))
        with await one.subscribe(ReadRequest(("a",))):
            pass


async def test_the_most_specific_pattern_sets_the_retention_of_a_new_stream() -> None:
    patterns = {">": {"max_age": "1h"}, "p.*": {"max_records": 5}, "p.x": {"max_records": 7, "max_age": "90s"}}
    async with broker(streams=patterns) as one:
        assert (await one.create("p.x")).retention == Retention(7, 64 * 2**20, 90)
        assert (await one.create("p.y")).retention == Retention(5, 64 * 2**20, 3600)
        assert (await one.create("q")).retention == Retention(1_000_000, 64 * 2**20, 3600)
        assert (await one.create("q")).name == "q"
        with pytest.raises(StreamExists):
            await one.create("q", Retention(max_records=3))


async def test_a_drain_tells_every_reader_to_come_back_and_takes_no_new_ones() -> None:
    async with broker() as one:
        subscription = await one.subscribe(ReadRequest(("s",)))

        async def read() -> list[Item]:
            with subscription:
                return await subscription.next()

        reading = asyncio.ensure_future(read())
        await one.drain(0.01)
        (item,) = await reading
        assert isinstance(item, Reconnect)
        assert item.reason == "drain"
        with pytest.raises(Unavailable):
            await one.subscribe(ReadRequest(("s",)))


async def test_with_a_restart_to_come_readers_are_told_to_stay_away_until_it_is_over_in_the_order_they_go() -> None:
    async with broker(drain_s=0.2, restart_s=30) as one:
        subscriptions = [await one.subscribe(ReadRequest(("s",))) for _ in range(20)]
        told: list[int] = []

        async def read(at: int) -> None:
            with subscriptions[at] as subscription:
                (item,) = await subscription.next()
                assert isinstance(item, Reconnect)
                told.append(item.retry_ms)

        readings = [asyncio.ensure_future(read(at)) for at in range(20)]
        await one.drain(0.2)
        await asyncio.gather(*readings)
        assert all(30_000 <= retry_ms <= 30_400 for retry_ms in told)
        assert 30_000 <= one.retry_ms() <= 30_400


async def test_a_drain_has_to_end_before_the_stop_is_forced() -> None:
    with pytest.raises(SettingsError, match="drain_s must end 5 s before stop_timeout_s"):
        load(flags={"drain_s": 21})


class Lines:
    """An encoder and a wire that collect offsets."""

    name = key = "lines"
    coding = None

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.encodings = 0
        self.takes = True

    def batch(self, batch: Batch) -> bytes:
        def encode(what: Batch) -> bytes:
            self.encodings += 1
            return " ".join(map(str, what.offsets)).encode() + b" "

        return batch.encoded(self.key, encode)

    def heartbeat(self, offset: int) -> bytes:
        return b""

    def framing(self) -> Framing:
        return bytes

    def push(self, data: bytes, offset: int) -> bool:
        if self.takes:
            self.seen += map(int, data.split())
        return self.takes

    def leave(self) -> None:
        raise AssertionError("the subscription's own member leaves")


async def test_live_readers_share_one_encoding_and_a_slow_one_falls_out_without_loss() -> None:
    async with broker() as one:
        encoder = Lines()
        wires = [Lines() for _ in range(5)]
        stop = asyncio.Event()

        async def follow(wire: Lines) -> None:
            with await one.subscribe(ReadRequest(("s.>",), Earliest())) as subscription:
                while (items := await subscription.poll()) is not None:
                    wire.seen += offsets(items)
                    if not items:
                        await subscription.live(encoder, wire)
                        while not wire.takes and not stop.is_set():
                            await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(follow(wire)) for wire in wires]
        await asyncio.sleep(0.01)
        generator = random.Random(7)
        for round_ in range(200):
            wires[3].takes = generator.random() > 0.3
            await put(one, f"s.{round_ % 3}", generator.randint(1, 9))
        wires[3].takes = True
        last = await put(one, "s.last", 1)
        await asyncio.sleep(0.01)
        assert encoder.encodings <= 201
        stop.set()
        await one.drain(0)
        await asyncio.gather(*tasks)
        for wire in wires:
            assert wire.seen == list(range(1, last + 1))
