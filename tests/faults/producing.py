"""Producers in a process of their own: they publish until told to stop, and write down each step before or after it.

`sent` is written before a record is given to the client, `acknowledged` when its answer came, `failed` when the
client gave it up.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from ratsvc.client import Delivered, Producer, consumer, producer
from ratsvc.client.status import backoff_s
from ratsvc.errors import RatError
from tests.faults.ledger import Ledger, sent
from tests.faults.payload import Item, item

BURST = 30
BACKOFF_S = 0.2
UNANSWERED = 500
"""Records of one producer that may be on their way; then it waits."""


@dataclass(slots=True, frozen=True)
class ProducerPlan:
    """What a producer does.

    Args:
        records: how many it sends; 0: until it is told to stop.
        pause_s: between two bursts, on average.
        batch: the most records in one request.
    """

    name: str
    ledger: Path
    streams: tuple[str, ...]
    records: int = 0
    pause_s: float = 0.1
    burst: int = BURST
    batch: int = 1_000
    unanswered: int = UNANSWERED


class Progress:
    """How many records all producers have had acknowledged: shared between processes."""

    def __init__(self, context: SpawnContext) -> None:
        self._changed = context.Condition()
        self._count = context.Value("q", 0, lock=False)

    def add(self, count: int) -> None:
        """So many more."""
        with self._changed:
            self._count.value += count
            self._changed.notify_all()

    def wait_for(self, count: int, timeout_s: float, *, more: bool = False) -> None:
        """Returns when there are `count`, or with `more` when there are so many more than now. Raises TimeoutError."""
        with self._changed:
            goal = count + (self._count.value if more else 0)
            if not self._changed.wait_for(lambda: self._count.value >= goal, timeout_s):
                raise TimeoutError(f"{self._count.value} of {goal} records were acknowledged in {timeout_s:g} s")


def produce(address: str, plans: list[ProducerPlan], progress: Progress, pipe: Connection) -> None:
    """Runs the producers; the first message on `pipe` stops them. Answers `done` when all is acknowledged."""

    hurry()

    async def run() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(_Producing(plan, progress, stop).run(address))
            pipe.send("ready")
            listening = asyncio.create_task(asyncio.to_thread(heard, pipe))
            listening.add_done_callback(lambda _: stop.set())
        tell(pipe, "done")
        await listening

    asyncio.run(run())


def hurry() -> None:
    """Makes this process's clients come back sooner than they would, so that more faults fit into the time."""
    for client in (producer, consumer):
        setattr(client, "backoff_s", partial(backoff_s, most_s=BACKOFF_S))  # noqa: B010 - mypy takes it for constant


def tell(pipe: Connection, message: object) -> None:
    """Says something to whoever is still there."""
    with suppress(BrokenPipeError):
        pipe.send(message)


def heard(pipe: Connection) -> Any:
    """The next message on `pipe`; None when nobody is there any more."""
    try:
        return pipe.recv()
    except EOFError:
        return None


class _Producing:
    """One producer at work."""

    def __init__(self, plan: ProducerPlan, progress: Progress, stop: asyncio.Event) -> None:
        self._plan = plan
        self._progress = progress
        self._stop = stop
        self._room = asyncio.Semaphore(plan.unanswered)
        self._answers: list[tuple[int, int]] = []
        self._failures: list[int] = []

    async def run(self, address: str) -> None:
        plan = self._plan
        chance = random.Random(plan.name)
        with Ledger(plan.ledger) as self._ledger:
            async with Producer(
                address,
                producer_id=plan.name,
                linger_ms=2,
                max_batch_records=plan.batch,
                delivery_timeout_s=3600,
            ) as self._producer:
                number = 1
                while not self._stop.is_set() and not (plan.records and number > plan.records):
                    last = number + chance.randrange(plan.burst)
                    last = min(last, plan.records) if plan.records else last
                    burst = [item(plan.name, at, plan.streams) for at in range(number, last + 1)]
                    number = last + 1
                    self._ledger.write("sent", [sent(one.note) for one in burst])
                    for one in burst:
                        await self._send(one)
                    await self._wait(chance.uniform(0, 2 * plan.pause_s))
                with suppress(RatError):  # a failure is in the ledger already
                    await self._producer.flush()
            self._write()

    async def _send(self, one: Item) -> None:
        await self._room.acquire()
        future = await self._producer.send(one.stream, one.value, key=one.key, event=one.event)
        future.add_done_callback(lambda done: self._answered(one.note.number, done))

    def _answered(self, number: int, done: asyncio.Future[Delivered]) -> None:
        self._room.release()
        if not self._answers and not self._failures:
            asyncio.get_running_loop().call_soon(self._write)
        if done.cancelled() or done.exception() is not None:
            self._failures.append(number)
        else:
            self._answers.append((number, done.result().offset))

    def _write(self) -> None:
        """Writes down what was answered in this step of the loop."""
        if self._answers:
            self._ledger.write("acknowledged", self._answers)
            self._progress.add(len(self._answers))
        if self._failures:
            self._ledger.write("failed", self._failures)
        self._answers, self._failures = [], []

    async def _wait(self, seconds: float) -> None:
        """The pace of the load."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
