"""What was sent and is not acknowledged: batches, their numbers, and retries that cannot duplicate.

Records gather in a batch per stream until it is full or sealed; a batch that is sealed gets its sequence numbers and
keeps them, whatever is retried. Answers come in order. After a lost connection everything unacknowledged is sent again
as it was: what the log has already is acknowledged as a duplicate. A batch that is refused for good leaves a hole in
the numbers, and the service refuses what follows it; then a new epoch begins and the rest is numbered anew, which is
safe because none of it can have been stored.

It does no I/O, and knows neither event loop nor connection: `producer` sends what `next_request` gives, and says here
what came of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic, time
from typing import Protocol

from rat.v1 import producer_pb2 as pb

from ratsvc.client.status import is_retryable
from ratsvc.core.run import pieces
from ratsvc.errors import Busy, DiskFull, OutOfSequence, ProducerFenced, RatError, TooLarge, Unavailable


@dataclass(slots=True, frozen=True)
class Delivered:
    """Where a record is: its offset (0 when the service no longer knows), and its cursor."""

    offset: int
    cursor: str
    duplicate: bool


class Promise(Protocol):
    """What the sender of a record has of it: a future."""

    def done(self) -> bool: ...

    def set_result(self, result: Delivered, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...

    def exception(self) -> BaseException | None: ...


@dataclass(slots=True, eq=False)
class Batch:
    """Records of one stream that go in one request."""

    stream: str
    records: list[bytes] = field(default_factory=list)
    futures: list[Promise] = field(default_factory=list)
    size: int = 0
    sequence: int = 0
    deadline: float = 0.0
    tried: bool = False
    """Whether it was ever sent, so that it may be stored."""
    in_doubt: bool = False
    """Whether an answer to it was lost, so that it may be stored whatever is said of it later."""
    refused: RatError | None = None
    """Why it is not sent again: it fails when all before it are acknowledged."""

    def request(self, producer_id: str, epoch: int) -> bytes:
        """The serialised `rat.v1.PublishRequest`."""
        head = pb.PublishRequest(
            stream=self.stream,
            producer=pb.ProducerRef(id=producer_id, epoch=epoch, sequence=self.sequence),
        )
        return b"".join([head.SerializeToString(), *pieces(self.records)])

    def delivered(self, ack: pb.PublishResponse) -> None:
        """Tells the senders."""
        for at, future in enumerate(self.futures):
            if not future.done():
                duplicate = at < ack.duplicates
                # New records end the batch without a hole; duplicates begin it.
                offset = ack.first_offset + at if duplicate else ack.last_offset - (len(self.futures) - 1 - at)
                offset = 0 if duplicate and not ack.first_offset else offset
                future.set_result(Delivered(offset, f"{ack.epoch}-{offset}", duplicate))

    def failed(self, error: RatError) -> None:
        """Tells the senders."""
        for future in self.futures:
            if not future.done():
                future.set_exception(error.again())
                future.exception()  # whoever does not look at it is not warned: `flush` says it


class Outbox:
    """All batches of a producer, from the first record to the answer.

    Args:
        producer_id: as the service is told it.
        address: where they go, for errors.
        max_records, max_bytes: when a batch is full.
        window: how many batches may be in flight.
        timeout_s: how long after it was sealed a batch is given up.
        changed: called when there may be more to send, or less is buffered.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        producer_id: str,
        address: str,
        *,
        max_records: int,
        max_bytes: int,
        window: int,
        timeout_s: float,
        changed: Callable[[], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._id = producer_id
        self._address = address
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._window = window
        self._timeout_s = timeout_s
        self._changed = changed
        self._clock = clock
        self._epoch = int(time() * 1000)
        self._next = 1
        self._open: dict[str, Batch] = {}
        self._sealed: deque[Batch] = deque()
        self._sent = 0
        self._trouble: RatError | None = None
        self.buffered = 0
        """Bytes of all records."""
        self.failure: RatError | None = None
        """The first failure that nobody was told of by `flush`."""
        self.dead: RatError | None = None
        """Why no more is taken: another producer took over."""

    @property
    def first(self) -> Batch | None:
        """The oldest batch that is sealed."""
        return self._sealed[0] if self._sealed else None

    @property
    def is_empty(self) -> bool:
        """Whether everything was answered."""
        return not self._sealed and not self._open

    def add(self, stream: str, record: bytes, future: Promise) -> Batch | None:
        """Takes a record; returns the batch that it begins, if it does, which somebody has to `seal` in time."""
        begun = None
        batch = self._open.get(stream)
        if batch is None or batch.size + len(record) > self._max_bytes:
            self.seal(stream)
            batch = begun = self._open[stream] = Batch(stream)
        batch.records.append(record)
        batch.futures.append(future)
        batch.size += len(record)
        self.buffered += len(record)
        if len(batch.records) >= self._max_records:
            self.seal(stream)
        return begun

    def seal(self, stream: str, only: Batch | None = None) -> None:
        """Makes a stream's open batch ready to be sent: `only` that one, where it is given."""
        batch = self._open.get(stream)
        if batch is None or (only is not None and batch is not only):
            return
        del self._open[stream]
        batch.sequence = self._next
        batch.deadline = self._clock() + self._timeout_s
        self._next += len(batch.records)
        self._sealed.append(batch)
        self._changed()

    def seal_all(self) -> None:
        """Makes all that is open ready to be sent."""
        for stream in list(self._open):
            self.seal(stream)

    def connected(self) -> None:
        """A connection begins: nothing was sent on it."""
        self._sent = 0

    def next_request(self) -> bytes | None:
        """What to send next on this connection; None when that is nothing for now."""
        if self._sent >= min(len(self._sealed), self._window) or self._sealed[self._sent].refused:
            return None
        batch = self._sealed[self._sent]
        self._sent += 1
        batch.tried = True
        return batch.request(self._id, self._epoch)

    def acknowledged(self, ack: pb.PublishResponse) -> bool:
        """The first batch is stored. False: the next one is to fail, and this connection has to end."""
        self._trouble = None
        self._take_first().delivered(ack)
        return not (self._sealed and self._sealed[0].refused)

    def refused(self, error: RatError) -> float | None:
        """The first batch was refused, and the connection is over. Returns how long to wait before the next one; None
        for a back-off."""
        if isinstance(error, ProducerFenced):
            self.dead = error
            self.fail_all(error)
            return 0.0
        if is_retryable(error):
            self._trouble = error
            return error.retry_after_s
        if not isinstance(error, OutOfSequence):
            self._fail(self._take_first(), error)
        self._renumber()
        return 0.0

    def ended(self) -> None:
        """The service ended the connection, and had no reason to complain."""
        self._trouble = None
        self._doubt()

    def broken(self, error: RatError) -> None:
        """The connection broke."""
        self._trouble = error
        if not isinstance(error, Busy | DiskFull):  # those refuse a connection before anything of it is taken
            self._doubt()
        if isinstance(error, TooLarge) and self._sent:
            # The transport refused one of those sent, and does not say which: none is larger than this one.
            max(islice(self._sealed, self._sent), key=lambda batch: batch.size).refused = error

    def fail_refused(self) -> bool:
        """Fails the first batch when it was refused by what is between here and the service; False: it was not."""
        if not self._sealed or not (refused := self._sealed[0].refused):
            return False
        self._fail(self._take_first(), refused)
        self._renumber()
        return True

    def expire(self) -> None:
        """Gives up what is too late, and with it all that was sent behind it: what may be stored must not be sent
        again under another number."""
        expired = False
        while self._sealed and (self._clock() > self._sealed[0].deadline or (expired and self._sealed[0].tried)):
            late = self._take_first()
            self._fail(late, self._too_late(late))
            expired = True
        if expired:
            self._renumber()

    def fail_all(self, error: RatError) -> None:
        """Gives up everything."""
        self.seal_all()
        while self._sealed:
            self._fail(self._take_first(), error)

    def _renumber(self) -> None:
        """Begins a new epoch for everything that is not stored: the next one, which does not shut out a producer that
        began later and has published nothing yet."""
        self._epoch += 1
        self._next = 1
        for batch in self._sealed:
            batch.sequence = self._next
            self._next += len(batch.records)

    def _doubt(self) -> None:
        """What was sent on the connection that is lost may be stored."""
        for batch in islice(self._sealed, max(self._sent, 0)):
            batch.in_doubt = True

    def _too_late(self, batch: Batch) -> RatError:
        trouble = self._trouble
        late = f"not delivered to {self._address} in {self._timeout_s:g} s"
        if (
            isinstance(trouble, Busy | DiskFull) and not batch.in_doubt
        ):  # said of the first of them: what follows it cannot be stored either
            return type(trouble)(f"{late}: {trouble.detail}")
        why = f" ({trouble.detail})" if trouble else ""
        return Unavailable(f"{late}{why}; it may be stored all the same")

    def _take_first(self) -> Batch:
        batch = self._sealed.popleft()
        self._sent -= 1
        self.buffered -= batch.size
        self._changed()
        return batch

    def _fail(self, batch: Batch, error: RatError) -> None:
        self.failure = self.failure or error
        batch.failed(error)
