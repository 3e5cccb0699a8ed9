"""Damaged files: no wrong record is ever served, no record is missing without a gap, and no process dies of a read
beyond the file. (LMDB may end the process itself where whole pages of its tree are gone.)"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ratsvc.core.dedupe import Claim, Dedupe
from ratsvc.core.record import Batch, ProducerRef
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import LogRefused
from ratsvc.logs.lmdb import LmdbLog

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
        if found == {"died": -signal.SIGABRT}:  # LMDB's own checks end the process: nothing was served
            self.outcomes["ended by LMDB"] += 1
            return
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
    every = scaled(509, 1)
    directory, truth = log
    end = used(directory)
    for size in [*range(end - 3 * 4096, end + 4096, every), 0, 1, 4095, 4096, 8192, end // 2]:

        def cut(data: bytearray, size: int = size) -> None:
            del data[size:]

        reading.check(damaged(directory, tmp_path / "d", cut), truth, f"cut at {size}")
    assert reading.outcomes["refused"] > 10


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
