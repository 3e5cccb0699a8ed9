"""Turns: readers that catch up go on one after the other, one each time round the event loop.

A step (a read of `limits.reader_bytes` at most, and its encoding) holds the loop for milliseconds. When hundreds ask
for history at once, as after a restart, live readers, producers and probes then wait for one step, not for all.
Cost: 2 µs a step.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Who waits for a turn. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def next(self) -> None:
        """Returns when it is the caller's turn: it should do its step before it waits for anything."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._give, loop)
        await turn

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and self._waiting[0].done():  # has left meanwhile
            self._waiting.popleft()
        if self._waiting:
            self._waiting.popleft().set_result(None)
        if self._waiting:
            loop.call_soon(self._give, loop)
