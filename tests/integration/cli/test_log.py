"""`ratsvc log`: on logs that a service left, on damaged ones, and on archives that are none."""

from __future__ import annotations

import asyncio
import io
import json
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import lmdb
import pytest
from rat.v1 import producer_pb2 as pb

from ratsvc.bench.processes import publish_request
from ratsvc.cli.archive import Export, Form, remake
from ratsvc.client import SyncConsumer, SyncProducer
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument
from ratsvc.formats.archive import Summary
from ratsvc.logs.lmdb.stopped import StoppedLog
from ratsvc.quickmem import record, wire
from tests.integration.cli.logs import START_NS, One, make, opened, records
from tests.integration.cli.test_cli import ENV, Service, ratsvc

VALUES: list[object] = [
    None, True, False, 0, -1, -(2**63), 2**63 - 1, 2**64 - 1, 0.0, -0.0, 1.5, 5e-324, math.inf, -math.inf, math.nan,
    "", "ÿ\u2028\0\n😀", b"", bytes(range(256)), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC),
    datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC), [], {}, [[[b"x"], {"a": [2**64 - 1, None]}]],
    {"b": 1, "a": {"c": math.inf, "t": datetime(2026, 1, 1, tzinfo=UTC)}}, "x" * 70_000, b"y" * 300_000,
]  # fmt: skip
FORMS = ["ndjson", "binary"]
ARCHIVES = Path(__file__).parent / "archives"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    make(tmp_path / "log")
    return tmp_path / "log"


def good(*args: object) -> str:
    done = ratsvc(*map(str, args))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def found(directory: Path) -> str:
    """What `check` says of a damaged log."""
    done = ratsvc("log", "check", str(directory))
    assert (done.returncode, done.stderr) == (1, ""), done.stderr
    assert done.stdout.splitlines()[-1].startswith("damaged: ")
    return done.stdout


def contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    """All files of a directory, with the times of their last change."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in directory.iterdir()}


def by_hand(directory: Path, change: Callable[[lmdb.Environment, lmdb.Transaction], object]) -> None:
    """Changes the database behind the log's back."""
    with lmdb.open(str(directory), max_dbs=9, lock=False, map_size=1 << 30) as env:
        env.begin().abort()
        names = (b"rows", b"index", b"streams", b"meta", b"producers", b"places")
        tables = {name: env.open_db(name, create=False) for name in names}
        with env.begin(write=True) as transaction:
            change(tables, transaction)


def alike(left: object, right: object) -> bool:
    """Equal, with its types, and NaN equal to itself."""
    return repr(left) == repr(right)


@pytest.mark.parametrize("form", FORMS)
def test_every_type_of_value_comes_back_through_an_export(tmp_path: Path, form: str) -> None:
    service = Service("--set", "drain_s=0.2", "--data-dir", str(tmp_path / "log"))
    with SyncProducer(service.grpc) as producer:
        for n, value in enumerate(VALUES):
            producer.publish("all.types", value, key=f"k{n}" if n % 2 else "", event="e" if n % 3 else "",
                             headers={"h": "1", "é": "2"} if n % 4 == 0 else None)  # fmt: skip
        producer.publish("other", 1)
    good("streams", "create", "made", "--max-records", "9", "--max-age", "1h", "--http", service.http)
    service.stop()
    good("log", "export", tmp_path / "log", "--format", form, "--output", tmp_path / "archive")
    good("log", "import", tmp_path / "new", tmp_path / "archive")
    assert records(tmp_path / "new") == records(tmp_path / "log")
    assert "whole" in good("log", "check", tmp_path / "new")
    service = Service("--set", "drain_s=0.2", "--data-dir", str(tmp_path / "new"))
    try:
        seen = list(SyncConsumer(service.http, "all.types", from_="earliest", until="now", format="binary"))
        assert len(seen) == len(VALUES)
        for n, (one, value) in enumerate(zip(seen, VALUES, strict=True)):
            assert alike(one.value, value), value
            assert one.key == (f"k{n}" if n % 2 else "")
            assert one.headers == ({"h": "1", "é": "2"} if n % 4 == 0 else {})
        listed = json.loads(good("streams", "list", "--json", "--http", service.http))
        streams = {one["name"]: one for one in listed}
        assert streams["made"]["retention"]["max_records"] == 9
        assert streams["made"]["retention"]["max_age"] == 3600
    finally:
        service.stop()


