"""The fault tests can fail: run against servers with a fault built in, the checker finds it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.load import Load, Outcome, Process
from tests.faults.process import ServerProcess
from tests.faults.proxy import cut_acknowledgements

PATIENCE_S = 2.0
"""For readers: some wait for what was lost."""
ATTEMPTS = 4
"""On a busy machine no kill may come in the moment that shows the fault."""


@pytest.mark.parametrize(
    ("fault", "kills", "sentence"),
    [
        ("commit_removed", 1, "where nothing is stored|where something else is stored|did not get"),
        ("acknowledged_before_commit", 2, "where nothing is stored|where something else is stored"),
        ("delivered_before_commit", 2, "reader .* saw offset"),
        ("dedupe_off", 1, "stored twice"),
    ],
    ids=("commit removed", "acknowledged before commit", "delivered before commit", "dedupe off"),
)
def test_the_checker_finds_a_broken_server(
    fault: str, kills: int, sentence: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    chance = random.Random(fault)
    for attempt in range(ATTEMPTS):
        (directory := tmp_path / str(attempt)).mkdir()
        outcome = _killed(fault, kills, chance, directory)
        found = [line for line in outcome.violations if re.search(sentence, line)]
        if found:
            break
    figure(f"{outcome}; for one: {(found or outcome.violations or ['none'])[0]}")
    assert found, outcome.violations


def _killed(fault: str, kills: int, chance: random.Random, directory: Path) -> Outcome:
    """What a load comes to beside a server with a fault, which is killed at random moments."""
    program = ["-m", "tests.faults.broken", fault]
    with ServerProcess(directory, directory / "log", program=program) as server:
        proxy = Process(cut_acknowledgements, server.grpc_port, 0.05)
        _, port = proxy.receive()
        with Load(directory, f"127.0.0.1:{port}", server.http_url) as load:
            for _ in range(kills):
                load.wait_for_progress()
                time.sleep(chance.uniform(0.05, 0.15))  # the moment is what is random
                server.kill()
                server.start()
            load.wait_for_progress()
            outcome = load.finish(server.http_url, PATIENCE_S)
        proxy.send("stop")
        proxy.receive()
        proxy.close()
    return outcome
