"""What an archive says: a head, each stream's settings, batches and gaps in offset order, and a summary at its end.

The summary counts what came before it, with a CRC32C of all those bytes: an archive that was cut or changed shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ratsvc.core.record import Batch, Gap
from ratsvc.errors import InvalidArgument, RatError
from ratsvc.names import check_name
from ratsvc.quickmem import ValueLimits, parse_records

VERSION = 1
MAX_RECORD_BYTES = 1 << 30
MAX_TIME_NS = 1 << 63
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


class Summary(NamedTuple):
    """The end."""

    streams: int
    records: int
    bytes: int
    gaps: int
    """How many holes there are, of records that could not be read."""
    crc32c: int


Word = Head | StreamSettings | Batch | Gap | Summary


class Writer(Protocol):
    """Makes the bytes of an archive: a head first, then streams before their records, a summary last."""

    def head(self, head: Head) -> bytes:
        """What an archive begins with."""

    def stream(self, settings: StreamSettings) -> bytes:
        """A stream."""

    def batch(self, batch: Batch) -> bytes:
        """Records."""

    def gap(self, gap: Gap) -> bytes:
        """Records are missing here."""

    def summary(self, summary: Summary) -> bytes:
        """The end."""


def checked(
    stream: str, offsets: Sequence[int], time_ns: int, records: list[bytes], after: int, known: dict[str, None]
) -> Batch:
    """A batch that was read.

    Args:
        after: the newest offset before it.
        known: the streams whose settings came.

    Raises:
        InvalidArgument: it breaks a rule.
    """
    if stream not in known:
        raise InvalidArgument(f"the settings of stream {stream[:200]!a} did not come before it")
    if len(offsets) != len(records) or not records or offsets[0] <= after:
        raise InvalidArgument("the offsets are out of order")
    if not 0 <= time_ns < MAX_TIME_NS:
        raise InvalidArgument("the time is out of range")
    try:
        columns = parse_records(records, _limits)
    except RatError as error:
        raise InvalidArgument(error.detail) from None
    return Batch(stream, offsets, time_ns, records, columns.keys, columns.events)


def checked_settings(settings: StreamSettings, known: dict[str, None]) -> StreamSettings:
    """Settings that were read; their stream is known from now on. Raises InvalidArgument."""
    check_name(settings.name)
    if settings.name in known:
        raise InvalidArgument(f"stream {settings.name} comes twice")
    least = min(settings.created_ns, settings.max_records, settings.max_bytes, settings.max_age_s)
    if not least >= 0 or not settings.max_age_s < float("inf") or settings.created_ns >= MAX_TIME_NS:
        raise InvalidArgument(f"the settings of stream {settings.name} are out of range")
    known[settings.name] = None
    return settings


class Tally:
    """What was read, to be compared with the summary."""

    def __init__(self) -> None:
        self.streams = self.records = self.bytes = self.gaps = 0

    def add(self, word: Batch | Gap | StreamSettings) -> None:
        """Counts a word."""
        if isinstance(word, Batch):
            self.records += len(word)
            self.bytes += word.size
        elif isinstance(word, Gap):
            self.gaps += 1
        else:
            self.streams += 1

    def summary(self, crc32c: int) -> Summary:
        """What was counted."""
        return Summary(self.streams, self.records, self.bytes, self.gaps, crc32c)

    def compare(self, summary: Summary, crc32c: int) -> None:
        """Raises InvalidArgument when the summary says something else."""
        if summary != self.summary(crc32c):
            raise InvalidArgument("what comes before is not what was exported: the archive was changed")
