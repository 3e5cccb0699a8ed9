"""What an archive says: a head, each stream's settings, batches and gaps in offset order, what producers had sent, and
a summary at its end.

The summary counts what came before it, with a CRC32C of all those bytes: an archive that was cut or changed shows.
Version 1 had no producers; it is read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from ratsvc.core.dedupe import KEY_PREFIX, REMEMBERED
from ratsvc.core.items import Gap, GapReason
from ratsvc.core.record import Batch
from ratsvc.errors import InvalidArgument, RatError
from ratsvc.names import check_name, check_producer_id
from ratsvc.quickmem import ValueLimits, parse_records

VERSION = 2
READ = (1, 2)
"""The versions that are read."""
MAX_RECORD_BYTES = 1 << 30
MAX_TIME_NS = MAX_OFFSET = MAX_SEQUENCE = 1 << 63
MAX_EPOCH = 1 << 64
FOREIGN = "it is not an archive that `ratsvc log export` made"
_limits = ValueLimits(value_bytes=MAX_RECORD_BYTES)


class Head(NamedTuple):
    """Of which log it is."""

    epoch: str
    last_offset: int
    version: int = VERSION


class StreamSettings(NamedTuple):
    """A stream."""

    name: str
    created_ns: int
    max_records: int
    max_bytes: int
    max_age_s: float
    """What was asked to be kept; 0: nothing was said."""
    ended: bool


class ProducerState(NamedTuple):
    """What an idempotent producer, an idempotency key or an upload had sent."""

    id: str
    epoch: int
    expected: int
    """The sequence number that comes next."""
    idle_ns: int
    """How long before the export it was used."""
    publishes: tuple[tuple[int, int], ...]
    """Of its newest publishes, the first sequence number and its offset, oldest first."""


class Summary(NamedTuple):
    """The end."""

    streams: int
    records: int
    bytes: int
    gaps: int
    """How many holes there are, of records that could not be read."""
    producers: int
    crc32c: int


Word = Head | StreamSettings | Batch | Gap | ProducerState | Summary


class Writer(Protocol):
    """Makes the bytes of an archive: a head first, then streams before their records, producers, a summary last."""

    def head(self, head: Head) -> bytes:
        """What an archive begins with."""

    def stream(self, settings: StreamSettings) -> bytes:
        """A stream."""

    def batch(self, batch: Batch) -> bytes:
        """Records."""

    def gap(self, gap: Gap) -> bytes:
        """Records are missing here."""

    def producer(self, state: ProducerState) -> bytes:
        """A producer."""

    def summary(self, summary: Summary) -> bytes:
        """The end."""


class Tally:
    """What there is in an archive."""

    def __init__(self) -> None:
        self.streams = self.records = self.bytes = self.gaps = self.producers = 0

    def add(self, word: Batch | Gap | ProducerState | StreamSettings) -> None:
        """Counts a word."""
        if isinstance(word, Batch):
            self.records += len(word)
            self.bytes += word.size
        elif isinstance(word, Gap):
            self.gaps += 1
        elif isinstance(word, ProducerState):
            self.producers += 1
        else:
            self.streams += 1

    def summary(self, crc32c: int) -> Summary:
        """What was counted."""
        return Summary(self.streams, self.records, self.bytes, self.gaps, self.producers, crc32c)


class Rules:
    """The rules of an archive, held to what is read of it, in order. All raise InvalidArgument where one is broken."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._producers: set[str] = set()
        self._last = 0
        self._tally = Tally()

    def head(self, head: Head) -> Head:
        """The beginning."""
        if not 0 <= head.last_offset < MAX_OFFSET:
            raise InvalidArgument("the last offset is out of range")
        return head

    def settings(self, settings: StreamSettings) -> StreamSettings:
        """A stream's settings; its records may follow."""
        check_name(settings.name)
        if settings.name in self._known:
            raise InvalidArgument(f"stream {settings.name} comes twice")
        least = min(settings.created_ns, settings.max_records, settings.max_bytes, settings.max_age_s)
        if not least >= 0 or not settings.max_age_s < float("inf") or settings.created_ns >= MAX_TIME_NS:
            raise InvalidArgument(f"the settings of stream {settings.name} are out of range")
        self._known.add(settings.name)
        self._tally.add(settings)
        return settings

    def stream(self, name: str) -> None:
        """A stream that has records."""
        if name not in self._known:
            raise InvalidArgument(f"the settings of stream {name[:200]!a} did not come before it")

    def batch(self, stream: str, offsets: Sequence[int], time_ns: int, records: list[bytes]) -> Batch:
        """Records of a stream."""
        self.stream(stream)
        if len(offsets) != len(records) or not records or offsets[0] <= self._last:
            raise InvalidArgument("the offsets are out of order")
        if offsets[-1] >= MAX_OFFSET:
            raise InvalidArgument("the offset is out of range")
        if not 0 <= time_ns < MAX_TIME_NS:
            raise InvalidArgument("the time is out of range")
        try:
            columns = parse_records(records, _limits)
        except RatError as error:
            raise InvalidArgument(error.detail) from None
        batch = Batch(stream, offsets, time_ns, records, columns.keys, columns.events)
        self._last = batch.last
        self._tally.add(batch)
        return batch

    def gap(self, after: int, to: int) -> Gap:
        """Records that the exported log had lost."""
        gap = Gap(after, to, GapReason.CORRUPT)
        self._tally.add(gap)
        return gap

    def producer(self, state: ProducerState) -> ProducerState:
        """A producer."""
        check_producer_id(state.id.removeprefix(KEY_PREFIX))
        if state.id in self._producers:
            raise InvalidArgument(f"producer {state.id} comes twice")
        publishes = ((0, 0), *state.publishes, (state.expected, MAX_OFFSET))
        in_order = all(s < t and o < p for (s, o), (t, p) in pairwise(publishes))
        in_range = state.expected <= MAX_SEQUENCE and 0 <= state.epoch < MAX_EPOCH and 0 <= state.idle_ns < MAX_TIME_NS
        if not in_order or not in_range or len(state.publishes) > REMEMBERED:
            raise InvalidArgument(f"the numbers of producer {state.id} are out of range or order")
        self._producers.add(state.id)
        self._tally.add(state)
        return state

    def summary(self, summary: Summary, crc32c: int) -> Summary:
        """The end, after bytes with this checksum."""
        if summary != self._tally.summary(crc32c):
            raise InvalidArgument("what comes before is not what was exported: the archive was changed")
        return summary
