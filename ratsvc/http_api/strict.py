"""An h11 connection that takes less than h11 does: no I/O, as h11 itself.

h11 takes folded headers, bare line breaks and a Content-Length that is said twice (`5, 5`), which others on the way
may understand in another way; here each is an error, in every head on a connection, also in one that came together
with the request before it. And whoever waits for a `100 Continue` is told to go on by `proceed`, when the body is
asked for, and not before: a request that is refused by its head alone never sends its body.
Cost: one search of each head.
"""

from __future__ import annotations

import re

import h11

_HEAD_END = re.compile(rb"\n\r?\n")
_MALFORMED = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]|\0")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:([^\r]*)", re.I)


class StrictConnection(h11.Connection):
    """The server's side of a connection."""

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """Never, for the server that asks: it would answer before anyone has looked at the head."""
        return False

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11's. Raises RemoteProtocolError, also for a head that h11 would take."""
        if self.their_state is h11.IDLE:
            data = self.trailing_data[0]
            if end := _HEAD_END.search(data):
                _check(data[: end.end()])
        return super().next_event()

    def proceed(self) -> bytes:
        """What tells the client to send its body: empty when it does not wait for that."""
        if not self.client_is_waiting_for_100_continue:
            return b""
        return self.send(h11.InformationalResponse(status_code=100, headers=[]))


def _check(head: bytes) -> None:
    if _MALFORMED.search(head):
        raise h11.RemoteProtocolError("a head must have no bare line break, NUL or folded header")
    lengths = _LENGTH.findall(head)
    if len(lengths) > 1 or any(b"," in length for length in lengths):
        raise h11.RemoteProtocolError("there must be one Content-Length")
