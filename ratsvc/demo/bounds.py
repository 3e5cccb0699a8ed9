"""What keeps a demo from being a hole: so many runs at once, each for so long.

A run is a stream that has been admitted. It leaves when its response has closed, for whatever reason.
"""

from __future__ import annotations

import asyncio
from itertools import count
from weakref import ref

from quart import request

from ratsvc.errors import Busy
from ratsvc.streaming import Connections, Sender
from ratsvc.streaming.channel import Channel
from ratsvc.streaming.connections import OnDisconnect

AGAIN_S = 5.0


class Runs:
    """The runs of one demo.

    Args:
        most: how many there may be at once.
        seconds: after so long a run is cut.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._connections = Connections(most)
        self._seconds = seconds
        self._numbers = count(1)

    def admit(self, sender: Sender, on_disconnect: OnDisconnect | None = None) -> None:
        """Lets a stream run, or ends it. Called in a view.

        Args:
            sender: of the stream that is about to be returned.
            on_disconnect: called once with the reason when it has closed.

        Raises:
            Busy: there are too many.
        """
        address = request.remote_addr or "?"
        if not self._connections.register(str(next(self._numbers)), address, sender, None, on_disconnect):
            sender.end_stream()
            most = self._connections.maximum
            raise Busy(f"at most {most} of these may run at once: try again soon", retry_after_s=AGAIN_S)
        asyncio.get_running_loop().call_later(self._seconds, _cut, ref(sender.channel))


def _cut(known: ref[Channel]) -> None:
    channel = known()
    if channel is not None:
        channel.cut("too long")
