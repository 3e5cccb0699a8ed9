"""The benchmark measures what it says, at sizes that take no time. No timing is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ratsvc.bench.catalogue import BY_DEFAULT, REFERENCE, SCENARIOS
from ratsvc.cli.bench import _named

KEYS = {
    "scenario", "records_per_s", "mb_per_s", "p50_ms", "p99_ms", "p999_ms", "server_cpu_s_per_million",
    "server_rss_mib", "floor_ratio", "options",
}  # fmt: skip
CPU = "server_cpu_s_per_million"
THROUGHPUT = {"records_per_s", "mb_per_s", CPU, "record_bytes", "batch_bytes"}
FIGURES: dict[str, set[str]] = {
    **{name: {"floor_ratio", *THROUGHPUT} for name in ("sse", "ndjson", "text", "chunked", "binary")},
    "fanout": {"records_per_s", "p50_ms", "p99_ms", "floor_ratio"},
    "latency": {"records_per_s", "p50_ms", "p99_ms", "p999_ms", "server_cpu_s_per_million"},
    "catchup": {"records_per_s", "mb_per_s", "p50_ms", "p99_ms", "server_cpu_s_per_million"},
    "file": {"mb_per_s"},
    **{f"compression-{batch}": {"records_per_s", "mb_per_s", "server_cpu_s_per_million"} for batch in (1, 50)},
    "idle": set(),
    **{name: {"records_per_s", "mb_per_s", "record_bytes"} for name in ("delta-vehicles", "delta-book")},
    "quickmem-memory": set(),
    **{f"quickmem-{size}": {"records_per_s", "mb_per_s", "p50_ms"} for size in ("1kb", "10kb", "100kb", "1mb")},
    **{name: {"records_per_s", "mb_per_s"} for name in SCENARIOS if name.startswith("streaming-")},
}


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ratsvc", "bench", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


SMALL = [
    "--records", "5000", "--readers", "20", "--rounds", "5", "--rate", "200", "--seconds", "0.3",
    "--file-mib", "8", "--idle-readers", "20", "--pairs", "1",
]  # fmt: skip
GROUPS: dict[str, list[str]] = {}
for _name in SCENARIOS:
    GROUPS.setdefault("default" if _name in BY_DEFAULT else _name.partition("-")[0], []).append(_name)


@pytest.mark.parametrize("group", GROUPS)
def test_every_scenario_of_a_group_runs_and_writes_its_figures(group: str, tmp_path: Path) -> None:
    done = bench(*([group] if group != "default" else []), *SMALL, "--json", str(tmp_path / "b.json"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "b.json").read_text())
    assert [result["scenario"] for result in results] == GROUPS[group]
    for result in results:
        scenario = result["scenario"]
        (row,) = [line for line in done.stdout.splitlines() if line.startswith(f" {scenario} ")]
        assert set(result) >= KEYS
        assert result["options"]["records"] == 5_000
        assert result["server_rss_mib"] > 10
        for figure in FIGURES.get(scenario, THROUGHPUT):
            # So little work may take less CPU time than a tick of the clock that counts it.
            assert result[figure] > 0 or (figure == CPU and result[figure] == 0), figure
        if scenario in REFERENCE:
            assert "×" in row
    if group == "figures":
        assert "calls that count" in done.stdout
    if group == "quickmem":
        assert "pickle" in done.stdout


def test_all_are_run_when_all_are_asked_for() -> None:
    assert _named("all") == list(SCENARIOS)


def test_an_unknown_scenario_is_named() -> None:
    done = bench("nonsense")
    assert done.returncode == 2
    assert "there is no scenario 'nonsense'" in done.stderr
