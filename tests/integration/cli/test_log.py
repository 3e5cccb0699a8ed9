"""`ratsvc log check` and `stats`: logs that a service left, and damaged ones, of which the rest is saved."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from ratsvc.cli.archive import Export, Form
from ratsvc.client import SyncProducer
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.logs.lmdb.stopped import StoppedLog
from ratsvc.quickmem import record
from tests.integration.cli.logs import FORMS, START_NS, files, make, opened, records
from tests.integration.cli.processes import ENV, Service, found, good, ratsvc


def by_hand(directory: Path, change: Callable[[lmdb.Environment, lmdb.Transaction], object]) -> None:
    """Changes the database behind the log's back."""
    with lmdb.open(str(directory), max_dbs=9, lock=False, map_size=1 << 30) as env:
        env.begin().abort()
        names = (b"rows", b"index", b"streams", b"meta", b"producers", b"places")
        tables = {name: env.open_db(name, create=False) for name in names}
        with env.begin(write=True) as transaction:
            change(tables, transaction)


@pytest.mark.parametrize("form", FORMS)
def test_what_only_the_journal_has_belongs_to_the_log(tmp_path: Path, form: str) -> None:
    directory = tmp_path / "log"
    interval = ("--durability", "interval", "--flush-interval", "3600")
    service = Service("--data-dir", str(directory), *interval)
    with SyncProducer(service.grpc) as producer:
        producer.publish("first", 0)
        for n in range(100):
            producer.publish(f"s.{n % 3}", {"n": n}, key=str(n))
    service.stop(signal.SIGKILL)
    assert (directory / "journal").stat().st_size > 0
    with (directory / "journal").open("ab") as journal:
        journal.write(b"\0\0\1\0torn")
    before = files(directory)
    shown = json.loads(good("log", "stats", directory, "--json"))
    assert (shown["records"], shown["journal_records"] > 90) == (101, True)
    assert "whole" in good("log", "check", directory)
    good("log", "export", directory, "--format", form, "--output", tmp_path / "archive")
    assert files(directory) == before
    good("log", "import", tmp_path / "new", tmp_path / "archive")
    assert records(tmp_path / "new") == records(directory)
    assert len(records(directory)) == 101
    data = bytearray((directory / "journal").read_bytes())
    data[200] ^= 4
    (directory / "journal").write_bytes(data)
    assert "the journal is damaged" in found(directory)


def test_stats_are_those_of_the_service(log: Path) -> None:
    shown = json.loads(good("log", "stats", log, "--json"))
    assert [one["name"] for one in shown["streams"]] == ["few", "keep", "over.it"]
    few, keep, over = shown["streams"]
    assert (few["records"], few["ended"], over["ended"]) == (50, False, True)
    assert (keep["records"], keep["first_offset"], keep["oldest_ns"]) == (420, 1, START_NS)
    assert keep["newest_ns"] == START_NS + 59 * 1_000_003
    assert few["oldest_ns"] == START_NS + 52 * 1_000_003
    assert (shown["producers"], shown["format"], shown["commits"]) == (1, 1, 63)
    assert shown["file_bytes"] == (log / "data.mdb").stat().st_size
    live = opened(log)
    for one in shown["streams"]:
        info = live.registry.get(one["name"])
        assert (info.records, info.bytes, info.first_offset, info.last_offset) == (
            one["records"], one["bytes"], one["first_offset"], one["last_offset"]
        )  # fmt: skip
    assert live.epoch == shown["epoch"]
    asyncio.run(live.close())
    table = good("log", "stats", log)
    assert "over.it" in table
    assert "ended" in table
    assert f"epoch {shown['epoch']}" in table


def test_a_log_in_use_is_refused_by_name(tmp_path: Path) -> None:
    service = Service("--set", "drain_s=0", "--data-dir", str(tmp_path / "log"))
    try:
        for args in (["check"], ["stats"], ["export"]):
            done = ratsvc("log", *args, str(tmp_path / "log"))
            assert (done.returncode, done.stdout) == (1, "")
            assert f"is in use by process {service.process.pid}" in done.stderr
    finally:
        service.stop()
    done = ratsvc("log", "check", str(tmp_path / "nothing"))
    assert (done.returncode, "there is no log in" in done.stderr) == (1, True)
    assert not (tmp_path / "nothing").exists()


def test_a_flipped_byte_in_a_row_is_found_and_its_records_alone_are_lost(log: Path, tmp_path: Path) -> None:
    data = (log / "data.mdb").read_bytes()
    at = data.index(b"x" * 8_000) + 20
    (log / "data.mdb").write_bytes(data[:at] + b"y" + data[at + 1 :])
    before = records(log)
    said = found(log)
    assert "does not match its checksum" in said
    assert "damaged: 1 findings" in said
    done = ratsvc("log", "export", str(log), "--output", str(tmp_path / "archive"))
    assert done.returncode == 0
    assert "does not match its checksum" in done.stderr
    assert "missing in 1 places" in done.stderr
    assert "missing in 1 places" in ratsvc("log", "import", str(tmp_path / "new"), str(tmp_path / "archive")).stderr
    assert records(tmp_path / "new") == before
    assert len(before) == 890 - 7


def _remove_row(tables: dict[bytes, object], transaction: lmdb.Transaction) -> None:
    cursor = transaction.cursor(tables[b"rows"])
    cursor.first()
    for _ in range(30):
        cursor.next()
    cursor.delete()


def _remove_index(tables: dict[bytes, object], transaction: lmdb.Transaction) -> None:
    cursor = transaction.cursor(tables[b"index"])
    cursor.first()
    cursor.delete()


