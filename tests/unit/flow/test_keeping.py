"""What is kept, by the settings."""

from __future__ import annotations

from ratsvc.core.retention import Retention
from tests.unit.flow.filled import broker


async def test_the_most_specific_pattern_sets_the_retention_of_a_new_stream() -> None:
    patterns = {">": {"max_age": "1h"}, "p.*": {"max_records": 5}, "p.x": {"max_records": 7, "max_age": "90s"}}
    async with broker(streams=patterns) as one:
        assert (await one.create("p.x")).retention == Retention(7, 64 * 2**20, 90)
        assert (await one.create("p.y")).retention == Retention(5, 64 * 2**20, 3600)
        assert (await one.create("q")).retention == Retention(1_000_000, 64 * 2**20, 3600)
