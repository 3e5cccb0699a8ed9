"""A full disk and a disk that fails to sync: no false acknowledgement, and reading goes on as long as it can."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from rat.v1 import producer_pb2 as pb

from ratsvc.bench.processes import publish_request
from ratsvc.quickmem import wire
from tests.faults.ledger import log_notes
from tests.faults.load import Load
from tests.faults.process import MIB, ServerProcess, until_true

DISK_MIB = 48
CALLS = "fsync,fdatasync,msync,sync_file_range"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of `DISK_MIB`."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a small disk needs `mount`")
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, left_mib: int) -> Path:
    """Takes all room but `left_mib`."""
    filler, spare = disk / "filler", disk / "spare"
    spare.write_bytes(bytes(left_mib * MIB))
    with filler.open("ab", buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    spare.unlink()
    return filler


def grpc_code(address: str, stream: str, value: object) -> grpc.StatusCode:
    """What a publish over gRPC is answered with."""
    with grpc.insecure_channel(address) as channel:
        publish = channel.unary_unary("/rat.v1.ProducerService/Publish", None, pb.PublishResponse.FromString)
        try:
            publish(publish_request(stream, [wire.record(value)]), timeout=10)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def post(server: ServerProcess, stream: str, text: str) -> int:
    """The status of a publish over HTTP."""
    url = f"{server.http_url}/v1/streams/{stream}"
    return httpx.post(url, content=text, headers={"Content-Type": "text/plain"}, timeout=20).status_code


@pytest.mark.parametrize(
    ("durability", "reserve_mib"),
    [
        ("always", 8),
        ("interval", 8),
        ("always", 0),
        ("interval", 0),
    ],
)
def test_a_full_disk_refuses_records_until_there_is_room(
    durability: str, reserve_mib: int, tmp_path: Path, small_disk: Path, figure: Callable[[str], None]
) -> None:
    big = "x" * 500_000
    settings = {
        "RATSVC_DISK__RESERVE_BYTES": str(reserve_mib * MIB),
        "RATSVC_DISK__TRIM_PERCENT": "100",
        "RATSVC_DISK__FULL_PERCENT": "100",
    }
    with (
        ServerProcess(
            tmp_path, small_disk / "log", arguments=["--durability", durability], environment=settings
        ) as server,
        Load(tmp_path, server.grpc_addr, server.http_url) as load,
    ):
        pid = server.running.pid
        for _ in range(3):
            load.wait_for_progress()
        filler = fill(small_disk, reserve_mib // 2)
        until_true(lambda: post(server, "big", big) == 507, 20, "a publish over HTTP is refused")
        code = grpc_code(server.grpc_addr, "big", big)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        while_full = log_notes(server.http_url, "load.>")
        filler.unlink()
        until_true(lambda: post(server, "big", big) == 200, 20, "publishing goes on")
        for _ in range(3):
            load.wait_for_progress()
        outcome = load.finish(server.http_url)
        assert server.running.pid == pid
        assert server.term() == 0
    refused = sum(len(notes.failed) for notes in outcome.producers)
    figure(f"{outcome}; {len(while_full.records)} read while the disk was full, {refused} refused")
    assert outcome.violations == []
    assert while_full.records == outcome.log.records[: len(while_full.records)]
    assert "Traceback" not in server.log()


class FailingSync:
    """Makes every sync of a running process fail from now on. It is over when the process has ended."""

    def __init__(self, pid: int) -> None:
        command = ["strace", "-f", "-p", str(pid), "-e", f"trace={CALLS}", "-e", f"inject={CALLS}:error=EIO"]
        try:
            self._tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        except FileNotFoundError:
            pytest.skip("making fsync fail needs strace (Debian: apt-get install strace)")
        assert self._tracer.stderr is not None
        line = self._tracer.stderr.readline()
        if "attached" not in line:
            self._tracer.communicate()
            pytest.skip(f"making fsync fail needs the right to trace a process: {line.strip()}")

    def failed(self) -> int:
        """How many calls failed. To be asked when the process has ended."""
        return self._tracer.communicate()[1].count("INJECTED")


@pytest.mark.parametrize("durability", ["always", "interval"])
def test_when_a_sync_fails_nothing_more_is_acknowledged_and_the_process_stops(
    durability: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    arguments = ["--durability", durability, "--flush-interval", "1"]
    with ServerProcess(tmp_path, tmp_path / "log", arguments=arguments) as server:
        before = [post(server, "s", f"before {number}") for number in range(10)]
        syncs = FailingSync(server.running.pid)
        after = list(_until_gone(server))
        code = server.wait()
        why = [line for line in server.log().splitlines() if "error" in line]
        server.start()
        records = log_notes(server.http_url, "s").records
        assert server.term() == 0
    failed = syncs.failed()
    figure(
        f"publishes were answered with {after}, exit code {code}, {failed} calls failed, {len(records)} records are "
        f"stored; {(why or ['-'])[0]}"
    )
    assert before == [200] * 10
    if durability == "always":
        assert 200 not in after
    assert code != 0
    assert why
    assert 10 + after.count(200) <= len(records) <= 10 + len(after)
    assert failed == 1


def _until_gone(server: ServerProcess) -> Iterator[int]:
    """The statuses of publishes until nobody answers any more."""
    while True:
        try:
            yield post(server, "s", "after")
        except httpx.TransportError:
            return
