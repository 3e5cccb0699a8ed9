"""What a stopped log holds, in offset order: its rows, each stream's as a chain, then what the journal adds.

A row names the checksum of the row before it in its stream, so that one which is missing shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ratsvc.core.items import Gap, GapReason
from ratsvc.core.record import Batch
from ratsvc.logs.lmdb.stopped import Known, Lost, StoppedLog, Stored


class Chains:
    """Each stream's chain of rows."""

    def __init__(self, log: StoppedLog) -> None:
        self._log = log
        self._newest: dict[int, tuple[int, int]] = {}
        self._lost: set[int] = set()

    def lose(self, row: Lost) -> None:
        """A row cannot be read: nothing else is missing where the next one names it."""
        self._lost.add(row.crc)

    def follow(self, row: Stored) -> int | None:
        """The next row of its stream. Returns the offset after which rows before it are missing, if any are."""
        head, sid = row.head, row.head.sid
        before = self._newest.get(sid)
        self._newest[sid] = (row.crc, row.batch.last)
        if head.prev in self._lost:
            return None
        if before is not None:
            return before[1] if head.prev != before[0] else None
        kept = self._log.named(sid).kept
        if kept is None:
            return None  # where it began is not known
        if not kept.evicted_through:
            return 0 if head.prev else None
        return kept.first_offset - 1 if head.first > kept.first_offset > 0 else None

    def missing(self, sid: int, known: Known) -> int | None:
        """After all rows of the database: the offset after which a stream's newest rows are missing, if any are."""
        kept = known.kept
        crc, last = self._newest.get(sid, (0, kept.evicted_through if kept else 0))
        if kept is None or not kept.records or crc == kept.chain or kept.chain in self._lost:
            return None
        return last


def contents(log: StoppedLog, wanted: Callable[[str], bool]) -> Iterator[Batch | Gap]:
    """The records that belong to the log, and a gap (corrupt) where some cannot be read.

    Args:
        wanted: of which streams, by their names. Where it is not known whose records are damaged, the gap is given.
    """
    walk = _Walk(log, wanted)
    for row in log.rows():
        yield from walk.take(row)
    yield from walk.ends()
    for row in log.journal_rows():
        yield from walk.take(row)
    yield from walk.damaged(log.last_offset)


class _Walk:
    """One way through a log."""

    def __init__(self, log: StoppedLog, wanted: Callable[[str], bool]) -> None:
        self._log = log
        self._wanted = wanted
        self._chains = Chains(log)
        self._seen = 0
        self._damaged_after: int | None = None
        self._in_journal = False

    def take(self, row: Stored | Lost) -> Iterator[Batch | Gap]:
        """What comes with the next row."""
        log = self._log
        if isinstance(row, Lost):
            log.report(row.why)
            self._chains.lose(row)
            if self._damaged_after is None:
                self._damaged_after = row.first - 1 if row.first else self._seen
            return
        batch, known = row.batch, log.named(row.head.sid)
        yield from self.damaged(batch.first - 1)
        if batch.first <= self._seen:
            if not self._in_journal:  # else it is what a crash left there of a commit
                log.report(f"row {batch.first} of stream {known.name} is out of order")
            return
        self._seen = batch.last
        after = self._chains.follow(row)
        if log.is_gone(row):
            return
        if after is not None:
            yield from self._missing(known, after, batch.first - 1)
        if self._wanted(known.name):
            yield batch.part(max(0, known.evicted_through + 1 - batch.first), len(batch))

    def ends(self) -> Iterator[Gap]:
        """Between the database and the journal: what is missing of the newest rows."""
        self._in_journal = True
        for sid, known in list(self._log.streams.items()):
            after = self._chains.missing(sid, known)
            if after is not None and known.kept is not None:
                yield from self._missing(known, after, known.kept.last_offset)

    def damaged(self, to: int) -> Iterator[Gap]:
        """The gap of the damaged rows before the next good one."""
        if self._damaged_after is not None:
            yield Gap(self._damaged_after, max(self._damaged_after + 1, to), GapReason.CORRUPT)
            self._damaged_after = None

    def _missing(self, known: Known, after: int, to: int) -> Iterator[Gap]:
        self._log.report(f"stream {known.name}: rows are missing after {after}, up to {to}")
        if self._wanted(known.name):
            yield Gap(after, to, GapReason.CORRUPT)
