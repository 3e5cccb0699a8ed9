"""Changes of streams."""

from __future__ import annotations

import asyncio

import pytest

from ratsvc.core.draft import Draft
from ratsvc.core.retention import Retention
from ratsvc.errors import StreamEnded, StreamExists, StreamNotFound
from tests.unit.flow.filled import broker, put, records


async def test_a_stream_that_exists_is_made_again_only_with_the_same_retention() -> None:
    async with broker() as one:
        made = await one.create("s", Retention(max_records=3))
        assert await one.create("s") is made
        assert await one.create("s", Retention(max_records=3)) is made
        with pytest.raises(StreamExists):
            await one.create("s", Retention(max_records=4))


async def test_a_change_has_its_place_among_the_publishes() -> None:
    async with broker() as one:
        before = one.submit(Draft("s", records(0, 3)))
        ending = asyncio.ensure_future(one.end("s"))
        await asyncio.sleep(0)
        after = one.submit(Draft("s", records(3, 3)))
        with pytest.raises(StreamEnded):
            await after
        assert (await before).last == (await ending).last_offset == 3


async def test_without_create_on_publish_only_a_stream_that_was_made_takes_records() -> None:
    async with broker(create_on_publish=False) as one:
        with pytest.raises(StreamNotFound):
            await put(one, "s", 1)
        await one.create("s")
        assert await put(one, "s", 1) == 1
