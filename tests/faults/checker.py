"""The one judge of all fault tests: notes of producers and readers against what the log holds at the end.

The rules, each a function here:
- what was acknowledged is stored, as it was sent, at the acknowledged offset;
- what is stored was sent, once, and each producer's records of a stream are in the order of their numbers, without
  a hole (but for those that its producer gave up);
- a reader's offsets increase; it got everything up to the end of the log, and a record of its streams that it did
  not get is covered by a gap: for a reader of one stream by exactly one, which covers nothing that it did get. (Of
  several streams one may have lost what another still has: there a gap says that something in it is missing, and
  a reader that comes back within it is told again.)
- what any reader saw is in the log, unchanged.

Pure: notes in, sentences out. Cost: O(n log n) in records seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise

from ratsvc.names import is_pattern, matches

MOST_SENTENCES = 10
"""Of each rule; how many more there are is said."""


@dataclass(slots=True, frozen=True)
class Record:
    """A record as someone knows it; `payload` is a digest of everything that was published."""

    stream: str
    producer: str
    number: int
    payload: str

    def __str__(self) -> str:
        return f"record {self.number} of {self.producer} in {self.stream}"


@dataclass(slots=True, frozen=True)
class Stored:
    """A record at its offset, in the log or as a reader saw it."""

    epoch: str
    offset: int
    record: Record

    def __str__(self) -> str:
        return f"offset {self.offset} ({self.record})"


@dataclass(slots=True, frozen=True)
class Gap:
    """Records after offset `after`, up to `to`, that a reader was told it cannot get."""

    after: int
    to: int
    reason: str = ""

    def covers(self, offset: int) -> bool:
        """Whether a record there is among the missing."""
        return self.after < offset <= self.to


@dataclass(slots=True)
class ProducerNotes:
    """What a producer was about to send, what was acknowledged (number → offset, 0: not known any more), and what
    it gave up."""

    name: str
    sent: list[Record] = field(default_factory=list)
    acknowledged: dict[int, int] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)


@dataclass(slots=True)
class ReaderNotes:
    """What a reader of `streams` (names and patterns) saw, in order, over all its connections."""

    name: str
    streams: tuple[str, ...]
    items: list[Stored | Gap] = field(default_factory=list)

    @property
    def is_of_one(self) -> bool:
        """Whether it reads one stream."""
        return len(self.streams) == 1 and not is_pattern(self.streams[0])

    def wants(self, stream: str) -> bool:
        """Whether it reads a stream."""
        return any(matches(pattern, stream) for pattern in self.streams)


@dataclass(slots=True)
class LogNotes:
    """What the log holds at the end. Up to the offset `evicted` retention may have removed records."""

    epoch: str
    records: list[Stored]
    evicted: int = 0


def check(producers: Sequence[ProducerNotes], readers: Sequence[ReaderNotes], log: LogNotes) -> list[str]:
    """All violations, as sentences; none when every promise was kept."""
    rules: list[Iterator[str]] = [
        _log_order(log),
        _acknowledged_is_stored(producers, log),
        _stored_was_sent(producers, log),
        _stored_once(log),
        _in_order(producers, log),
    ]
    known = _known(producers, log)
    rules.append(_seen_is_stored(readers, known, log))
    for reader in readers:
        rules += [_increasing(reader), _holes(reader, known, log.evicted), _gaps(reader)]
    return [sentence for rule in rules for sentence in _some(rule)]


def _some(sentences: Iterator[str]) -> Iterator[str]:
    yield from islice(sentences, MOST_SENTENCES)
    if more := sum(1 for _ in sentences):
        yield f"… and {more} more of that kind"


def _log_order(log: LogNotes) -> Iterator[str]:
    for before, after in pairwise(log.records):
        if after.offset <= before.offset:
            yield f"the log gives {after} after {before}"


def _acknowledged_is_stored(producers: Iterable[ProducerNotes], log: LogNotes) -> Iterator[str]:
    at = {stored.offset: stored.record for stored in log.records}
    somewhere = set(at.values())
    for producer in producers:
        sent = {record.number: record for record in producer.sent}
        for number, offset in producer.acknowledged.items():
            record = sent.get(number)
            if record is None:
                yield f"record {number} of {producer.name} was acknowledged and never sent"
            elif not offset:
                if record not in somewhere and not log.evicted:
                    yield f"acknowledged, but not stored: {record}"
            elif offset not in at:
                if offset > log.evicted:
                    yield f"acknowledged at offset {offset}, where nothing is stored: {record}"
            elif at[offset] != record:
                yield f"acknowledged at offset {offset}, where something else is stored: {record}, not {at[offset]}"


def _stored_was_sent(producers: Iterable[ProducerNotes], log: LogNotes) -> Iterator[str]:
    sent = {(record.producer, record.number): record for producer in producers for record in producer.sent}
    for stored in log.records:
        record = sent.get((stored.record.producer, stored.record.number))
        if record is None:
            yield f"stored, but never sent: {stored}"
        elif record != stored.record:
            yield f"stored otherwise than it was sent: {stored}"


def _stored_once(log: LogNotes) -> Iterator[str]:
    first: dict[tuple[str, int], int] = {}
    for stored in log.records:
        key = stored.record.producer, stored.record.number
        if first.setdefault(key, stored.offset) != stored.offset:
            yield f"stored twice: {stored}, and before at offset {first[key]}"


def _in_order(producers: Iterable[ProducerNotes], log: LogNotes) -> Iterator[str]:
    stored: dict[tuple[str, str], list[Stored]] = defaultdict(list)
    for one in log.records:
        stored[one.record.producer, one.record.stream].append(one)
    for some in stored.values():
        for before, after in pairwise(some):
            if after.record.number < before.record.number:
                yield f"out of order: {after} comes after {before}"
    for producer in producers:
        for stream in {record.stream for record in producer.sent}:
            numbers = {one.record.number for one in stored.get((producer.name, stream), ())}
            oldest = min(numbers, default=0) if log.evicted else 0
            for record in producer.sent:
                lost = record.stream == stream and record.number not in numbers | producer.failed
                if lost and oldest < record.number < max(numbers, default=0):
                    yield f"skipped: {record} is not stored, and later ones are"


def _seen_is_stored(readers: Iterable[ReaderNotes], everything: Sequence[Stored], log: LogNotes) -> Iterator[str]:
    known = {stored.offset: stored for stored in everything}
    for reader in readers:
        for item in reader.items:
            if isinstance(item, Gap):
                continue
            if item.epoch != log.epoch:
                yield f"reader {reader.name} saw {item} in epoch {item.epoch}; the log's epoch is {log.epoch}"
                continue
            stored = known.get(item.offset)
            if stored is None:
                if item.offset > log.evicted:
                    yield f"reader {reader.name} saw {item}, which is not in the log"
                known[item.offset] = item  # all readers must have seen the same there
            elif stored.record != item.record:
                yield f"reader {reader.name} saw {item}; there is {stored}"


def _known(producers: Iterable[ProducerNotes], log: LogNotes) -> list[Stored]:
    """What the log holds, and what it held by the acknowledgements, in order."""
    known = {}
    for producer in producers if log.evicted else ():
        sent = {record.number: record for record in producer.sent}
        for number, offset in producer.acknowledged.items():
            if 0 < offset <= log.evicted and number in sent:
                known[offset] = Stored(log.epoch, offset, sent[number])
    known.update({stored.offset: stored for stored in log.records})
    return [known[offset] for offset in sorted(known)]


def _increasing(reader: ReaderNotes) -> Iterator[str]:
    seen = [item for item in reader.items if isinstance(item, Stored)]
    for before, after in pairwise(seen):
        if after.offset <= before.offset:
            yield f"reader {reader.name} saw {after} after {before}"
    for item in seen:
        if not reader.wants(item.record.stream):
            yield f"reader {reader.name} saw {item}, which it did not ask for"


def _holes(reader: ReaderNotes, known: Sequence[Stored], evicted: int) -> Iterator[str]:
    """Of what retention may have removed, only what came after the reader's first item counts."""
    begun = min((i.after if isinstance(i, Gap) else i.offset for i in reader.items[:1]), default=0) if evicted else 0
    seen = {item.offset for item in reader.items if isinstance(item, Stored)}
    gaps = [item for item in reader.items if isinstance(item, Gap)]
    wanted = [stored for stored in known if stored.offset > begun and reader.wants(stored.record.stream)]
    most = 1 if reader.is_of_one else len(gaps)

    def covered(stored: Stored) -> int:
        return -1 if stored.offset in seen else sum(gap.covers(stored.offset) for gap in gaps)

    for count, run in groupby(wanted, covered):
        missing = list(run)
        if count == -1 or 1 <= count <= most:
            continue
        span = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else f"{missing[0]}"
        told = "and no gap says so" if not count else f"and {count} gaps say so"
        yield f"reader {reader.name} did not get {len(missing)} records, {span}, {told}"


def _gaps(reader: ReaderNotes) -> Iterator[str]:
    if not reader.is_of_one:
        return
    offsets = sorted({item.offset for item in reader.items if isinstance(item, Stored)})
    for gap in (item for item in reader.items if isinstance(item, Gap)):
        got = [offset for offset in offsets if gap.covers(offset)] if gap.reason != "epoch" else []
        if got:
            yield f"reader {reader.name} was told of a gap after {gap.after} to {gap.to}, and got offset {got[0]}"
