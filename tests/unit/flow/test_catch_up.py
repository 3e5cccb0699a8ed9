"""Readers who catch up share what they read; each gets what the log has, whatever others read and what is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.cursor import Earliest
from ratsvc.core.draft import Draft
from ratsvc.core.items import Gap, GapReason, Item
from ratsvc.core.record import Batch
from ratsvc.core.retention import Retention
from ratsvc.flow.broker import Broker, ReadRequest
from tests.unit.flow.filled import broker, drain_items, offsets, put, records

NAMES = ["a", "b", "c"]
names = st.sampled_from(NAMES)
changes = st.one_of(
    st.tuples(st.just("put"), names, st.integers(1, 12)),
    st.tuples(st.just("keep"), names, st.integers(1, 20)),
    st.tuples(st.sampled_from(["purge", "delete"]), names, st.just(0)),
)
reads = st.tuples(st.sampled_from([("a",), ("b", "a"), ("*",)]), st.sampled_from([0, 0, 5, 17]))
SMALL = {"tail_bytes": 1024, "reader_bytes": 1024}


def told(found: Sequence[Batch | Gap]) -> list[tuple[str, int, bytes]]:
    batches = [one for one in found if isinstance(one, Batch)]
    return [(one.stream, *row) for one in batches for row in zip(one.offsets, one.records, strict=True)]


async def change(one: Broker, what: str, name: str, number: int) -> None:
    if what == "put":
        await one.submit(Draft(name, records(0, number, 100)))
    elif one.log.registry.find(name) is None:
        return
    elif what == "keep":
        await one.update(name, Retention(max_records=number))
    else:
        await (one.purge if what == "purge" else one.delete)(name)


async def read(one: Broker, patterns: tuple[str, ...], place: int) -> None:
    """Reads to the end, and compares each step with what the log has."""
    while True:
        streams = one.log.registry.matching(patterns)
        kept = told(await one.log.read(streams, place, 1 << 20))
        found = told(await one.catch_up(patterns, streams, place, 1024))
        assert found == kept[: len(found)]
        if not found:
            assert not kept
            return
        place = found[-1][1]


@given(
    st.lists(st.tuples(changes, st.lists(reads, max_size=2)), min_size=5, max_size=25),
    st.booleans(),
    st.sampled_from([1 << 20, 1 << 20, 10_000, 0]),
)
def test_what_is_shared_is_what_the_log_has(
    steps: list[tuple[tuple[str, str, int], list[tuple[tuple[str, ...], int]]]], is_durable: bool, max_bytes: int
) -> None:
    async def run(**place: object) -> None:
        async with broker(limits={**SMALL, "history_bytes": max_bytes}, **place) as one:
            for name in NAMES:
                await put(one, name, 8, 100)
            for what, readers in steps:
                await change(one, *what)
                for reader in readers:
                    for _ in range(2):
                        await read(one, *reader)
                        assert one.history.bytes <= max_bytes

    if is_durable:
        with TemporaryDirectory() as directory:
            asyncio.run(run(data_dir=directory))
    else:
        asyncio.run(run())


async def all_read(one: Broker, readers: int) -> list[list[Batch]]:
    """What each of some readers gets from the beginning, one after the other."""
    found = []
    for _ in range(readers):
        items = await drain_items(one, ReadRequest(("s",), Earliest(), until="now"))
        found.append([item for item in items if isinstance(item, Batch)])
    return found


@pytest.fixture(params=["memory", "lmdb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """Where the log is."""
    return {} if request.param == "memory" else {"data_dir": str(tmp_path / "log")}


async def test_from_the_third_reader_on_batches_are_those_of_the_one_before(place: dict[str, object]) -> None:
    async with broker(limits=SMALL, **place) as one:
        for _ in range(20):
            await put(one, "s", 5, 100)
        first, second, third, fourth = await all_read(one, 4)
        assert told(first) == told(second) == told(third) == told(fourth)
        assert len(told(first)) == 100
        shared = [batch for batch in third if batch.last <= one.tail.floor]
        assert len(shared) >= 18
        assert all(any(batch is other for other in fourth) for batch in shared)
        assert not any(batch is other for batch in shared for other in first)
        assert one.history.hits > 0


async def test_without_a_bound_nothing_is_kept(place: dict[str, object]) -> None:
    async with broker(limits={**SMALL, "history_bytes": 0}, **place) as one:
        for _ in range(20):
            await put(one, "s", 5, 100)
        found = await all_read(one, 4)
        assert told(found[0]) == told(found[3])
        assert (one.history.bytes, len(one.history), one.history.hits) == (0, 0, 0)


async def test_a_gap_is_told_to_those_who_would_have_shared_what_is_gone(place: dict[str, object]) -> None:
    async with broker(limits=SMALL, **place) as one:
        for _ in range(20):
            await put(one, "s", 5, 100)
        await all_read(one, 3)
        with await one.subscribe(ReadRequest(("s",), Earliest(), until="now")) as subscription:
            begun = offsets(await subscription.poll() or [])
            assert begun[0] == 1
            await one.update("s", Retention(max_records=40))
            rest: list[Item] = []
            while items := await subscription.poll():
                rest += items
        assert rest[0] == Gap(begun[-1], 60, GapReason.RETENTION)
        assert offsets(rest) == [*range(61, 101)]
        await one.purge("s")
        assert offsets(await drain_items(one, ReadRequest(("s",), Earliest()))) == []
