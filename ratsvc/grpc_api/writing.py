"""Messages to a peer that may take none of them.

gRPC says when a message has gone out whole, and nothing before that: how long a peer may take none is counted for
each piece of a message. A call that stalled is ended and gives back all that it holds here; its status waits behind
the message that the peer did not take, for a handler cannot reset its call, and goes with the connection at the
latest.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import structlog

from ratsvc.errors import Unavailable
from ratsvc.grpc_api.calls import answer_metadata

_log = structlog.get_logger()

PIECE_BYTES = 256 * 1024
#: What `Answers.write` raises when there is nobody any more to write to.
GONE = (grpc.aio.UsageError, grpc.aio.InternalError)


class Stalled(Unavailable):
    """The peer took nothing for too long; it can come back."""

    slug, title = "stalled", "Stalled"


class Answers:
    """One call's messages to its peer. A context manager, entered by the task that writes them.

    One timer looks after all its messages: a timeout for each cost 20 µs of the 360 that a publish of 256 records does.
    """

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], stall_s: float) -> None:
        self._context = context
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None
        """When the message that is being written has stalled; None while there is none."""
        self._stalled = False
        self._begun = False
        self.sent = 0
        """Bytes of messages sent."""

    def __enter__(self) -> Answers:
        self._writer = asyncio.current_task()
        self._timer = self._loop.call_later(self._stall_s, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if self._until is None or now < self._until:
            self._timer = self._loop.call_at(self._until or now + self._stall_s, self._look)
        elif self._writer is not None:
            self._stalled = self._writer.cancel()

    async def write(self, message: bytes) -> None:
        """Sends a message; returns when the peer's window has let all of it out.

        Raises:
            Stalled: it took over `stall_timeout_s` for each PIECE_BYTES of it.
        """
        self._until = self._loop.time() + self._stall_s * (1 + len(message) // PIECE_BYTES)
        try:
            if not self._begun:
                # Alone, for no window holds it up: with a message that stalls, the status could not be sent.
                await self._context.send_initial_metadata(answer_metadata())
                self._begun = True
            await self._context.write(message)
            self.sent += len(message)
        except asyncio.CancelledError:
            if not self._stalled or self._writer is None or self._writer.uncancel():
                raise
            _log.info("call_cut", reason="stalled", waiting_bytes=len(message))
            detail = f"nothing was taken of this call's answers for {self._stall_s:g} s"
            raise Stalled(detail, retry_after_s=1) from None
        finally:
            self._until = None
