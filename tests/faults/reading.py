"""Readers in a process of their own: they follow from the oldest record on, come back by themselves after every
break, and write down what they get, in order.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from ratsvc.client import Consumer, GapSeen, Received
from tests.faults.ledger import Ledger, seen
from tests.faults.producing import heard, hurry, tell


@dataclass(slots=True, frozen=True)
class ReaderPlan:
    """What a reader does."""

    name: str
    ledger: Path
    streams: tuple[str, ...]
    format: Literal["sse", "ndjson", "binary"]


def read(url: str, plans: list[ReaderPlan], pipe: Connection) -> None:
    """Runs the readers. The first message on `pipe` says up to which offset each has to come; the second ends those
    who did not. Answers `done` when all have ended."""

    hurry()

    async def run() -> None:
        readings = [_Reading(plan) for plan in plans]
        tasks = [asyncio.create_task(reading.run(url)) for reading in readings]
        pipe.send("ready")
        until: dict[str, int] | None = await asyncio.to_thread(heard, pipe)
        for reading in readings:
            reading.end_at((until or {}).get(reading.plan.name, 0))
        late = asyncio.create_task(asyncio.to_thread(heard, pipe))
        everyone = asyncio.gather(*tasks)
        await asyncio.wait({everyone, late}, return_when=asyncio.FIRST_COMPLETED)
        if everyone.done():
            everyone.result()
            tell(pipe, "done")
        await late
        for task in tasks:
            task.cancel()
        await asyncio.gather(everyone, return_exceptions=True)

    asyncio.run(run())


class _Reading:
    """One reader at work."""

    def __init__(self, plan: ReaderPlan) -> None:
        self.plan = plan
        self._items: list[Received | GapSeen] = []
        self._last = 0
        self._until: int | None = None
        self._arrived = asyncio.Event()

    def end_at(self, offset: int) -> None:
        """Lets `run` return once the record at `offset` was seen."""
        self._until = offset
        self._look()

    async def run(self, url: str) -> None:
        with Ledger(self.plan.ledger) as self._ledger:
            following = asyncio.create_task(self._follow(url))
            arriving = asyncio.create_task(self._arrived.wait())
            try:
                await asyncio.wait({following, arriving}, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()
            finally:
                for task in (following, arriving):
                    task.cancel()
                await asyncio.gather(following, arriving, return_exceptions=True)
                self._write()

    async def _follow(self, url: str) -> None:
        plan = self.plan
        async for item in Consumer(url, plan.streams, from_="earliest", format=plan.format, heartbeat_s=2):
            if not self._items:
                asyncio.get_running_loop().call_soon(self._write)
            self._items.append(item)
            if isinstance(item, Received):
                self._last = item.offset
            self._look()

    def _look(self) -> None:
        if self._until is not None and self._last >= self._until:
            self._arrived.set()

    def _write(self) -> None:
        """Writes down what came in this step of the loop."""
        items, self._items = self._items, []
        if items:
            self._ledger.write("items", [seen(item) for item in items])