def _newest_row(tables: dict[bytes, object], transaction: lmdb.Transaction) -> None:
    cursor = transaction.cursor(tables[b"rows"])
    cursor.last()
    cursor.delete()


def _stream(tables: dict[bytes, object], transaction: lmdb.Transaction) -> None:
    value = bytearray(transaction.get(b"keep", db=tables[b"streams"]))
    value[-1] ^= 1
    transaction.put(b"keep", bytes(value), db=tables[b"streams"])


def _meta(tables: dict[bytes, object], transaction: lmdb.Transaction) -> None:
    transaction.put(b"log", b"what?", db=tables[b"meta"])


@pytest.mark.parametrize(
    ("change", "said", "lost"),
    [
        (_remove_row, "rows are missing", 7),
        (_newest_row, "its newest rows are missing", 7),
        (_remove_index, "is not in the index", 0),
        (_stream, "the record of stream 'keep' does not match its checksum", 0),
        (_meta, "the log's own record does not match its checksum", 0),
    ],
)
def test_what_was_changed_by_hand_is_found_and_the_rest_is_exported(
    log: Path, tmp_path: Path, change: Callable[..., None], said: str, lost: int
) -> None:
    whole = records(log)
    by_hand(log, change)
    assert said in found(log)
    good("log", "export", log, "--format", "binary", "--output", tmp_path / "archive")
    good("log", "import", tmp_path / "new", tmp_path / "archive")
    saved = records(tmp_path / "new")
    assert set(saved) <= set(whole)
    assert len(saved) == len(whole) - lost


def test_an_emptied_a_missing_a_cut_and_an_older_file_are_found(log: Path, tmp_path: Path) -> None:
    data = (log / "data.mdb").read_bytes()
    whole = records(log)
    shutil.copy(log / "data.mdb", tmp_path / "older")
    asyncio.run(_one_more(log))
    newer = (log / "data.mdb").read_bytes()
    (log / "data.mdb").write_bytes(data)
    assert "is an older copy, or commits are missing" in found(log)
    assert ratsvc("serve", "--data-dir", str(log), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0").returncode == 1
    good("log", "export", log, "--output", tmp_path / "salvaged")
    good("log", "import", tmp_path / "new", tmp_path / "salvaged")
    assert records(tmp_path / "new") == whole
    (log / "data.mdb").write_bytes(newer[: len(newer) // 100])
    assert "was cut" in found(log)
    assert len(records(log)) < len(whole)
    (log / "data.mdb").write_bytes(b"")
    assert "the database is empty" in found(log)
    good("log", "export", log, "--output", tmp_path / "nothing")
    (log / "data.mdb").unlink()
    assert "is missing" in found(log)
    (log / "data.mdb").write_bytes(newer)
    (log / "mark").unlink()
    assert "there is no mark" in found(log)
    assert good("log", "export", log).count('"record"') == len(whole) + 1


async def _one_more(directory: Path) -> None:
    log = opened(directory)
    batch = Batch("more", range(log.last_offset + 1, log.last_offset + 2), START_NS * 2, [record(1)])
    await log.create(StreamInfo("more", Retention(), START_NS))
    await log.append([batch])
    await log.close()


def test_of_a_damaged_producer_what_is_sure_is_exported(log: Path, tmp_path: Path) -> None:
    def change(table: bytes, number: int) -> Callable[..., None]:
        def flip(tables: dict[bytes, object], transaction: lmdb.Transaction) -> None:
            cursor = transaction.cursor(tables[table])
            key, value = list(cursor)[number]
            transaction.put(key, value[:-1] + bytes([value[-1] ^ 1]), db=tables[table])

        return flip

    def exported() -> list[dict[str, object]]:
        said: list[str] = []
        opened = StoppedLog(log, said.append)
        parts: list[bytes] = []
        Export(opened, [], Form.NDJSON, parts.append).run()
        opened.close()
        assert len(said) == wrong, said
        words = [json.loads(line) for line in b"".join(parts).splitlines()]
        return [word["producer"] for word in words if "producer" in word]

    wrong = 0
    [whole] = exported()
    assert (whole["id"], whole["expected"], len(publishes := list(whole["publishes"]))) == ("p1", 421, 60)  # type: ignore[call-overload]
    by_hand(log, change(b"places", 30))
    wrong = 1
    [left] = exported()
    assert left == whole | {"publishes": publishes[31:]}
    by_hand(log, change(b"producers", 0))
    assert exported() == []


def test_a_long_log_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    peaks: dict[str, list[int]] = {}
    for name, commits in (("short", 20), ("long", 1_000)):
        make(tmp_path / name, commits, each=50, large=False)
        archive = str(tmp_path / f"{name}.archive")
        for args in (
            ["check", str(tmp_path / name)],
            ["export", str(tmp_path / name), "--output", archive],
            ["import", str(tmp_path / f"{name}.new"), archive],
        ):
            peaks.setdefault(args[0], []).append(_peak_kib("log", *args))
    assert len(records(tmp_path / "long.new")) == 100_050
    print(peaks)
    for name, (short, long) in peaks.items():
        assert long - short < 24 * 1024, (name, short, long)


def _peak_kib(*args: str) -> int:
    code = (
        "import atexit, re, sys; from ratsvc.cli.main import main;"
        "atexit.register(lambda: print('VmHWM', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1],"
        " file=sys.stderr)); main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], env=ENV, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=100)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split("VmHWM ")[1])
