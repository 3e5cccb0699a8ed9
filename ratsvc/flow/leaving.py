"""Readers that are sent away: when each goes, and when it is told to come back.

In a drain they go one after the other, spread over its time, and come back in the same order, spread over as long
again, once a process answers. At any other time each comes back after a pause of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from time import monotonic

from ratsvc.flow.follow import Subscription
from ratsvc.settings import Settings


class Leaving:
    """The pace at which readers leave. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spread_s = self._drained_at = 0.0
        self.drain_event = asyncio.Event()
        """Set once a drain has begun."""

    def drain(self, readers: Sequence[Subscription], spread_s: float) -> None:
        """Asks the readers to reconnect, spread over `spread_s` seconds."""
        self.drain_event.set()
        self._spread_s, self._drained_at = spread_s, monotonic() + spread_s
        loop = asyncio.get_running_loop()
        for at, subscription in enumerate(readers):
            loop.call_later(spread_s * (at + random.random()) / len(readers), subscription.leave, "drain")

    def retry_ms(self) -> int:
        """When a reader who is sent away now should come back: jittered; in a drain once a process answers again, in
        the order in which they go."""
        settings = self._settings
        if self.drain_event.is_set() and settings.restart_s:
            left_s = max(0.0, self._drained_at - monotonic())
            place = 1.0 - left_s / self._spread_s if self._spread_s else random.random()
            return int(1000 * (left_s + settings.restart_s + place * settings.drain_s))
        return random.randint(settings.retry_ms // 2, settings.retry_ms * 3 // 2)
