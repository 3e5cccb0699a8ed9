"""A journey: what became of one publish that asked to be followed, with times. Off for all others, and free for them.

The edge that takes the publish marks its steps; the sequencer marks the commit, and makes the batch one that notes
each encoding of itself. Whatever is made of the batch after the acknowledgement is not told: nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from ratsvc.core.record import Batch, Encoding

MAX_ENCODINGS = 32


@dataclass(slots=True)
class Encoded:
    """How a batch was encoded under one key, and how often that was used again."""

    format: str
    bytes: int
    seconds: float
    shared: int = 0


@dataclass(slots=True)
class Journey:
    """One publish on its way."""

    steps: dict[str, float] = field(default_factory=dict)
    """When each step was done, by its name, in the order of their times (`time.perf_counter`)."""
    encodings: dict[Hashable, Encoded] = field(default_factory=dict)
    """At most MAX_ENCODINGS, by the format's key."""
    readers: dict[str, int] = field(default_factory=dict)
    """Live readers that it was written to, by format."""
    others: int = 0
    """Readers of the stream that read it by themselves, each at its own pace."""
    commit_publishes: int = 0
    """How many publishes its commit had."""
    commit_records: int = 0

    def mark(self, step: str) -> None:
        """Notes that a step is done."""
        self.steps[step] = perf_counter()


class FollowedBatch(Batch):
    """A batch that tells its journey what is made of it."""

    __slots__ = ("_journey",)

    def __init__(self, journey: Journey, *args: Any) -> None:
        super().__init__(*args)
        self._journey = journey

    def encoded(self, key: Hashable, encode: Callable[[Batch], Encoding]) -> Encoding:
        """See `Batch.encoded`."""
        known = self._journey.encodings
        if key in known:
            known[key].shared += 1
            return super().encoded(key, encode)
        began = perf_counter()
        data = super().encoded(key, encode)
        if len(known) < MAX_ENCODINGS:
            name = key[0] if isinstance(key, tuple) else key
            known[key] = Encoded(str(name), len(data), perf_counter() - began)
        return data
