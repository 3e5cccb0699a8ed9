"""Many readers and many streams: those that never read cost bounded memory, what goes leaves nothing behind, and a
record costs the same on many streams as on few.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx

from tests.faults.crowd import churn, crowd, publish_many_streams, publish_timed
from tests.faults.load import Process
from tests.faults.process import ServerProcess, until_true

STALL_S = 1.0
READER_MIB = 0.25
"""`limits.reader_bytes`."""
SHARED_MIB = 64.0
"""Room for what is not a reader's: the tail, caches, the interpreter's own."""
RECORD_BYTES = 8 * 1024
TOKEN = "a-token-of-the-soak-0123456789abcdef"


def test_readers_that_never_read_cost_bounded_memory_and_are_cut(
    tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    readers, stuck, records, per_s = scaled((200, 20, 100, 50), (1_000, 100, 300, 15))
    alone, _, _ = _crowd(tmp_path, readers - stuck, 0, records, per_s)
    beside, grown_mib, cut = _crowd(tmp_path, readers, stuck, records, per_s)
    figure(
        f"p99 of {readers - stuck} readers {_p99(beside) * 1e3:.1f} ms beside {stuck} that never read, "
        f"{_p99(alone) * 1e3:.1f} ms without them; memory grew by {grown_mib:.0f} MiB; "
        f"each was cut with at most {max(size or 0 for size in cut) / 1024:.0f} KiB given to its socket"
    )
    assert None not in cut
    assert grown_mib < stuck * (READER_MIB + 2 * RECORD_BYTES / 1024**2) + SHARED_MIB


def _crowd(
    directory: Path, readers: int, stuck: int, records: int, per_s: float
) -> tuple[list[float], float, list[int | None]]:
    """Latencies, growth of memory in MiB, and what those who never read were given."""
    settings = {"RATSVC_STALL_TIMEOUT_S": str(STALL_S), "RATSVC_RETENTION__MAX_RECORDS": "100"}
    with ServerProcess(directory, environment=settings) as server:
        following = Process(crowd, server.http_port, "/v1/streams/timed?format=sse", readers, stuck)
        publishing = Process(publish_timed, server.grpc_port, "timed", records, per_s, RECORD_BYTES)
        following.receive()
        publishing.receive()
        until_true(lambda: server.metric("ratsvc_subscriptions") == readers, 10, "all readers are there")
        before = server.rss_mib()
        following.send(records)
        publishing.send("go")
        publishing.receive()
        latencies: list[float] = following.receive()
        until_true(lambda: server.metric("ratsvc_subscriptions") == readers - stuck, 20, "who never reads is cut")
        grown = server.rss_mib() - before
        following.send("look")
        cut: list[int | None] = following.receive()
        following.close()
        publishing.close()
        assert server.term() == 0
    return latencies, grown, cut


def test_a_record_costs_the_same_on_many_streams(
    tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    streams, seconds = scaled((1_000, 2), (5_000, 60))
    many_us, many_mib = _streams(tmp_path, tmp_path / "many", streams, seconds, streams)
    few_us, few_mib = _streams(tmp_path, tmp_path / "few", streams // 10, seconds, streams)
    per_stream_kib = (many_mib - few_mib) * 1024 / (streams - streams // 10)
    figure(
        f"{streams} streams with 1 record/s each: {many_us:.0f} µs of CPU a record; {streams // 10} streams with 10: "
        f"{few_us:.0f} µs; memory of a stream {per_stream_kib:.1f} KiB"
    )


def _streams(directory: Path, data_dir: Path, streams: int, seconds: float, per_s: int) -> tuple[float, float]:
    """CPU time of a record in µs, and memory in MiB, at `per_s` records a second over `streams` streams."""
    with ServerProcess(directory, data_dir) as server:
        publishing = Process(publish_many_streams, server.grpc_port, streams, seconds, per_s)
        publishing.receive()
        before = server.cpu_s()
        publishing.send("go")
        published = publishing.receive(seconds * 4 + 30)
        cost = (server.cpu_s() - before) / published * 1e6
        publishing.close()
        assert published == int(seconds * per_s)
        assert server.metric("ratsvc_streams") == streams
        memory = server.rss_mib()
        assert server.term() == 0
    return cost, memory


def test_readers_that_come_and_go_leave_nothing_behind(
    tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    rounds, at_once = scaled((6, 50), (50, 200))
    settings = {
        "RATSVC_RETENTION__MAX_RECORDS": "200",
        "RATSVC_LIMITS__TAIL_BYTES": str(1024 * 1024),
        "RATSVC_DEBUG_TOKEN": TOKEN,
    }
    with ServerProcess(tmp_path, environment=settings) as server:
        publishing = Process(publish_timed, server.grpc_port, "timed", 10**9, 200, 500)
        publishing.receive()
        publishing.send("go")
        leaving = Process(churn, server.http_port, "/v1/streams/timed?from=-50&format=", 2 * rounds, at_once)
        leaving.receive()
        until_true(lambda: server.metric("ratsvc_log_bytes") > 50_000, 20, "there are records")

        idle_tasks = _tasks(server)

        def soak() -> tuple[float, int, int]:
            for _ in range(rounds):
                leaving.send("go")
                leaving.receive()
            until_true(lambda: server.metric("ratsvc_subscriptions") == 0, 20, "all readers have gone")
            until_true(lambda: server.connections() <= 2, 20, "all connections are closed")
            until_true(lambda: _tasks(server) <= idle_tasks + 5, 20, "all tasks of readers have ended")
            return server.rss_mib(), server.files(), _tasks(server)

        warm_mib, warm_files, warm_tasks = soak()
        end_mib, end_files, end_tasks = soak()
        publishing.close(0)
        leaving.close()
        assert server.term() == 0
    figure(
        f"{rounds * at_once} readers more: memory from {warm_mib:.1f} to {end_mib:.1f} MiB, "
        f"files from {warm_files} to {end_files}, tasks {idle_tasks}, {warm_tasks} and {end_tasks}"
    )
    assert end_files <= warm_files + 3
    assert end_mib < warm_mib + 8 + rounds * at_once / 1024
    assert "Traceback" not in server.log()


def _tasks(server: ServerProcess) -> int:
    """How many tasks its event loop has."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return int(httpx.get(f"{server.http_url}/debug/tasks?limit=1", headers=headers, timeout=10).json()["count"])


def _p99(latencies: list[float]) -> float:
    return quantiles(latencies, n=100)[98]
