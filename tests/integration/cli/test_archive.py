"""`ratsvc log export` and `import`: what comes back, what is refused, and what an import that does not end leaves."""

from __future__ import annotations

import asyncio
import io
import json
import math
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
from rat.v1 import producer_pb2 as pb

from ratsvc.bench.processes import publish_request
from ratsvc.cli.archive import remake
from ratsvc.client import SyncConsumer, SyncProducer
from ratsvc.errors import InvalidArgument
from ratsvc.formats.archive import Summary
from ratsvc.quickmem import record, wire
from tests.integration.cli.logs import FORMS, START_NS, One, files, opened, records
from tests.integration.cli.processes import ENV, Service, good, ratsvc

VALUES: list[object] = [
    None, True, False, 0, -1, -(2**63), 2**63 - 1, 2**64 - 1, 0.0, -0.0, 1.5, 5e-324, math.inf, -math.inf, math.nan,
    "", "ÿ\u2028\0\n😀", b"", bytes(range(256)), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC),
    datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC), [], {}, [[[b"x"], {"a": [2**64 - 1, None]}]],
    {"b": 1, "a": {"c": math.inf, "t": datetime(2026, 1, 1, tzinfo=UTC)}}, "x" * 70_000, b"y" * 300_000,
]  # fmt: skip
ARCHIVES = Path(__file__).parent / "archives"


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
    before = files(log)
    good("log", "export", log, "--format", form, "--output", tmp_path / "archive")
    good("log", "stats", log)
    good("log", "check", log)
    assert files(log) == before, "a command that reads has changed the log"
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
    before = files(log)
    done = ratsvc("log", "import", str(log), str(tmp_path / "archive"))
    assert (done.returncode, "holds a log already" in done.stderr) == (1, True)
    assert files(log) == before
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
