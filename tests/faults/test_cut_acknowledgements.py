"""Acknowledgements are cut off on their way and the server is restarted: each record is stored once all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.load import Load, Process
from tests.faults.process import ServerProcess
from tests.faults.proxy import cut_acknowledgements

PRODUCERS = 8
CUT = 0.3
PATIENCE_S = 1800


def test_lost_acknowledgements_store_nothing_twice(
    tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    publishes, restarts = scaled((504, 3), (10_000, 100))
    with ServerProcess(tmp_path, tmp_path / "log") as server:
        proxy = Process(cut_acknowledgements, server.grpc_port, CUT)
        _, port = proxy.receive()
        with Load(
            tmp_path,
            f"127.0.0.1:{port}",
            server.http_url,
            producers=PRODUCERS,
            readers=2,
            records=publishes // PRODUCERS,
            pause_s=0.0,
            burst=4,
            batch=1,
            unanswered=4,
        ) as load:
            for at in range(1, restarts + 1):
                load.wait_for(publishes * at // (restarts + 2))
                server.kill() if at % 2 else server.term()
                server.start()
            load.wait_until_sent(PATIENCE_S)
            outcome = load.finish(server.http_url)
        proxy.send("stop")
        answers, cuts = proxy.receive()
        proxy.close()
        assert server.term() == 0
    figure(f"{outcome}; {cuts} of {answers} answers cut off ({cuts / answers:.0%}), {restarts} restarts")
    assert outcome.violations == []
    assert len(outcome.log.records) == publishes
    assert 0.25 < cuts / answers < 0.35
