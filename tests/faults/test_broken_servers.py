"""The fault tests can fail: run against servers with a fault built in, the checker finds it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.load import Load, Process
from tests.faults.process import ServerProcess
from tests.faults.proxy import cut_acknowledgements

KILLS = 2
PATIENCE_S = 2.0
"""For readers: some wait for what was lost."""


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("commit_removed", "where nothing is stored|where something else is stored|did not get"),
        ("acknowledged_before_commit", "where nothing is stored|where something else is stored"),
        ("delivered_before_commit", "reader .* saw offset"),
        ("dedupe_off", "stored twice"),
    ],
    ids=("commit removed", "acknowledged before commit", "delivered before commit", "dedupe off"),
)
def test_the_checker_finds_a_broken_server(
    fault: str, sentence: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    chance = random.Random(fault)
    program = ["-m", "tests.faults.broken", fault]
    with ServerProcess(tmp_path, tmp_path / "log", program=program) as server:
        proxy = Process(cut_acknowledgements, server.grpc_port, 0.05)
        _, port = proxy.receive()
        with Load(tmp_path, f"127.0.0.1:{port}", server.http_url) as load:
            for _ in range(KILLS):
                for _ in range(3):
                    load.wait_for_progress()
                time.sleep(chance.uniform(0, 0.1))  # the moment is what is random
                server.kill()
                server.start()
            load.wait_for_progress()
            outcome = load.finish(server.http_url, PATIENCE_S)
        proxy.send("stop")
        proxy.receive()
        proxy.close()
    found = [line for line in outcome.violations if re.search(sentence, line)]
    figure(f"{outcome}; for one: {(found or outcome.violations or ['none'])[0]}")
    assert found, outcome.violations
