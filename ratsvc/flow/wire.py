"""What a subscription is written to."""

from __future__ import annotations

from typing import Protocol

from ratsvc.core.record import Encoding, Framing
from ratsvc.flow.coded import Coding


class Wire(Protocol):
    """A live reader's connection: see `Member`."""

    @property
    def coding(self) -> Coding | None:
        """How its bytes are compressed."""

    def push(self, data: Encoding, offset: int) -> bool: ...

    def framing(self) -> Framing:
        """How bytes are framed on it."""


class Sent:
    """Where it is counted what a reader was sent, in bytes."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = 0


class Sender(Protocol):
    """What writes to a reader, and counts its bytes."""

    sent: int