@pytest.mark.parametrize("form", FORMS)
def test_streams_keep_their_settings_and_records_their_order(log: Path, tmp_path: Path, form: str) -> None:
    before = contents(log)
    good("log", "export", log, "--format", form, "--output", tmp_path / "archive")
    good("log", "stats", log)
    good("log", "check", log)
    assert contents(log) == before, "a command that reads has changed the log"
    (tmp_path / "new").mkdir()
    good("log", "import", tmp_path / "new", tmp_path / "archive")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["data.mdb", "journal", "lock", "mark"]
    kept = records(log)
    assert records(tmp_path / "new") == kept
    assert len(kept) == 50 + 2 * 420
    assert [one for one in kept if one.stream == "keep"][5].key == "k0"
    old, new = opened(log), opened(tmp_path / "new")
    try:
        assert new.epoch != old.epoch
        for info in old.registry:
            other = new.registry.get(info.name)
            assert (other.asked, other.ended, other.created_ns) == (info.asked, info.ended, info.created_ns)
            assert (other.records, other.bytes, other.updated_ns) == (info.records, info.bytes, info.updated_ns)
        assert len(new.registry) == 3
        assert new.registry.get("over.it").ended
    finally:
        asyncio.run(old.close())
        asyncio.run(new.close())


def test_a_line_can_be_read_by_people_and_patterns_choose_streams(log: Path) -> None:
    lines = [json.loads(line) for line in good("log", "export", log, "--stream", "over.*").splitlines()]
    assert [line["stream"] for line in lines if "settings" in line] == ["over.it"]
    first = next(line for line in lines if "record" in line)
    assert first["value"] == {"n": first["offset"], "text": "x" * 12}
    assert len([line for line in lines if "record" in line]) == 420 == lines[-1]["end"]["records"]


