"""Turns: one step each time round the event loop, whoever leaves meanwhile."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from ratsvc.flow.turns import Turns


async def test_others_run_between_the_steps_of_those_who_wait() -> None:
    turns, rounds, steps = Turns(), 0, []
    loop = asyncio.get_running_loop()

    def count() -> None:
        nonlocal rounds
        rounds += 1
        ticking[0] = loop.call_soon(count)

    async def step(number: int) -> None:
        for _ in range(3):
            await turns.next()
            steps.append((rounds, number))

    ticking = [loop.call_soon(count)]
    await asyncio.gather(*(step(number) for number in range(5)))
    ticking[0].cancel()
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(steps))
    assert [number for _, number in steps] == [*range(5)] * 3  # each in turn


async def test_who_leaves_is_passed_over() -> None:
    turns = Turns()
    waiting = [asyncio.create_task(turns.next()) for _ in range(4)]
    await asyncio.sleep(0)
    for gone in (waiting[0], waiting[2]):
        gone.cancel()
    await asyncio.wait(waiting, timeout=5)
    assert [task.cancelled() for task in waiting] == [True, False, True, False]


async def test_one_turn_follows_another_when_all_who_waited_have_left() -> None:
    turns = Turns()
    gone = asyncio.create_task(turns.next())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait_for(turns.next(), 5)
    await asyncio.wait_for(turns.next(), 5)
