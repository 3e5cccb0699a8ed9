"""A subscription: one reader, from when it comes until it goes; what it gets meanwhile is its course's (`course`).

It is pulled (`next`), or, once it has caught up, put into a lane of the hub, which writes to it as commits come
(`live`). A reader that cannot keep up falls out of its lane and reads on from the log at its own pace, in turns with
others (`turns`). While there is nothing it waits, with heartbeats; it goes when its course ends, its time is over, it
is asked to, or its client goes. Its memory is a few hundred bytes.
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from ratsvc.core.cursor import Cursor
from ratsvc.core.figures import Figures
from ratsvc.core.items import Gap, Item
from ratsvc.core.record import Batch, Encoding
from ratsvc.flow.course import Course
from ratsvc.flow.deltas import DeltaLane, Since, in_turns
from ratsvc.flow.hub import Encoder, Lane
from ratsvc.flow.request import ReadRequest
from ratsvc.flow.wire import Sender, Sent, Wire

if TYPE_CHECKING:
    from ratsvc.flow.broker import Broker
    from ratsvc.observability.tracing import Tracing

ReaderState = Literal["live", "catching-up"]


class Subscription:
    """Made by `Broker.subscribe`; used as a context manager. Read by one task."""

    def __init__(self, broker: Broker, request: ReadRequest) -> None:
        self._broker = broker
        self._request = request
        self._selection = broker.hub.select(request.streams, request.keys, request.events)
        self._course = Course(broker, request, self._selection)
        self._heartbeat_s = request.heartbeat_s or broker.settings.heartbeat_s
        self._leave = ""
        self._documents = broker.deltas.reader() if request.delta else None
        self._deadline: float | None = None
        self.start = Cursor(broker.epoch, 0)
        """Where it starts."""
        self.start_gap: Gap | None = None
        """What is missing before that."""
        self.at_end = False
        """Whether it starts at the end of streams that were all ended."""
        self.format = "opening"
        """The name of the format that it is read in, once its response has begun."""
        self.sender: Sender = Sent()
        """What writes to the reader."""
        self.is_live = False
        """Whether it is in a lane."""
        self.reason = "client"
        """Why it ended, once it has: by itself or the client."""

    async def open(self) -> Self:
        """Finds its places. Raises what `Course.open` raises."""
        course = self._course
        self.start_gap = await course.open()
        self.start, self.at_end = course.cursor, course.has_ended()
        lifetime = self._broker.settings.subscription_lifetime_s
        self._deadline = monotonic() + lifetime * random.uniform(0.9, 1.1) if lifetime else None
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the place back; idempotent."""
        if self._broker.unsubscribe(self):
            self._broker.figures.disconnects[self.reason] += 1
            self._broker.hub.release(self._selection)
            if self._documents is not None:
                self._broker.deltas.left(self._documents)

    @property
    def cursor(self) -> Cursor:
        """Where a reader who comes back goes on."""
        return self._course.cursor

    @property
    def figures(self) -> Figures:
        """Where what is delivered is counted."""
        return self._broker.figures

    @property
    def lag(self) -> int:
        """How many offsets the newest record that may be for this reader is ahead of it; of all streams with a
        pattern."""
        log, selection = self._broker.log, self._selection
        if self.is_live:
            return 0
        newest = log.last_offset
        if not selection.wild:
            newest = max((info.last_offset for info in selection.streams.values()), default=0)
        return max(0, newest - self._course.position)

    @property
    def state(self) -> ReaderState:
        """How it is told to those who watch: live once it has caught up and while nothing is ahead of it, in a lane or
        not (a reader with a limit waits outside of them)."""
        return "live" if self._course.is_current and not self.lag else "catching-up"

    def reads(self, stream: str) -> bool:
        """Whether a stream is among those that it reads."""
        return stream in self._selection.streams

    @property
    def tracing(self) -> Tracing | None:
        """What makes spans; None where tracing is off."""
        return self._broker.tracing

    def leave(self, reason: str) -> None:
        """Asks the reader to come back later: the subscription ends with a Reconnect."""
        self._leave = self._leave or reason
        self._selection.look_again()

    async def next(self) -> list[Item]:
        """What comes next: waits for it, heartbeats included. Empty when it is over."""
        while True:
            items = await self.poll()
            if items or items is None:
                return items or []
            if not await self.wait(self._heartbeat_s):
                return [self._course.beat()]

    async def poll(self) -> list[Item] | None:
        """What is there now: empty when the reader has caught up, None when it is over."""
        course = self._course
        if course.ending is not None:
            return None
        if course.queued:
            items, course.queued = course.queued, []
        else:
            if not course.is_at_end():
                await self._broker.turns.next()
            if self._leave or (self._deadline is not None and monotonic() >= self._deadline):
                items = course.send_away(self._leave or "lifetime")
            else:
                items = await course.step()
            if course.ending is not None:
                self.reason = course.ending.reason
        if self._documents is None or not items:
            return items
        found: list[Item] = []
        for item in items:
            if isinstance(item, Batch):
                found += await in_turns(item, self._documents)
                continue
            if isinstance(item, Gap):
                self._documents.clear()
                course.since = Since(max(course.since.offset, item.to))
            found.append(item)
        return found

    async def wait(self, seconds: float) -> bool:
        """Waits for news, at most `seconds`; False when there were none in that time."""
        future = asyncio.get_running_loop().create_future()
        self._selection.waiting.add(future)
        if self._deadline is not None:
            seconds = min(seconds, max(0.0, self._deadline - monotonic()))
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return self._deadline is not None and monotonic() >= self._deadline
        finally:
            self._selection.waiting.discard(future)
        return True

    async def live(self, encoder: Encoder, wire: Wire) -> None:
        """Puts the reader, which has caught up, into its lane; returns when it has to `poll` again.

        While it is there `wire.push` gets the bytes. A reader with a limit or an end never goes live.
        """
        if self._leave or any(i.last_offset > self._course.position for i in self._selection.streams.values()):
            return
        if self._request.limit is not None or self._request.until is not None:
            if not await self.wait(self._heartbeat_s):
                self._course.queued.append(self._course.beat())
            return
        framing, coding = wire.framing(), wire.coding
        kind = Lane if self._documents is None else DeltaLane
        identity = (kind, encoder.key, self._heartbeat_s, framing, coding and coding.name)
        lane = self._selection.lanes.get(identity)
        if lane is None:
            lane = self._selection.lanes[identity] = kind(
                self._selection, encoder, self._heartbeat_s, framing, self._broker.figures, coding
            )
        member = _Live(self._course, wire)
        if self._documents is not None:
            DeltaLane.join(self._selection, self._documents)
        lane.enter(member, coding)
        self.is_live = True
        try:
            await asyncio.wait_for(member.left, None if self._deadline is None else self._deadline - monotonic())
        except TimeoutError:
            pass
        finally:
            self.is_live = False
            lane.forget(member)
            if self._documents is not None:
                DeltaLane.left(self._selection)


class _Live:
    """A reader in a lane."""

    __slots__ = ("_course", "_wire", "left")

    def __init__(self, course: Course, wire: Wire) -> None:
        self._course = course
        self._wire = wire
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def since(self) -> Since:
        return self._course.since

    def push(self, data: Encoding, offset: int) -> bool:
        if not self._wire.push(data, offset):
            return False
        self._course.position = offset
        return True

    def leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)