def test_an_export_ends_quietly_when_its_pipe_closes_and_says_when_the_disk_is_full(log: Path) -> None:
    command = f"{sys.executable} -m ratsvc log export {log} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=30, env=ENV, text=True)
    assert done.stdout.startswith('{"ratsvc-export":2,')
    assert done.stderr == ""
    full = ratsvc("log", "export", str(log), "--output", "/dev/full")
    assert (full.returncode, full.stderr) == (1, "ratsvc: cannot write /dev/full: No space left on device\n")


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
    before = contents(directory)
    shown = json.loads(good("log", "stats", directory, "--json"))
    assert (shown["records"], shown["journal_records"] > 90) == (101, True)
    assert "whole" in good("log", "check", directory)
    good("log", "export", directory, "--format", form, "--output", tmp_path / "archive")
    assert contents(directory) == before
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


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_was_cut_or_changed_is_refused_and_leaves_nothing(log: Path, tmp_path: Path, form: str) -> None:
    archive, new = tmp_path / "archive", tmp_path / "new"
    good("log", "export", log, "--format", form, "--output", archive)
    data = archive.read_bytes()
    there = sorted(tmp_path.iterdir())
    word = "line" if form == "ndjson" else "frame"
    changed = bytearray(data)
    changed[data.index(b"tick") + 1] ^= 1
    cases = [
        (data[: len(data) // 2], "was cut in this"),
        (data[:-1], "was cut in this"),
        (data[:1], "is not an archive"),
        (b"", "is not an archive"),
        (bytes(changed), ""),
        (data + b"{}\n", "more comes after the end"),
        (data[: len(data) // 2] + data[: len(data) // 2], ""),
    ]
    if form == "ndjson":
        lines = data.splitlines(keepends=True)
        cases += [
            (b"".join(lines[:-1]), "its end is missing"),
            (b"".join(lines[:40] + lines[41:]), "the archive was changed"),
            (b"".join([*lines[:1], *lines[4:]]), "line 2: the settings of stream 'keep' did not come before it"),
            (data.replace(b'"ratsvc-export":2', b'"ratsvc-export":3'), "an archive of version 3"),
        ]
    for bad, said in cases:
        refused = _refused(new, bad)
        assert refused.startswith(f"{word} " if len(bad) > 1 else ("line 1", "frame 1")), refused
        assert said in refused
        assert sorted(tmp_path.iterdir()) == there
    for foreign in (b'{"a":1}\n', b"\x7fELF" + bytes(100), b"hello\n", data[5:]):
        assert "is not an archive" in _refused(new, foreign)
        assert sorted(tmp_path.iterdir()) == there
    archive.write_bytes(data[:-1])
    done = ratsvc("log", "import", str(new), str(archive))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ratsvc: {archive}: {word} ")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == there


def _refused(new: Path, archive: bytes) -> str:
    with pytest.raises(InvalidArgument) as refusal:
        asyncio.run(remake(new, io.BytesIO(archive), lambda: None))
    return refusal.value.detail


def test_an_import_never_touches_a_log_that_is_there(log: Path, tmp_path: Path) -> None:
    good("log", "export", log, "--output", tmp_path / "archive")
    before = contents(log)
    done = ratsvc("log", "import", str(log), str(tmp_path / "archive"))
    assert (done.returncode, "holds a log already" in done.stderr) == (1, True)
    assert contents(log) == before
    done = ratsvc("log", "import", str(tmp_path / "new"), "-", stdin=(tmp_path / "archive").read_bytes())
    assert done.returncode == 0, done.stderr
    assert records(tmp_path / "new") == records(log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_import_that_is_stopped_leaves_nothing(log: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "ratsvc", "log", "import", str(tmp_path / "new"), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV) as process:
        assert process.stdin is not None
        head = good("log", "export", log).splitlines(keepends=True)
        process.stdin.write("".join(head[:200]).encode())
        process.stdin.flush()
        while not (tmp_path / "new" / "importing" / "data.mdb").exists():
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert not (tmp_path / "new").exists()


def test_an_import_that_is_killed_is_refused_as_such_and_can_be_run_again(log: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    archive = good("log", "export", log)
    command = [sys.executable, "-m", "ratsvc", "log", "import", str(new), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=ENV) as process:
        assert process.stdin is not None
        process.stdin.write(archive[: len(archive) // 2].encode())
        process.stdin.flush()
        while not (new / "importing" / "data.mdb").exists():
            assert process.poll() is None
        process.kill()
    serve = ["serve", "--data-dir", str(new), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    for command in (serve, ["log", "check", str(new)], ["log", "export", str(new)]):
        done = ratsvc(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"an import into {new} was not finished: run `ratsvc log import` again" in done.stderr
    assert ratsvc("log", "import", str(new), "-", stdin=archive).returncode == 0
    assert records(new) == records(log)
    assert not (new / "importing").exists()


def publish(service: Service, sequence: int, count: int, producer: str = "p", stream: str = "s") -> pb.PublishResponse:
    """Publishes as an idempotent producer: records that are their numbers."""
    values = [wire.record(number) for number in range(sequence, sequence + count)]
    request = pb.PublishRequest.FromString(publish_request(stream, values))
    request.producer.CopyFrom(pb.ProducerRef(id=producer, epoch=3, sequence=sequence))
    with grpc.insecure_channel(service.grpc) as channel:
        call = channel.unary_unary("/rat.v1.ProducerService/Publish", None, pb.PublishResponse.FromString)
        return call(request.SerializeToString(), timeout=10)


@pytest.mark.parametrize(("form", "durability"), [("ndjson", "always"), ("binary", "interval")])
def test_what_a_producer_sends_again_after_an_import_is_a_duplicate(tmp_path: Path, form: str, durability: str) -> None:
    serve = ("--durability", durability, "--flush-interval", "3600", "--set", "drain_s=0", "--data-dir")
    service = Service(*serve, str(tmp_path / "log"))
    try:
        publish(service, 1, 5, "other", "gone")
        good("streams", "delete", "gone", "--http", service.http)
        sent = [publish(service, *numbers) for numbers in ((1, 3), (4, 1), (5, 10))]
        key = {"Idempotency-Key": "once", "Content-Type": "text/plain"}
        posted = httpx.post(f"{service.http}/v1/streams/s", content="x", headers=key).json()
    finally:
        service.stop(signal.SIGKILL)
    good("log", "export", tmp_path / "log", "--format", form, "--output", tmp_path / "archive")
    good("log", "import", tmp_path / "new", tmp_path / "archive")
    assert "whole" in good("log", "check", tmp_path / "new")
    good("log", "export", tmp_path / "new", "--format", form, "--output", tmp_path / "again")
    good("log", "import", tmp_path / "newer", tmp_path / "again")
    for directory in ("new", "newer"):
        service = Service(*serve, str(tmp_path / directory))
        try:
            again = [publish(service, *numbers) for numbers in ((1, 3), (4, 1), (5, 10))]
            assert [one.first_offset for one in again] == [one.first_offset for one in sent]
            assert [one.duplicates for one in again] == [3, 1, 10]
            assert publish(service, 1, 5, "other", "gone").duplicates == 5
            repeated = httpx.post(f"{service.http}/v1/streams/s", content="x", headers=key).json()
            assert (repeated["first"], repeated["duplicates"]) == (posted["first"], 1)
            assert publish(service, 15, 2).duplicates == 0
            with pytest.raises(grpc.RpcError, match="expected 17"):
                publish(service, 18, 1)
            values = [one.value for one in SyncConsumer(service.http, "s", from_="earliest", until="now")]
            assert values == [*range(1, 15), "x", 15, 16]
        finally:
            service.stop()


def test_an_export_of_some_streams_has_no_producers(log: Path, tmp_path: Path) -> None:
    for streams, producers in (((), 1), (("--stream", "keep"), 0)):
        done = ratsvc("log", "export", str(log), *streams, "--output", str(tmp_path / "archive"))
        assert f" {producers} producers" in done.stderr
        summary = asyncio.run(_imported(tmp_path / f"new{producers}", tmp_path / "archive"))
        assert summary.producers == producers


async def _imported(new: Path, archive: Path) -> Summary:
    with archive.open("rb") as file:
        return (await remake(new, file, lambda: None)).summary


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_of_version_1_is_read(tmp_path: Path, form: str) -> None:
    good("log", "import", tmp_path / "new", ARCHIVES / f"version-1.{form}")
    kept = records(tmp_path / "new")
    assert [len([one for one in kept if one.stream == name]) for name in ("few", "keep", "over.it")] == [6, 6, 6]
    assert kept[0] == One("keep", START_NS, record({"n": 1, "text": "x" * 12}, "k0"), "k0", "")
    assert "whole" in good("log", "check", tmp_path / "new")


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


def test_producers_in_an_archive_that_cannot_be_are_refused(log: Path, tmp_path: Path) -> None:
    lines = good("log", "export", log).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith('{"producer"'))
    whole = json.loads(lines[at])["producer"]
    bad: list[dict[str, object]] = [
        {"id": "../x"}, {"id": ""}, {"epoch": -1}, {"epoch": 2**64}, {"expected": 0}, {"expected": 2**63 + 1},
        {"idle_ns": -1}, {"publishes": [[0, 1]]}, {"publishes": [[2, 1], [2, 5]]}, {"publishes": [[1, 9], [2, 5]]},
        {"publishes": [[whole["expected"], 1]]}, {"publishes": [[1, 2**63]]}, {"publishes": [[1]]},
        {"publishes": [[n, n] for n in range(1, 1026)], "expected": 2000}, {"more": 1},
    ]  # fmt: skip
    for change in bad:
        changed = json.dumps({"producer": whole | change})
        refused = _refused(tmp_path / "new", "\n".join([*lines[:at], changed, *lines[at + 1 :], ""]).encode())
        assert refused.startswith(f"line {at + 1}: "), (change, refused)
    refused = _refused(tmp_path / "new", "\n".join([*lines[: at + 1], *lines[at:], ""]).encode())
    assert refused == f"line {at + 2}: producer p1 comes twice"
    refused = _refused(tmp_path / "new", "\n".join([*lines[:at], *lines[at + 1 :], ""]).encode())
    assert "the archive was changed" in refused


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
