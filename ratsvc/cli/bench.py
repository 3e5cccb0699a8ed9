"""`ratsvc bench`: measures this machine, and prints what it found."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ratsvc.bench.catalogue import BY_DEFAULT, REFERENCE, SCENARIOS
from ratsvc.bench.scenarios import Options, Result
from ratsvc.cli import UsageError
from ratsvc.quickmem import wire

DEFAULTS = Options()


def bench(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCENARIO",
            help=f"Of {', '.join(SCENARIOS)}, a group of them, or all; by default {BY_DEFAULT[0]} to {BY_DEFAULT[-1]}.",
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results there, as JSON.")] = None,
    records: Annotated[int, typer.Option(min=1, help="Records of a throughput scenario.")] = DEFAULTS.records,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Records a request.")] = DEFAULTS.batch,
    value_bytes: Annotated[int, typer.Option(min=48, max=100_000, help="A value, packed.")] = DEFAULTS.value_bytes,
    readers: Annotated[int, typer.Option(min=1, help="Readers of the fan-out.")] = DEFAULTS.readers,
    rounds: Annotated[int, typer.Option(min=1, help="Records of the fan-out.")] = DEFAULTS.rounds,
    rate: Annotated[float, typer.Option(min=1, help="Records/s of the latency scenario.")] = DEFAULTS.rate,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long latency and idle take.")] = DEFAULTS.seconds,
    file_mib: Annotated[int, typer.Option(min=1, help="The size of the file.")] = DEFAULTS.file_mib,
    idle_readers: Annotated[int, typer.Option(min=1, help="Readers of the idle scenario.")] = DEFAULTS.idle_readers,
    pairs: Annotated[int, typer.Option(min=1, help="Runs with figures and without.")] = DEFAULTS.pairs,
    data_dir: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Keep records on disk, in a new directory there.")
    ] = None,
    durability: Annotated[str, typer.Option(help="With --data-dir: always or interval.")] = DEFAULTS.durability,
) -> None:
    """Measure the service on this machine: it, its producers and its readers in processes of their own, over real
    sockets.

    Latencies are from the publish call to the reader's socket. The service's CPU time and memory are its own alone.
    The floor is what the same machine gives in the same run without the service: for the fan-out a bare loop that
    writes the same bytes to as many sockets, for throughput a bare gRPC server that only acknowledges what it is sent.
    """
    wanted = [one for name in scenarios for one in _named(name)] if scenarios else list(BY_DEFAULT)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if durability not in ("always", "interval"):
        raise UsageError(f"--durability takes always or interval, got {durability!r}")
    place = None if data_dir is None else str(data_dir)
    options = Options(
        records, batch, value_bytes, readers, rounds, rate, seconds, file_mib, idle_readers, place, durability, pairs
    )
    console = Console(width=None if sys.stdout.isatty() else 132)
    checked = "C" if wire.COMPILED else "Python"
    machine = f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    console.print(f"{machine}, records checked in {checked}", style="dim")
    results: list[Result] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(wanted))
        for name in wanted:
            progress.update(task, description=name)
            results.append(SCENARIOS[name](options))
            progress.advance(task)
    console.print(_table(results))
    for result in results:
        if result.note:
            console.print(f"[dim]{result.scenario}: {result.note}[/dim]", highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


def _named(name: str) -> list[str]:
    """The scenario of that name, or all whose names begin with it and a dash, or all."""
    found = [one for one in SCENARIOS if name in (one, "all") or one.startswith(f"{name}-")]
    if not found:
        raise UsageError(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}, and all")
    return found


def _table(results: list[Result]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("scenario")
    for name in ("records/s", "vs reference", "MB/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU s/M", "RSS MiB", "of floor"):
        table.add_column(name, justify="right")
    for one in results:
        reference = REFERENCE.get(one.scenario)
        ratio = one.records_per_s / reference if reference and one.records_per_s else None
        table.add_row(
            one.scenario,
            _shown(one.records_per_s, ",.0f"),
            _shown(ratio, ".1f×"),
            _shown(one.mb_per_s, ",.0f"),
            _shown(one.p50_ms, ".2f"),
            _shown(one.p99_ms, ".2f"),
            _shown(one.p999_ms, ".2f"),
            _shown(one.server_cpu_s_per_million, ".2f"),
            _shown(one.server_rss_mib, ",.0f"),
            _shown(one.floor_ratio, ".2f"),
        )
    return table


def _shown(figure: float | None, form: str) -> str:
    if figure is None:
        return "–"
    return f"{figure:{form.removesuffix('×')}}" + ("×" if form.endswith("×") else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
