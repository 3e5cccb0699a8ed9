"""Damaged files: no wrong record is ever served, no record is missing without a gap, and no process dies of one."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ratsvc.core.dedupe import Claim, Dedupe
from ratsvc.core.draft import ProducerRef
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import LogRefused
from ratsvc.logs.lmdb import LmdbLog
from ratsvc.logs.lmdb.pages import BRANCH, FREE, NONE, Pages
from ratsvc.logs.lmdb.survey import survey

NAMES = [f"s.{n}" for n in range(40)]
Truth = dict[int, tuple[str, str]]
Scaled = Callable[[Any, Any], Any]


class Reading:
    """Processes that read directories: a new one when one has died."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.read_log"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __call__(self, directory: Path) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{directory}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self._process.communicate()
        code = self._process.returncode
        self._start()
        return {"died": code}

    def check(self, directory: Path, truth: Truth, what: str) -> None:
        """Reads a directory, and holds what was read against the truth."""
        found = self(directory)
        assert set(found) <= {"refused", "streams", "all"}, (what, found)
        if "refused" in found:
            self.outcomes["refused"] += 1
            return
        gaps = 0
        for name, items in [*found["streams"].items(), (None, found["all"])]:
            gaps += _compare(items, {o: v for o, v in truth.items() if name in (None, v[0])}, what)
        missing = {name for name, _ in truth.values()} - set(found["streams"])
        assert not missing, (what, missing)
        self.outcomes["with gaps" if gaps else "whole"] += 1

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _compare(items: list[list[Any]], truth: Truth, what: str) -> int:
    """Whether all of the truth was read, in order, or lies in a gap. Returns how many gaps there were."""
    left, last, gaps = dict(truth), 0, 0
    for item in items:
        if len(item) == 2:
            gaps += 1
            for offset in [offset for offset in left if item[0] < offset <= item[1]]:
                del left[offset]
            continue
        stream, offset, record = item
        assert offset > last, (what, item)
        last = offset
        assert truth.get(offset) == (stream, record), (what, item)
        left.pop(offset, None)
    assert not left, (what, "missing without a gap", sorted(left)[:20])
    return gaps


async def fill(directory: Path, commits: int, seed: int = 7) -> Truth:
    """A log of many commits; more of them go on with the log that is there."""
    chance = random.Random(seed)
    truth: Truth = {}
    log = LmdbLog(Registry(1000), Dedupe(100, 10**12), directory, policy=lambda _: Retention())
    sequences = {id_: known.expected for id_, known in log.dedupe.producers.items()}
    for _ in range(commits):
        offset = log.last_offset + 1
        batches, claims = [], []
        for name in chance.sample(NAMES, 3):
            if log.registry.find(name) is None:
                await log.create(StreamInfo(name, Retention(), 1))
            records = [chance.randbytes(chance.choice([1, 30, 300])) for _ in range(chance.choice([1, 3, 40]))]
            batches.append(Batch(name, range(offset, offset + len(records)), 1000, records))
            sequence = sequences.get(name, 1)
            claims.append(Claim(ProducerRef(name, 1, sequence), sequence, len(records), offset))
            sequences[name] = sequence + len(records)
            log.dedupe.claim(claims[-1], log.uptime_ns)
            truth.update({offset + at: (name, record.hex()) for at, record in enumerate(records)})
            offset += len(records)
        await log.append(batches, claims)
        log.dedupe.commit()
    await log.close()
    return truth


async def fill_journal(directory: Path, copy: Path, commits: list[Truth]) -> None:
    """A log whose newest commits are only in its journal: in `copy`, as a kill leaves it. Notes what each had."""
    log = LmdbLog(Registry(10), Dedupe(1, 1), directory, policy=lambda _: Retention(), flush_interval_s=3600)
    chance = random.Random(5)
    await log.create(StreamInfo("s", Retention(), 1))
    for number in range(6):
        first = log.last_offset + 1
        records = [chance.randbytes(chance.choice([1, 30, 300])) for _ in range(chance.choice([1, 3, 5]))]
        await log.append([Batch("s", range(first, first + len(records)), 1000, records)], flushed=number == 0)
        commits.append({first + at: ("s", record.hex()) for at, record in enumerate(records)})
    shutil.copytree(directory, copy)
    await log.close()


@pytest.fixture
def reading(figure: Callable[[str], None]) -> Iterator[Reading]:
    reading = Reading()
    yield reading
    figure(", ".join(f"{count} {outcome}" for outcome, count in reading.outcomes.items()))
    reading.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    directory = tmp_path_factory.mktemp("damage") / "log"
    return directory, asyncio.run(fill(directory, 80))


