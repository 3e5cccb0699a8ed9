"""Who is connected: a line for each reader and producer that has a stream open over the network.

An edge opens one when its exchange begins and closes it when that is over. What changes meanwhile (place, bytes) is
read from where it is counted anyway, when somebody asks. Cost: a dict entry a connection, nothing per record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from time import time_ns
from typing import Literal, Protocol

from ratsvc.flow.follow import Subscription

MAX_AGENT = 120
Role = Literal["reader", "producer"]


class Source(Protocol):
    """A producer's exchange, which counts what came."""

    @property
    def stream(self) -> str:
        """The stream that it publishes to now; "" before the first request."""

    @property
    def received(self) -> int:
        """Bytes."""


@dataclass(slots=True, frozen=True)
class Peer:
    """Who is at the other end."""

    protocol: Literal["http", "grpc"]
    address: str
    """As the network has it: `host:port`. Behind a proxy it is the proxy's."""
    agent: str
    """What it calls itself, as printable ASCII of at most MAX_AGENT characters."""

    @classmethod
    def of(cls, protocol: Literal["http", "grpc"], address: str, agent: str) -> Peer:
        """A peer with what it says made harmless and short."""
        shown = "".join(character if " " <= character <= "~" else "?" for character in agent[:MAX_AGENT])
        return cls(protocol, address, shown)


@dataclass(slots=True, frozen=True, eq=False)
class Connection:
    """One exchange: a subscription's, or a producer's."""

    number: int
    """Rises with each that is opened."""
    peer: Peer
    format: str
    place: Subscription | Source
    streams: tuple[str, ...] = ()
    """What a reader asked for."""
    since_ns: int = field(default_factory=time_ns)

    @property
    def role(self) -> Role:
        """Which end of the service it is at."""
        return "reader" if isinstance(self.place, Subscription) else "producer"

    def is_of(self, stream: str) -> bool:
        """Whether it reads or publishes a stream."""
        place = self.place
        return place.reads(stream) if isinstance(place, Subscription) else place.stream == stream


class Connections:
    """All that are open, the oldest first."""

    def __init__(self) -> None:
        self._open: dict[int, Connection] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def opened(
        self, peer: Peer, format_name: str, place: Subscription | Source, streams: tuple[str, ...] = ()
    ) -> Iterator[None]:
        """Has the exchange listed while the context is open."""
        number = next(self._numbers)
        self._open[number] = Connection(number, peer, format_name, place, streams)
        try:
            yield
        finally:
            del self._open[number]

    def page(self, after: int, limit: int, role: Role | None = None, stream: str | None = None) -> list[Connection]:
        """Up to `limit` connections after number `after`, of a role and of a stream where these are given."""
        return list(
            islice(
                (
                    one
                    for number, one in self._open.items()
                    if number > after and (role is None or one.role == role) and (stream is None or one.is_of(stream))
                ),
                limit,
            )
        )
