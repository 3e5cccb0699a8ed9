"""What a reader gets: places, limits, filters, gaps, snapshots, the end."""

from __future__ import annotations

import pytest

from ratsvc.core.cursor import Cursor, Earliest, LastN, SinceTime, Start
from ratsvc.core.items import End, Gap, GapReason, Reconnect
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument
from ratsvc.flow.broker import Overflow, ReadRequest
from tests.unit.flow.filled import broker, drain_items, offsets, put


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
