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
    """One call's messages to its peer."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], stall_s: float) -> None:
        self._context = context
        self._stall_s = stall_s
        self._begun = False
        self.sent = 0
        """Bytes of messages sent."""

    async def write(self, message: bytes) -> None:
        """Sends a message; returns when the peer's window has let all of it out.

        Raises:
            Stalled: it took over `stall_timeout_s` for each PIECE_BYTES of it.
        """
        try:
            async with asyncio.timeout(self._stall_s * (1 + len(message) // PIECE_BYTES)):
                if not self._begun:
                    # Alone, for no window holds it up: with a message that stalls, the status could not be sent.
                    await self._context.send_initial_metadata(answer_metadata())
                    self._begun = True
                await self._context.write(message)
                self.sent += len(message)
        except TimeoutError:
            _log.info("call_cut", reason="stalled", waiting_bytes=len(message))
            detail = f"nothing was taken of this call's answers for {self._stall_s:g} s"
            raise Stalled(detail, retry_after_s=1) from None
