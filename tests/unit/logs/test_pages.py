"""LMDB's file read without LMDB: the same as LMDB reads, and whatever is damaged."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from ratsvc.core.record import Batch
from ratsvc.logs.lmdb.check import Findings, check
from ratsvc.logs.lmdb.contents import contents
from ratsvc.logs.lmdb.pages import FREE, MAIN, Pages
from ratsvc.logs.lmdb.stats import stats
from ratsvc.logs.lmdb.stopped import StoppedLog
from tests.integration.cli.logs import make


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables, three levels deep, with long values, removed ones and free pages."""
    directory = tmp_path_factory.mktemp("db")
    rnd = random.Random(7)
    with lmdb.open(str(directory), map_size=1 << 30, max_dbs=4, sync=False) as env:
        tables = [env.open_db(name) for name in (b"rows", b"index", b"empty")]
        number = 0
        for commit in range(60):
            with env.begin(write=True) as transaction:
                for _ in range(500):
                    number += 1
                    size = rnd.choice((0, 40, 900, 5_000 if number % 40 == 0 else 10))
                    key = struct.pack(">QI", number, rnd.getrandbits(32))
                    transaction.put(key, rnd.randbytes(size), db=tables[0])
                    transaction.put(struct.pack(">IQ", number % 7, number), b"x" * 32, db=tables[1])
                if commit % 3 == 0:
                    cursor = transaction.cursor(tables[0])
                    cursor.first()
                    for _ in range(300):
                        cursor.delete()
    return directory


def test_every_table_reads_as_lmdb_reads_it_and_every_page_has_its_place(database: Path) -> None:
    said: list[str] = []
    pages = Pages(database / "data.mdb", said.append)
    seen = pages.new_map()
    with lmdb.open(str(database), readonly=True, lock=False, max_dbs=4) as env:
        for name in (b"rows", b"index", b"empty"):
            opened = env.open_db(name, create=False)
            with env.begin() as transaction:
                expected = list(transaction.cursor(opened))
            assert list(pages.items(name, seen=seen)) == expected
            table = pages.tables[name]
            assert pages.tally[name] == [table.branches, table.leaves, table.overflows, table.entries]
            for at in range(0, len(expected), 997):
                key, value = expected[at]
                assert pages.get(name, key) == value
                between = key[:-1]
                assert next(pages.items(name, between)) == next(one for one in expected if one[0] >= between)
        assert pages.tables[b"rows"].depth == 3
    assert dict(pages.items(MAIN, seen=seen)).keys() == {b"rows", b"index", b"empty"}
    assert pages.free_pages(seen) > 10
    assert pages.tally[FREE][3] == pages.tables[FREE].entries
    assert seen.count(0) == 2, "all but the two meta pages"
    assert said == []
    pages.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("damaged") / "log"
    make(directory, commits=40)
    return directory


def _records(directory: Path, findings: Findings) -> Iterator[tuple[int, bytes]]:
    log = StoppedLog(directory, findings.add)
    for item in contents(log, lambda _: True):
        if isinstance(item, Batch):
            yield from zip(item.offsets, item.records, strict=True)
    log.close()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_damaged_nothing_wrong_is_read_and_nothing_is_lost_in_silence(log: Path, seed: int) -> None:
    data = log / "data.mdb"
    whole = data.read_bytes()
    findings = Findings()
    expected = dict(_records(log, findings))
    assert not findings.lines
    pages = Pages(data, findings.add)
    rnd, used = random.Random(seed), pages.needed
    pages.close()
    try:
        for _ in range(25):
            damaged = bytearray(whole)
            at = rnd.randrange(used)
            match rnd.randrange(3):
                case 0:
                    damaged[at] ^= 1 << rnd.randrange(8)
                case 1:
                    damaged[at : at + 4096] = rnd.randbytes(rnd.choice((16, 512, 4096)))
                case _:
                    del damaged[at:]
            data.write_bytes(damaged)
            found, saved = Findings(), Findings()
            opened = StoppedLog(log, found.add)
            check(opened, found)
            stats(opened)
            opened.close()
            read = dict(_records(log, saved))
            assert read.items() <= expected.items()
            if len(read) < len(expected):
                assert found.lines
                assert saved.lines
    finally:
        data.write_bytes(whole)
