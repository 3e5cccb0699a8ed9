"""The response that a view returns: a Quart response whose body is what is sent to its channel.

It works in any Quart app under any ASGI server. The body wakes once a burst and gives what waits joined in blocks,
so that what the server and the socket cost is paid by the burst and not by the item; after 64 KiB or 5 ms it lets
the loop turn, because a server that takes everything at once would never let a disconnect be seen.
A response may be filled, and even ended, before the view returns it. It can be made in any thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing
from itertools import groupby
from types import TracebackType
from typing import Final, cast

from quart import Response, has_request_context, request
from quart.wrappers.response import ResponseBody

from ratsvc.streaming import encoding
from ratsvc.streaming.counts import forgotten_streams
from ratsvc.streaming.encoding import ResponseType
from ratsvc.streaming.large import Source
from ratsvc.streaming.sender import Sender, StreamChannel
from ratsvc.streaming.stalls import Connection, Watch

BLOCK_BYTES: Final = 256 * 1024
TURN_BYTES: Final = 64 * 1024
TURN_S: Final = 0.005
MEDIA_TYPES: Final = {
    ResponseType.SSE: "text/event-stream",
    ResponseType.CHUNKED: "application/octet-stream",
    ResponseType.JSON: "application/x-ndjson",
    ResponseType.TEXT: "text/plain; charset=utf-8",
    ResponseType.BINARY: "application/octet-stream",
}
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_log = logging.getLogger("ratsvc.streaming")


class StreamingResponse(Response):
    """A response that is written as it is sent to. Return it from a view, once."""

    def __init__(self, channel: StreamChannel) -> None:
        in_request = has_request_context()
        connection = Connection.of(request.scope) if in_request else None
        super().__init__(_Body(channel, connection), headers=dict(_HEADERS), content_type=MEDIA_TYPES[channel.kind])
        self.timeout = None
        self._channel = channel
        if in_request and request.method == "HEAD":
            channel.close("head")  # Nobody will read a body.

    def get_sender(self) -> Sender:
        """Returns the handle to send with."""
        return self._channel.get_sender()

    def get_channel(self) -> StreamChannel:
        """Returns the channel, which knows its type."""
        return self._channel

    def __del__(self) -> None:
        channel = getattr(self, "_channel", None)
        if channel is None or channel.has_begun or channel.close_reason is not None:
            return
        if channel.end_reason is None:
            _forget(channel, "a response was dropped")
        channel.close("dropped")


class _Body(ResponseBody):
    """Begins and closes the channel around its blocks."""

    def __init__(self, channel: StreamChannel, connection: Connection | None) -> None:
        self._channel = channel
        self._connection = connection
        self._blocks: AsyncGenerator[bytes, None] | None = None
        self._watch: Watch | None = None

    async def __aenter__(self) -> AsyncIterable[bytes]:
        channel, connection = self._channel, self._connection
        if channel.close_reason == "head":
            self._blocks = _nothing()
        else:
            self._blocks = _blocks(channel, channel.begin(None if connection is None else connection.reset))
            self._watch = Watch(channel, self._blocks, connection)
        return self._blocks

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.stop()
        if self._blocks is not None:
            await self._blocks.aclose()
        ended = self._channel.end_reason
        self._channel.close(ended if kind is None and ended is not None else "disconnected")


def _forget(channel: StreamChannel, what: str) -> None:
    """Counts a stream that nobody ended, and says so."""
    so_far = forgotten_streams.add()
    _log.warning("%s without end_stream: ended a %s stream (%d so far)", what, channel.kind, so_far)


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""


async def _blocks(channel: StreamChannel, woken: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """What is sent to the channel, joined, until it has ended."""
    turn = _Turn()
    while (block := channel.take_prefilled()) is not None:
        yield channel.counted(block)
        await turn.after(block)
    while True:
        items = channel.take()
        if not items and channel.end_reason is not None:
            if channel.finish():
                break
            await asyncio.sleep(0)
            continue
        if not items:
            woken.clear()
            channel.arm(turn.loop)
            items = channel.take()
            if not items and channel.end_reason is None:
                if await _came(channel, woken):
                    yield channel.counted(encoding.HEARTBEAT)
                turn.begin()
                continue
            channel.disarm()
        for run in _runs(items):
            if isinstance(run, bytes):
                yield channel.counted(run)
                await turn.after(run)
                continue
            async with aclosing(_read(run)) as blocks:
                async for block in blocks:
                    yield channel.counted(block)
                    await turn.after(block)
    if channel.kind is ResponseType.SSE:
        yield channel.counted(encoding.sse_end(channel.end_reason or "ended"))


async def _came(channel: StreamChannel, woken: asyncio.Event) -> bool:
    """Waits for what comes next. True: nothing came for so long that a heartbeat is due."""
    beat = channel.heartbeat_s if channel.kind is ResponseType.SSE else None
    wait = beat
    orphaned = channel.orphaned_for
    if orphaned is not None:
        left = channel.idle_s - orphaned
        if left <= 0:
            _forget(channel, "all senders were dropped")
            channel.end("forgotten")
            return False
        wait = left if beat is None else min(beat, left)
    try:
        async with asyncio.timeout(wait):
            await woken.wait()
    except TimeoutError:
        return wait == beat
    return False


def _runs(items: list[bytes | Source]) -> Iterator[bytes | Source]:
    """Items in order: bytes joined in blocks, sources one by one."""
    try:
        joined = b"".join(cast(list[bytes], items))
    except TypeError:
        sources = [item for item in items if isinstance(item, Source)]
        try:
            for is_bytes, run in groupby(items, lambda item: isinstance(item, bytes)):
                if is_bytes:
                    yield from _runs(list(run))
                else:
                    yield from run
        finally:
            for source in sources:  # The client may go before the turn of the last.
                source.close()
        return
    if len(joined) <= BLOCK_BYTES:
        if joined:
            yield joined
        return
    items.clear()  # A slow client must not hold them and what was joined of them.
    for at in range(0, len(joined), BLOCK_BYTES):
        yield joined[at : at + BLOCK_BYTES]


async def _read(source: Source) -> AsyncGenerator[bytes, None]:
    """A source's blocks, each read in a thread when the one before was written."""
    try:
        while block := await asyncio.to_thread(source.next_block):
            yield block
    except Exception as error:  # what a file or a program's iterator may raise, anything
        _log.warning("large data could not be read", exc_info=True)
        if source.breaks_on_error:
            raise ConnectionAbortedError("large data could not be read; the response breaks off") from error
        yield source.failed()
    finally:
        source.close()


class _Turn:
    """Lets the loop turn now and then."""

    __slots__ = ("_since", "_size", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begin()

    def begin(self) -> None:
        """The loop has just turned."""
        self._size, self._since = 0, self.loop.time()

    async def after(self, block: bytes) -> None:
        """Lets it turn when enough was written since."""
        self._size += len(block)
        if self._size >= TURN_BYTES or self.loop.time() - self._since >= TURN_S:
            await asyncio.sleep(0)
            self.begin()
