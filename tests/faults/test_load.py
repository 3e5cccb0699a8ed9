"""The machinery itself: without a fault there are no violations, and a digest tells records apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ratsvc.quickmem.packed import pack
from tests.faults.load import Load
from tests.faults.payload import digest, item
from tests.faults.process import ServerProcess


def test_a_load_without_faults_has_no_violations(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with ServerProcess(tmp_path) as server, Load(tmp_path, server.grpc_addr, server.http_url) as load:
        for _ in range(15):
            load.wait_for_progress()
        outcome = load.finish(server.http_url)
        assert server.term() == 0
    figure(str(outcome))
    assert outcome.violations == []
    assert len(outcome.log.records) > 100
    assert "Traceback" not in server.log()


def test_records_vary_and_their_digest_covers_all_of_them() -> None:
    items = [item("p", number, ("s", "t")) for number in range(300)]
    sizes = [len(pack(one.value)) for one in items]
    assert min(sizes) < 60
    assert max(sizes) > 10_000
    assert {one.stream for one in items} == {"s", "t"}
    assert {next(reversed(one.value)) for one in items} == {"bytes", "list", "map", "text"}
    assert len({digest(b"v", "k", "e"), digest(b"v", "", "e"), digest(b"v", "k", ""), digest(b"w", "k", "e")}) == 4
    assert items == [item("p", number, ("s", "t")) for number in range(300)]