def used(directory: Path) -> int:
    """Bytes of the database up to its last page."""
    data = (directory / "data.mdb").read_bytes()
    return len(data.rstrip(b"\0"))


def damaged(directory: Path, target: Path, harm: Callable[[bytearray], None]) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in ("mark", "journal"):
        shutil.copy(directory / name, target / name)
    data = bytearray((directory / "data.mdb").read_bytes())
    harm(data)
    with (target / "data.mdb").open("wb") as file:  # the zeros at its end stay a hole
        file.write(data.rstrip(b"\0"))
        file.truncate(len(data))
    return target


def test_the_log_is_whole_before_it_is_damaged(log: tuple[Path, Truth], reading: Reading, tmp_path: Path) -> None:
    directory, truth = log
    reading.check(damaged(directory, tmp_path / "d", lambda data: None), truth, "nothing")
    assert reading.outcomes == {"whole": 1}


def test_a_cut_file_is_refused(log: tuple[Path, Truth], reading: Reading, tmp_path: Path, scaled: Scaled) -> None:
    directory, truth = log
    end, page = used(directory), 4096
    needed = -(-end // page) * page
    data = (directory / "data.mdb").read_bytes()
    newest = [bytes.fromhex(truth[offset][1]) for offset in sorted(truth)[-60:]]
    assert sum(needed - 3 * page < data.find(record) for record in newest if len(record) > 20) > 20
    copy = damaged(directory, tmp_path / "d", lambda data: None) / "data.mdb"
    for size in [*range(needed - 1, needed - 3 * page, -scaled(127, 1)), end // 2, 2 * page, page, page - 1, 1, 0]:
        os.truncate(copy, size)
        found = reading(copy.parent)
        assert "was cut" in found["refused"] or "damaged" in found["refused"], (size, found)
        reading.outcomes["refused"] += 1
    for size in (needed, needed + 1, needed + page):  # what is cut off is no record
        copy = damaged(directory, tmp_path / "d", lambda data: None) / "data.mdb"
        os.truncate(copy, size)
        reading.check(copy.parent, truth, f"cut at {size}")
    assert reading.outcomes["whole"] == 3


def test_of_a_cut_or_damaged_journal_only_what_came_before_is_served(
    reading: Reading, tmp_path: Path, scaled: Scaled
) -> None:
    directory, copy = tmp_path / "log", tmp_path / "d"
    commits: list[Truth] = []
    asyncio.run(fill_journal(directory, copy, commits))
    journal = (copy / "journal").read_bytes()
    chance, ends = random.Random(3), {0}
    cuts: list[tuple[int, bytes]] = [(size, journal[:size]) for size in range(0, len(journal) + 1, scaled(101, 1))]
    for _ in range(scaled(20, 1_000)):
        at = chance.randrange(len(journal))
        cuts.append((at, journal[:at] + bytes([journal[at] ^ 1 << chance.randrange(8)]) + journal[at + 1 :]))
    for at, data in cuts:
        shutil.copytree(copy, directory, dirs_exist_ok=True)
        (directory / "journal").write_bytes(data)
        found = reading(directory)
        assert "all" in found, (at, found)
        served = [(offset, (stream, record)) for stream, offset, record in found["all"]]
        whole = next(number for number in range(len(commits), -1, -1) if sum(map(len, commits[:number])) <= len(served))
        assert served == sorted(one for commit in commits[:whole] for one in commit.items()), at
        ends.add(whole)
        reading.outcomes[f"{whole} of {len(commits)} commits"] += 1
    assert len(ends) > 3


def test_flipped_bits_are_never_served(
    log: tuple[Path, Truth], reading: Reading, tmp_path: Path, scaled: Scaled
) -> None:
    flips = scaled(50, 1_000)
    directory, truth = log
    end, chance = used(directory), random.Random(1)
    for _ in range(flips):
        at, bit = chance.randrange(end), chance.randrange(8)

        def flip(data: bytearray, at: int = at, bit: int = bit) -> None:
            data[at] ^= 1 << bit

        reading.check(damaged(directory, tmp_path / "d", flip), truth, f"bit {bit} of byte {at}")
    assert reading.outcomes["with gaps"] > flips // 10


def test_garbage_blocks_are_never_served(
    log: tuple[Path, Truth], reading: Reading, tmp_path: Path, scaled: Scaled
) -> None:
    blocks = scaled(25, 300)
    directory, truth = log
    end, chance = used(directory), random.Random(2)
    for n in range(blocks):
        size = chance.choice([16, 512, 4096, 65_536])
        at = chance.randrange(end) // 512 * 512
        block = (bytes(size), chance.randbytes(size), b"\xff" * size)[n % 3]

        def overwrite(data: bytearray, at: int = at, block: bytes = block) -> None:
            data[at : at + len(block)] = block

        reading.check(damaged(directory, tmp_path / "d", overwrite), truth, f"{size} bytes of kind {n % 3} at {at}")


@pytest.mark.parametrize("content", [bytes(4096), b"\xff" * 4096, random.Random(4).randbytes(4096)])
def test_a_page_of_a_tree_that_is_none_any_more_is_found_at_the_start(
    log: tuple[Path, Truth], tmp_path: Path, content: bytes
) -> None:
    """Of each kind one, and the last leaf of the rows: LMDB would end the process where it came to it."""
    directory, _ = log
    for number in tree_pages(directory):

        def overwrite(data: bytearray, at: int = 4096 * number) -> None:
            data[at : at + 4096] = content

        with pytest.raises(LogRefused, match=f"page {number}[, ].*Keep a copy; `ratsvc log export`"):
            survey(damaged(directory, tmp_path / "d", overwrite) / "data.mdb", 60)


def test_a_page_that_is_used_and_said_to_be_free_is_found_at_the_start(log: tuple[Path, Truth], tmp_path: Path) -> None:
    directory, _ = log
    pages = Pages(directory / "data.mdb", print)
    free = next(value for _, value in pages.items(FREE) if len(value) > 8)
    used_page = pages.tables[b"rows"].root
    pages.close()

    def give_away(data: bytearray) -> None:
        at = data.index(free)
        data[at + 8 : at + 16] = used_page.to_bytes(8, sys.byteorder)

    with pytest.raises(LogRefused, match=f"page {used_page} is used twice"):
        survey(damaged(directory, tmp_path / "d", give_away) / "data.mdb", 60)


def test_the_look_at_a_file_ends_when_its_time_is_over(
    log: tuple[Path, Truth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, _ = log
    number = tree_pages(directory)[-1]

    def overwrite(data: bytearray) -> None:
        data[4096 * number : 4096 * (number + 1)] = bytes(4096)

    data = damaged(directory, tmp_path / "d", overwrite) / "data.mdb"
    survey(data, 0)
    monkeypatch.setattr("ratsvc.logs.lmdb.survey._STEP", 8)
    survey(data, 1e-9)
    with pytest.raises(LogRefused):
        survey(data, 60)


def tree_pages(directory: Path) -> list[int]:
    """The root of each table, its first leaf where that is another page, and last the last leaf of the rows."""
    pages = Pages(directory / "data.mdb", print)
    found = {table.root for table in pages.tables.values() if table.root != NONE}
    found |= {leaf(pages, b"index", 0), leaf(pages, b"rows", 0)}
    last = leaf(pages, b"rows", -1)
    pages.close()
    return [*found, last]


def leaf(pages: Pages, name: bytes, which: int) -> int:
    """The first (0) or last (-1) leaf of a table."""
    table = pages.tables[name]
    number = table.root
    for _ in range(1, table.depth):
        page = pages.page(number, BRANCH, name, None)
        assert page is not None
        number = pages.children(name, number, page)[which][1]
    return number


def test_an_emptied_an_older_and_a_foreign_file_are_refused_by_what_they_are(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    asyncio.run(fill(directory, 10))
    yesterday = (directory / "data.mdb").read_bytes()
    asyncio.run(fill(directory, 10, seed=8))
    today, mark = (directory / "data.mdb").read_bytes(), (directory / "mark").read_bytes()

    def refused(data: bytes | None, mark: bytes | None, why: str) -> None:
        for name, content in (("data.mdb", data), ("mark", mark)):
            (directory / name).unlink(missing_ok=True)
            if content is not None:
                (directory / name).write_bytes(content)
        with pytest.raises(LogRefused, match=why) as caught:
            asyncio.run(fill(directory, 0))
        assert "ratsvc log export" in str(caught.value) or "newer" in why

    refused(yesterday, mark, "older copy")
    refused(b"", mark, "the file is empty")
    refused(None, mark, "is empty, but the log had got to")
    refused(b"SQLite format 3\0" * 1000, mark, "not a log")
    refused(today, None, "no high-water mark")
    refused(today, b"\0" * 1024, "damaged")
    (directory / "mark").write_bytes(mark)
    assert len(asyncio.run(fill(directory, 1, seed=9))) > 0
