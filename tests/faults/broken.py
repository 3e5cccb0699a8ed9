"""`ratsvc` with a fault built in, to show that the checker finds it: `python -m tests.faults.broken FAULT serve …`.

Each fault breaks one promise of the writer, and widens the moment in which a kill shows it to `MOMENT_S`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ratsvc.cli.main import main
from ratsvc.core.dedupe import Dedupe
from ratsvc.core.draft import Draft
from ratsvc.core.record import Batch
from ratsvc.flow.hub import Hub
from ratsvc.flow.sequencer import Ack, Sequencer

MOMENT_S = 0.5
LOST_EVERY = 5
"""Of so many commits one is left out."""


Append = Callable[..., Any]
"""`Log.append`: the batches first, then whatever else it takes."""


class _Around:
    """A log whose `append` is another's."""

    def __init__(self, log: Any, append: Append) -> None:
        self.__dict__.update(_log=log, append=append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._log, name, value)


def _around_log(make: Callable[[Any, Hub], Append]) -> None:
    """Gives every sequencer a log with the `append` that `make(log, hub)` makes."""
    original = Sequencer.__init__

    def start(self: Sequencer, log: Any, hub: Hub, *arguments: Any, **more: Any) -> None:
        original(self, _Around(log, make(log, hub)), hub, *arguments, **more)

    Sequencer.__init__ = start  # type: ignore[method-assign]


def commit_removed() -> None:
    """Some commits are acknowledged and never made."""
    commits = 0

    def make(log: Any, hub: Hub) -> Append:
        async def append(*arguments: Any, **more: Any) -> None:
            nonlocal commits
            commits += 1
            if commits % LOST_EVERY:
                await log.append(*arguments, **more)

        return append

    _around_log(make)


def acknowledged_before_commit() -> None:
    """The producer is answered as soon as its records have offsets; the commit comes later."""
    promises: dict[int, asyncio.Future[Ack]] = {}
    publish, place = Sequencer.publish, Sequencer._place

    def early_publish(self: Sequencer, draft: Draft) -> asyncio.Future[Ack]:
        promises[id(draft)] = done = publish(self, draft)
        return done

    async def early_place(self: Sequencer, draft: Draft, *arguments: Any) -> Any:
        placed = await place(self, draft, *arguments)
        done = promises.pop(id(draft))
        if not done.done():
            done.set_result(placed[0])
        return placed

    Sequencer.publish = early_publish  # type: ignore[method-assign]
    setattr(Sequencer, "_place", early_place)  # noqa: B010 - its signature is wider
    _around_log(_late)


def delivered_before_commit() -> None:
    """Readers get the records first; the commit comes later."""
    publish = Hub.publish
    given: set[int] = set()

    def publish_once(self: Hub, batches: Sequence[Batch]) -> None:
        publish(self, [batch for batch in batches if id(batch) not in given])
        given.difference_update(map(id, batches))

    def make(log: Any, hub: Hub) -> Append:
        late = _late(log, hub)

        async def append(batches: Sequence[Batch], *arguments: Any, **more: Any) -> None:
            publish(hub, batches)
            given.update(map(id, batches))
            await late(batches, *arguments, **more)

        return append

    Hub.publish = publish_once  # type: ignore[method-assign]
    _around_log(make)


def dedupe_off() -> None:
    """What a producer sends again is stored again."""
    Dedupe.duplicates = lambda self, ref, count, now_ns: (0, 0)  # type: ignore[method-assign]


def _late(log: Any, hub: Hub) -> Append:
    async def append(*arguments: Any, **more: Any) -> None:
        await asyncio.sleep(MOMENT_S)
        await log.append(*arguments, **more)

    return append


FAULTS = {
    fault.__name__: fault for fault in (commit_removed, acknowledged_before_commit, delivered_before_commit, dedupe_off)
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    main()
