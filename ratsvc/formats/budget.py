"""What compression may take of the processor: a share of one core's time, looked at over the last two seconds.

Nothing waits for it. Where it is used up, what was to be compressed goes out as it is: blocks of a response that is
under way are stored in its member, and whoever comes new gets plain bytes, until half of it is there again.

Cost: a look at the clock and four operations for each block, none for a reader.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from ratsvc.core.figures import Figures

SPAN_S = 2.0


class Budget:
    """A share of the processor's time.

    Args:
        percent: of one core, over 0; 100 or more: no bound.
        figures: where what was spent is counted.
        clock: seconds.
    """

    def __init__(self, percent: float, figures: Figures, clock: Callable[[], float] = perf_counter) -> None:
        self._share = percent / 100
        self._most = SPAN_S * self._share
        self._left = self._most
        self._at = clock()
        self._figures = figures
        self.clock = clock

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self._filled() <= 0

    @property
    def is_low(self) -> bool:
        """Whether less than half of it is left: nothing new should begin."""
        return self._filled() < self._most / 2

    def spend(self, seconds: float) -> None:
        """Notes how long something took."""
        self._left -= seconds
        self._figures.compression_seconds += seconds

    def _filled(self) -> float:
        now = self.clock()
        if self._share >= 1:
            return self._most
        self._left = min(self._most, self._left + (now - self._at) * self._share)
        self._at = now
        return self._left
