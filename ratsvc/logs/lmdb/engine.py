"""The `lmdb` engine: records outlive the process.

With `always` each append is a commit. With `interval` an append goes to the journal first, and the commit, of all that
waits there, follows within the interval.

What a write changes is worked out on copies (`Change`) and shows when the write is done: a failed one changes nothing.
A record's age is the time that the log was open since: a wrong clock, or a pause, expires nothing.
Here are the order of things and the log's figures; what a commit is, `commit` says, which records go, `retaining`, and
what a read is, `reads`.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from time import monotonic, monotonic_ns

import google_crc32c
import lmdb
import structlog

from ratsvc.core.dedupe import Claim, Dedupe
from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import DiskFull, LogRefused
from ratsvc.logs.limits import DiskLimits
from ratsvc.logs.lmdb.commit import Commits
from ratsvc.logs.lmdb.directory import ADVICE, Directory, disk_full, is_full
from ratsvc.logs.lmdb.finding import first_since, newest
from ratsvc.logs.lmdb.journal import Group, Journal, JournalClaim, JournalRow, Waiting
from ratsvc.logs.lmdb.kept import FORMAT, Change, Meta, load_meta, load_streams, load_tombstones, load_trash
from ratsvc.logs.lmdb.places import Place, Reader
from ratsvc.logs.lmdb.producers import Producers
from ratsvc.logs.lmdb.reads import read
from ratsvc.logs.lmdb.retaining import Retaining, empty
from ratsvc.logs.lmdb.room import Room
from ratsvc.logs.lmdb.rows import Damaged, Row, row_of
from ratsvc.logs.lmdb.store import MIB, Store

_log = structlog.get_logger()

RESERVED = 1 << 20
PENDING_BYTES = 16 * MIB
EXPIRED_A_CALL = 500
FIRST_LONGEST = 64 * 1024
FLUSH_AHEAD_S = 0.6
"""`tend` is called every 0.5 s, and what waits must be on disk before its interval has passed."""


class LmdbLog:
    """See `ratsvc.logs.protocol.Log`.

    Args:
        directory: of this process alone.
        policy: what is kept of a stream by the settings.
        flush_interval_s: 0: each append is on disk when it returns; else it may be that much later.
        limits: how much of the disk it may take, looked at twice a second; and how long a start looks for damage.
        clock: nanoseconds that never go back.
    """

    durable = True

    def __init__(
        self,
        registry: Registry,
        dedupe: Dedupe,
        directory: Path,
        *,
        policy: Callable[[str], Retention],
        flush_interval_s: float = 0.0,
        limits: DiskLimits | None = None,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self.registry = registry
        self.dedupe = dedupe
        self.bytes = 0
        self.evicted = 0
        self._policy = policy
        self._interval_s = flush_interval_s
        self._clock = clock
        self._places: dict[str, Place] = {}
        self._dirty: dict[str, None] = {}
        self._waiting = Waiting()
        self._writing = asyncio.Lock()
        self._expire_from = ""
        self._directory = Directory(directory)
        try:
            self._directory.settle()
            limits = limits or DiskLimits()
            self._store = Store(self._directory, limits.survey_s)
            self._room = Room(limits, self._directory, self._store)
            try:
                self._load()
            except BaseException:
                self._store.close()
                raise
        except BaseException:
            self._directory.close()
            raise

    # Opening

    def _load(self) -> None:
        self._opened = self._clock()
        try:
            found = load_meta(self._store, self._directory)
            self._meta = found or Meta(FORMAT, secrets.token_hex(4), 0, 0, 0, 0, 0, 1, 0, FIRST_LONGEST, 0)
            self.epoch = self._meta.epoch
            self.last_offset = self._meta.last_offset
            self.last_time_ns = self._meta.last_time_ns
            self._uptime_before = self._meta.uptime_ns
            self._next_sid = self._meta.next_sid
            self._reader = Reader(self._store, self._meta.longest)
            self._retaining = Retaining(self._store, self._reader, self._places)
            trash = self._load_streams()
            producers = Producers(self._store, self.dedupe)
            self._commits = Commits(self._store, self._directory, self.registry, producers, trash)
            self._journal = Journal(self._directory.journal)
            self._replay()
            self.last_offset = max(self.last_offset, self._meta.reserved)
            self._store.compact()
        except (Damaged, lmdb.Error) as error:
            raise LogRefused(f"{self._directory.data} is damaged: {error}. {ADVICE}") from None

    def _load_streams(self) -> dict[int, int]:
        """Takes over all streams; returns what is left to sweep."""
        self.registry.restore(load_tombstones(self._store), self._meta.floor)
        trash = load_trash(self._store)
        for place in load_streams(self._store, self._policy):
            info = place.info
            self.registry.add(info)
            self._places[info.name] = place
            self.bytes += info.bytes
            self._retaining.push(info)
            if info.evicted_through:
                trash[place.sid] = info.evicted_through
        return trash

    def _replay(self) -> None:
        """Takes over what a crash left in the journal."""
        records = 0
        for group in self._journal.groups():
            if not group.is_after(self.last_offset):
                continue
            changes: dict[str, Change] = {}
            rows = []
            for kept in group.rows:
                place = self._places.get(kept.stream)
                if place is None:
                    info = StreamInfo(kept.stream, Retention().over(self._policy(kept.stream)), kept.created_ns)
                    place = self._adopt(info, kept.sid)
                    self._next_sid = max(self._next_sid, kept.sid + 1)
                rows.append(kept.row())
                Change.within(changes, place).add(rows[-1])
                records += kept.records
            if rows:
                self._uptime_before = max(self._uptime_before, rows[-1].entry.uptime_ns)
            for claim in group.claims:
                self.dedupe.claim(claim.claim(), self.uptime_ns)
            self.dedupe.commit()
            for change in changes.values():
                self._retaining.trim(change, self.uptime_ns)
            self._keep(group, rows, changes)
        if records:
            _log.info("journal_replayed", records=records)

    # Writing

    @property
    def uptime_ns(self) -> int:
        """Nanoseconds that the log was open, in all its runs."""
        return self._uptime_before + self._clock() - self._opened

    async def append(self, batches: Sequence[Batch], claims: Sequence[Claim] = (), *, flushed: bool = False) -> None:
        if self._room.is_full:
            raise DiskFull("the disk is nearly full: no records are taken until there is room", retry_after_s=5)
        async with self._writing:
            uptime = self.uptime_ns
            changes: dict[str, Change] = {}
            rows = []
            for batch in batches:
                change = Change.within(changes, self._places[batch.stream])
                rows.append(row_of(batch, change.place.sid, change.chain, uptime))
                change.add(rows[-1])
            for change in changes.values():
                self._retaining.trim(change, uptime)
            size = sum(len(row.body) for row in rows)
            must_flush = flushed or not self._interval_s or batches[-1].last > self._meta.reserved
            if must_flush or self._waiting.bytes + size > PENDING_BYTES:
                await self._commit(changes, rows, claims)
                return
            kept = [
                JournalRow.of(row, batch.stream, self._places[batch.stream].info.created_ns)
                for row, batch in zip(rows, batches, strict=True)
            ]
            group = Group(kept, [JournalClaim.of(claim) for claim in claims])
            try:
                await self._store.in_thread(lambda: self._journal.append(group))
            except OSError as error:
                if is_full(error):
                    raise disk_full() from None
                self._commits.is_broken = True
                raise
            self._keep(group, rows, changes)

    async def flush(self) -> None:
        """Returns when all that was written is on disk."""
        async with self._writing:
            if self._waiting.groups or self._dirty:
                await self._commit({}, (), ())

    async def create(self, info: StreamInfo) -> None:
        self._adopt(info, self._next_sid)
        self._next_sid += 1

    async def update(self, info: StreamInfo, asked: Retention, retention: Retention) -> None:
        def change(one: Change) -> None:
            one.info.asked, one.info.retention = asked, retention
            self._retaining.trim(one, self.uptime_ns)

        await self._alter(info, change)

    async def end(self, info: StreamInfo) -> None:
        def change(one: Change) -> None:
            one.info.ended = True

        await self._alter(info, change)

    async def purge(self, info: StreamInfo) -> None:
        await self._alter(info, empty)

    async def delete(self, info: StreamInfo) -> None:
        async with self._writing:
            change = Change.of(self._places[info.name])
            empty(change)
            await self._commit({info.name: change}, (), (), removed=change.place)

    async def tend(self) -> None:
        """Expires what is too old, looks at the disk, and flushes what is due. Called twice a second."""
        self.dedupe.expire(self.uptime_ns)
        async with self._writing:
            self._room.look(self.bytes)
            changes: dict[str, Change] = {}
            page = self.registry.page(">", self._expire_from, EXPIRED_A_CALL)
            self._expire_from = page[-1].name if len(page) == EXPIRED_A_CALL else ""
            for info in page:
                if info.records and info.retention.max_age_s:
                    change = Change.of(self._places[info.name])
                    if self._retaining.trim(change, self.uptime_ns):
                        changes[info.name] = change
            self._retaining.keep_within(self._room.max_bytes, self.bytes, changes)
            due = self._waiting.groups and monotonic() - self._waiting.since + FLUSH_AHEAD_S > self._interval_s
            if changes or due or self._commits.trash or self.dedupe.forgotten:
                try:
                    await self._commit(changes, (), ())
                except DiskFull as error:
                    _log.warning("flush_failed", error=error.detail)

    async def close(self) -> None:
        try:
            async with self._writing:
                if not self._commits.is_broken:
                    await self._commit({}, (), (), closing=True)
        except (DiskFull, lmdb.Error) as error:
            _log.error("flush_failed", error=str(error))
        finally:
            self._store.close()
            self._journal.close()
            self._directory.close()

    def _adopt(self, info: StreamInfo, sid: int) -> Place:
        self.registry.add(info)
        self._dirty[info.name] = None
        place = self._places[info.name] = Place(info, sid)
        return place

    async def _alter(self, info: StreamInfo, alter: Callable[[Change], None]) -> None:
        async with self._writing:
            change = Change.of(self._places[info.name])
            alter(change)
            await self._commit({info.name: change}, (), ())

    def _keep(self, group: Group, rows: list[Row], changes: dict[str, Change]) -> None:
        """Shows what is in the journal."""
        self._waiting.add(group, rows)
        self._apply(changes, rows)
        self._dirty.update(dict.fromkeys(changes))

    def _apply(self, changes: dict[str, Change], rows: Sequence[Row]) -> None:
        for change in changes.values():
            self.bytes += change.info.bytes - change.place.info.bytes
            added = sum(row.entry.count for row in change.rows)
            self.evicted += change.place.info.records + added - change.info.records
            change.apply()
            self._retaining.push(change.place.info)
        if rows:
            self.last_offset = rows[-1].entry.last
            self.last_time_ns = rows[-1].entry.time_ns

    async def _commit(
        self,
        changes: dict[str, Change],
        rows: Sequence[Row],
        claims: Sequence[Claim],
        *,
        removed: Place | None = None,
        closing: bool = False,
    ) -> None:
        """Puts everything that waits, and these, on the disk; then shows them."""
        all_rows = [*self._waiting.rows, *rows]
        all_claims = [*self._waiting.claims(), *claims]
        touched = {name: Change.of(self._places[name]) for name in self._dirty} | changes
        meta = self._next_meta(all_rows, closing)

        await self._commits.make(meta, all_rows, all_claims, touched, removed)
        self._meta = meta
        self._reader.longest = meta.longest
        self._apply(changes, rows)
        for change in touched.values():
            change.place.recent.clear()
            change.place.stored = change.place.info.last_offset
        self._dirty.clear()
        if removed is not None:
            self.registry.remove(removed.info)
            del self._places[removed.info.name]
        if self._waiting.groups:
            self._waiting = Waiting()
            self._journal.clear()

    def _next_meta(self, rows: Sequence[Row], closing: bool) -> Meta:
        last, time_ns = self.last_offset, self.last_time_ns
        chain, longest = self._meta.chain, self._meta.longest
        for row in rows:
            chain = google_crc32c.extend(chain, row.entry.crc.to_bytes(4, "big"))
            longest = max(longest, len(row.body))
        if rows and rows[-1].entry.last > last:
            last, time_ns = rows[-1].entry.last, rows[-1].entry.time_ns
        reserved = last if closing or not self._interval_s else last + RESERVED
        return Meta(
            FORMAT, self.epoch, last, time_ns, reserved, self._meta.commits + 1, chain, self._next_sid, self.uptime_ns,
            longest, self.registry.floor,
        )  # fmt: skip

    # Reading

    async def read(self, streams: Sequence[StreamInfo], after: int, max_bytes: int) -> list[Batch | Gap]:
        wanted = [self._places[info.name] for info in streams if info.last_offset > after]
        return await read(self._reader, wanted, after, max_bytes, self.last_offset)

    async def after_time(self, streams: Sequence[StreamInfo], time_ns: int) -> int:
        starts = [self.last_offset]
        for info in streams:
            found = first_since(self._store, self._places[info.name], time_ns)
            if found is not None:
                starts.append(max(found.first, info.first_offset) - 1)
        return min(starts)

    async def after_last(self, streams: Sequence[StreamInfo], count: int) -> int:
        found = heapq.merge(*(newest(self._store, self._places[info.name], count) for info in streams), reverse=True)
        return min(islice(found, count), default=self.last_offset + 1) - 1
