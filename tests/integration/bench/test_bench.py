"""The benchmark measures what it says, at sizes that take no time. No timing is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ratsvc.bench.catalogue import REFERENCE, SCENARIOS

KEYS = {
    "scenario", "records_per_s", "mb_per_s", "p50_ms", "p99_ms", "p999_ms", "server_cpu_s_per_million",
    "server_rss_mib", "floor_ratio", "options",
}  # fmt: skip
FIGURES: dict[str, set[str]] = {
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
CPU = "server_cpu_s_per_million"
THROUGHPUT = {"records_per_s", "mb_per_s", "server_cpu_s_per_million", "record_bytes", "batch_bytes"}


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ratsvc", "bench", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_runs_and_writes_its_figures(scenario: str, tmp_path: Path) -> None:
    small = ["--records", "5000", "--readers", "20", "--rounds", "5", "--rate", "200", "--seconds", "0.3",
             "--file-mib", "8", "--idle-readers", "20", "--pairs", "1"]  # fmt: skip
    done = bench(scenario, *small, "--json", str(tmp_path / "b.json"))
    assert done.returncode == 0, done.stderr
    assert scenario in done.stdout
    (result,) = json.loads((tmp_path / "b.json").read_text())
    assert set(result) >= KEYS
    assert result["scenario"] == scenario
    assert result["options"]["records"] == 5_000
    assert result["server_rss_mib"] > 10
    for figure in FIGURES.get(scenario, THROUGHPUT):
        # So little work may take less CPU time than a tick of the clock that counts it.
        assert result[figure] > 0 or (figure == CPU and result[figure] == 0), figure
    if scenario == "figures":
        assert "calls that count" in result["note"]
    if scenario in REFERENCE:
        assert "×" in done.stdout


def test_a_group_of_scenarios_is_named_by_what_their_names_begin_with() -> None:
    done = bench("quickmem")
    assert done.returncode == 0, done.stderr
    for name in ("quickmem-1kb", "quickmem-10kb", "quickmem-100kb", "quickmem-1mb", "quickmem-memory"):
        assert f" {name} " in done.stdout
    assert "pickle" in done.stdout
    assert "streaming" not in done.stdout


def test_an_unknown_scenario_is_named() -> None:
    done = bench("nonsense")
    assert done.returncode == 2
    assert "there is no scenario 'nonsense'" in done.stderr
