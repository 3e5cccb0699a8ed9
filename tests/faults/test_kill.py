"""`kill -9` and SIGTERM under load: nothing that was acknowledged is lost, repeated or out of order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.load import Load
from tests.faults.process import ServerProcess

MOST_S = 0.6
"""A kill comes up to so long after the load is under way again."""
KEPT = 40


@pytest.mark.parametrize(
    ("durability", "short", "long"),
    [
        ("always", 8, 200),
        ("interval", 3, 50),
    ],
    ids=("always", "interval"),
)
def test_kill_at_random_moments_loses_nothing(
    durability: str,
    short: int,
    long: int,
    tmp_path: Path,
    scaled: Callable[[Any, Any], Any],
    figure: Callable[[str], None],
) -> None:
    kills, chance, down_s = scaled(short, long), random.Random(9), 0.0
    with (
        ServerProcess(tmp_path, tmp_path / "log", arguments=["--durability", durability]) as server,
        Load(tmp_path, server.grpc_addr, server.http_url, processes=scaled(1, 4)) as load,
    ):
        for _ in range(kills):
            load.wait_for_progress()
            time.sleep(chance.uniform(0, MOST_S))  # the moment is what is random
            server.kill()
            began = time.monotonic()
            server.start()
            down_s += time.monotonic() - began
        load.wait_for_progress()
        outcome = load.finish(server.http_url)
        assert server.term() == 0
    figure(f"{kills} kills: {outcome}; ready again after {down_s / kills:.2f} s")
    assert outcome.violations == []
    assert "Traceback" not in server.log()


def test_sigterm_under_load_is_clean_and_loses_nothing(
    tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    stops, chance, took_s = scaled(3, 50), random.Random(15), 0.0
    with (
        ServerProcess(tmp_path, tmp_path / "log") as server,
        Load(tmp_path, server.grpc_addr, server.http_url, processes=scaled(1, 4)) as load,
    ):
        for _ in range(stops):
            load.wait_for_progress()
            time.sleep(chance.uniform(0, MOST_S))  # the moment is what is random
            began = time.monotonic()
            assert server.term() == 0
            took_s += time.monotonic() - began
            server.start()
        load.wait_for_progress()
        outcome = load.finish(server.http_url)
        assert server.term() == 0
    figure(f"{stops} times SIGTERM: {outcome}; gone after {took_s / stops:.2f} s")
    assert outcome.violations == []
    assert "Traceback" not in server.log()


def test_what_retention_removes_while_readers_are_away_is_told_as_a_gap(
    tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    kills, settings = scaled(3, 50), {"RATSVC_RETENTION__MAX_RECORDS": str(KEPT)}
    with (
        ServerProcess(tmp_path, tmp_path / "log", environment=settings) as server,
        Load(tmp_path, server.grpc_addr, server.http_url, readers=8) as load,
    ):
        load.wait_for_progress()
        stream = f"{server.http_url}/v1/streams/load.shared?format=page"
        early = httpx.get(f"{stream}&from=earliest&limit=1").json()["next"]
        for _ in range(kills):
            load.wait_for_progress()
            server.kill()
            server.start()
        load.wait_for_progress()
        outcome = load.finish(server.http_url, has_retention=True)
        late = httpx.get(f"{stream}&from={early}").json()
        assert server.term() == 0
    figure(f"{kills} kills, {KEPT} records kept of a stream: {outcome}")
    assert outcome.violations == []
    assert [gap["reason"] for gap in late["gaps"]] == ["retention"]
