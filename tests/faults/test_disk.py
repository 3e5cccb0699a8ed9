"""A full disk and a disk that fails to sync: no false acknowledgement, and reading goes on as long as it can."""

from __future__ import annotations

import os
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
from tests.faults.process import ServerProcess, until_true

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


def fill(disk: Path) -> Path:
    """Takes all room that is left."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (1024 * 1024, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
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


@pytest.mark.parametrize("reserve_mib", [0, 8])
def test_a_full_disk_refuses_records_until_there_is_room(
    reserve_mib: int, tmp_path: Path, small_disk: Path, figure: Callable[[str], None]
) -> None:
    big = "x" * 500_000
    settings = {
        "RATSVC_DISK__RESERVE_BYTES": str(reserve_mib * 1024 * 1024),
        "RATSVC_DISK__TRIM_PERCENT": "100",
        "RATSVC_DISK__FULL_PERCENT": "100",
    }
    with (
        ServerProcess(tmp_path, small_disk / "log", environment=settings) as server,
        Load(tmp_path, server.grpc_addr, server.http_url) as load,
    ):
        pid = server.running.pid
        for _ in range(3):
            load.wait_for_progress()
        filler = fill(small_disk)
        until_true(lambda: post(server, "big", big) == 507, 20, "a publish over HTTP is refused")
        assert grpc_code(server.grpc_addr, "big", big) is grpc.StatusCode.RESOURCE_EXHAUSTED
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


@pytest.fixture
def failing_sync() -> Iterator[Callable[[int], None]]:
    """Makes every sync of a running process fail from now on."""
    tracers = []

    def inject(pid: int) -> None:
        command = ["strace", "-f", "-p", str(pid), "-e", f"trace={CALLS}", "-e", f"inject={CALLS}:error=EIO"]
        try:
            tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"})
        except FileNotFoundError:
            pytest.skip("making fsync fail needs strace")
        tracers.append(tracer)
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"making fsync fail needs the right to trace a process: {line.strip()}")

    yield inject
    for tracer in tracers:
        tracer.kill()
        tracer.communicate()


@pytest.mark.parametrize("durability", ["always", "interval"])
def test_when_a_sync_fails_nothing_more_is_acknowledged_and_the_process_stops(
    durability: str, tmp_path: Path, failing_sync: Callable[[int], None], figure: Callable[[str], None]
) -> None:
    arguments = ["--durability", durability, "--flush-interval", "1"]
    with ServerProcess(tmp_path, tmp_path / "log", arguments=arguments) as server:
        for number in range(10):
            assert post(server, "s", f"before {number}") == 200
        failing_sync(server.running.pid)
        try:
            status = post(server, "s", "after")
        except httpx.TransportError as error:
            status = 0
            said = type(error).__name__
        else:
            said = f"status {status}"
        code = server.wait()
        why = [line for line in server.log().splitlines() if "error" in line]
        server.start()
        records = log_notes(server.http_url, "s").records
        assert server.term() == 0
    figure(f"{durability}: the publish got {said}, exit code {code}, {len(records)} records after; {(why or ['-'])[0]}")
    assert durability == "interval" or status != 200
    assert code != 0
    assert why
    assert 10 <= len(records) <= 11
