"""What a reader asks for, as both edges say it to the broker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ratsvc.core.cursor import Cursor, Earliest, LastN, Latest, SinceTime, Start, Until
from ratsvc.errors import InvalidArgument

LATEST = Latest()


class Overflow(Enum):
    """What happens when the reader is too slow."""

    CATCH_UP = "catch-up"
    LATEST = "latest"
    DISCONNECT = "disconnect"


@dataclass(slots=True, frozen=True)
class ReadRequest:
    """What a reader wants, checked."""

    streams: tuple[str, ...]
    start: Start = LATEST
    until: Until | None = None
    limit: int | None = None
    keys: frozenset[str] | None = None
    events: frozenset[str] | None = None
    overflow: Overflow = Overflow.CATCH_UP
    heartbeat_s: float | None = None
    must_exist: bool = False
    snapshot: bool = False
    delta: bool = False
    """Whether values are told as patches, where the reader has the one before."""

    def check(self) -> None:
        """Refuses what contradicts a snapshot. Raises InvalidArgument."""
        if not self.snapshot:
            return
        if isinstance(self.start, Earliest | LastN | SinceTime):
            raise InvalidArgument(
                "snapshot and from exclude each other: a snapshot is of now; from may only be a cursor, to go on after"
                " one",
                field="snapshot",
            )
        if isinstance(self.until, Cursor):
            raise InvalidArgument(
                "snapshot and until exclude each other: a snapshot is of now; until may only be 'now', to end after it",
                field="snapshot",
            )
