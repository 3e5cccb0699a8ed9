"""One request and its response at the ASGI level: the body as it comes, the reply, and what to close after.

The body is pulled, so a client that sends faster than we take is held back by hypercorn's short queue and then
by TCP. A reply to a request whose body was not read to its end closes the connection, and the rest is discarded
meanwhile: hypercorn waits for room in that queue before it can close.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from time import monotonic
from typing import Any

from ratsvc.errors import RequestTimeout, TooLarge
from ratsvc.flow.connections import Peer
from ratsvc.http_api.head import Head
from ratsvc.http_api.problem import Reply
from ratsvc.settings import Limits

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Where in a scope's `extensions` the checked head is.
HEAD = "ratsvc.head"
#: Where in them the exit stack is, for what must be closed when the response is over.
EXIT_STACK = "ratsvc.exit_stack"
_DEFAULTS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"vary", b"Accept, Accept-Encoding, Authorization, Origin"),
    (b"referrer-policy", b"no-referrer"),
)


class ClientGone(Exception):
    """The client left before it had sent its whole request."""


def peer_of(scope: Scope) -> Peer:
    """Who sends a request."""
    host, port = scope.get("client") or ("", 0)
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return Peer.of("http", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", agent.decode("latin-1"))


class Exchange:
    """A request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self.scope = scope
        self.head: Head | None = None
        """Set once the head has passed."""
        self.route = "none"
        """The name of its endpoint, once it is known."""
        self.status: int | None = None
        """Of the response, once it has begun."""
        self.complete = False
        """Whether the response was sent to its end."""
        self.headers: list[tuple[bytes, bytes]] = []
        """What the response says beside its own."""
        self.exit_stack = ExitStack()
        self._receive = receive
        self._send = send
        self._limits = limits
        self._body_read = False
        scope.setdefault("extensions", {})[EXIT_STACK] = self.exit_stack

    def accept(self, head: Head) -> Head:
        """Notes the head, which has passed, for all that follows."""
        self.head = head
        self.scope["extensions"][HEAD] = head
        return head

    @property
    def peer(self) -> Peer:
        """Who asks."""
        return peer_of(self.scope)

    @property
    def must_close(self) -> bool:
        """Whether the connection cannot serve another request."""
        return self.head is None or (self.head.has_body and not self._body_read)

    async def body(self, *, whole: bool = False) -> AsyncIterator[bytes]:
        """The body's pieces, none empty.

        Args:
            whole: nothing is done before all of it is there. It then must keep to the least rate, as one with a
                Content-Length must anyway; time in which nobody asks for a piece does not count.

        Raises:
            RequestTimeout: nothing came for too long, or it came too slowly.
            ClientGone: the client left before the end.
        """
        pause_s = self._limits.body_timeout_s
        known = whole or (self.head is not None and self.head.content_length is not None)
        rate = self._limits.body_bytes_per_s if known else 0
        received, waited_s = 0, 0.0
        while not self._body_read:
            left_s = max(pause_s, received / rate) - waited_s if rate else pause_s
            asked = monotonic()
            try:
                async with asyncio.timeout(min(pause_s, left_s)):
                    message = await self._receive()
            except TimeoutError:
                if left_s < pause_s:
                    raise RequestTimeout(f"the body must come with {rate} bytes/s at least", field="body") from None
                raise RequestTimeout(
                    f"the body must not pause for more than {pause_s:g} seconds", field="body"
                ) from None
            waited_s += monotonic() - asked
            if message["type"] == "http.disconnect":
                raise ClientGone
            self._body_read = not message.get("more_body", False)
            if piece := message.get("body", b""):
                received += len(piece)
                yield piece

    async def small_body(self, max_bytes: int) -> bytes:
        """The whole body. Raises TooLarge over `max_bytes`, and what `body` raises."""
        collected = bytearray()
        async for piece in self._bounded(max_bytes, whole=True):
            collected += piece
        return bytes(collected)

    async def send(self, message: Message) -> None:
        """Passes a response's message on, with the headers that every response has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [(name.lower(), value) for name, value in message.get("headers", [])]
            present = {name for name, _ in headers}
            headers += self.headers
            headers += [default for default in _DEFAULTS if default[0] not in present]
            if self.must_close:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
        await self._send(message)

    async def reply(self, reply: Reply) -> None:
        """Sends a complete response, without its body to a HEAD."""
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.fields.items()]
        await self.send({"type": "http.response.start", "status": reply.status, "headers": headers})
        body = b"" if self.scope["method"] == "HEAD" else reply.body
        last = {"type": "http.response.body", "body": body, "more_body": False}
        if not self.must_close:
            await self.send(last)
            return
        discarding = asyncio.create_task(self._discard())
        try:
            await self.send(last)
        finally:
            discarding.cancel()
            await asyncio.wait({discarding})

    async def run(self, app: App, body: bytes | None = None) -> None:
        """Lets an ASGI app answer; `body`, if any, is the request's, read before."""

        async def receive() -> Message:
            nonlocal body
            if body is None:
                return await self._receive()
            whole, body = body, None
            return {"type": "http.request", "body": whole, "more_body": False}

        await app(self.scope, receive, self.send)

    async def run_reading(self, app: App, max_bytes: int) -> None:
        """Lets an ASGI app answer, and read the body as it comes.

        Raises:
            TooLarge: the body is over `max_bytes`.
            RequestTimeout, ClientGone: as `body`.
        """
        pieces, told = self._bounded(max_bytes), False

        async def receive() -> Message:
            nonlocal told
            if told:
                return await self._receive()
            piece = await anext(pieces, b"")
            told = not piece
            return {"type": "http.request", "body": piece, "more_body": not told}

        await app(self.scope, receive, self.send)

    def _bounded(self, max_bytes: int, *, whole: bool = False) -> AsyncIterator[bytes]:
        """What `body` gives. Raises TooLarge over `max_bytes`: at once where the head says so."""
        refused = TooLarge(f"the body must be at most {max_bytes} bytes here", field="body")
        if self.head is not None and (self.head.content_length or 0) > max_bytes:
            raise refused

        async def pieces() -> AsyncIterator[bytes]:
            received = 0
            async for piece in self.body(whole=whole):
                received += len(piece)
                if received > max_bytes:
                    raise refused
                yield piece

        return pieces()

    async def _discard(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
