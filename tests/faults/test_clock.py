"""A clock that jumps by an hour or ten years, while the service runs and while it does not: the order holds, and
retention removes what is too old by the time that really passed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.load import Load
from tests.faults.process import ServerProcess, until_true

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
SHORT, FULL = ("+10y", "-10y"), ("+1h", "+0", "-1h", "+10y", "-10y", "+0")
KEPT = 20
POLICIES = f'streams={{"short.*"={{max_age="500ms"}}, "few.*"={{max_records={KEPT}}}}}'


def fake_time() -> str:
    """The path of libfaketime; skips the test where there is none."""
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])]
    if not found:
        pytest.skip("a clock that jumps needs libfaketime (Debian: apt-get install faketime)")
    return str(found[0])


def test_a_clock_that_jumps_changes_no_order_and_expires_nothing(
    tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    jumps = scaled(SHORT, FULL)
    clock = tmp_path / "clock"
    _set(clock, "+0\n")
    environment = {
        "LD_PRELOAD": fake_time(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    seen: list[str] = []
    with (
        ServerProcess(tmp_path, tmp_path / "log", arguments=["--set", POLICIES], environment=environment) as server,
        Load(tmp_path, server.grpc_addr, server.http_url) as load,
    ):
        for at, jump in enumerate(jumps):
            load.wait_for_progress()  # there are records that a jump could expire
            _set(clock, f"{jump}\n")  # while it runs
            seen.append(_time(server))
            _publish_kept(server, f"running{at}")
            load.wait_for_progress()
            server.kill() if at % 2 else server.term()
            _set(clock, f"{jumps[-1 - at]}\n")  # while it does not
            server.start()
            _publish_kept(server, f"started{at}")
            _wait_until_expired(server, f"running{at}")
            load.wait_for_progress()
        for at in range(len(jumps)):
            _wait_until_expired(server, f"started{at}")
        outcome = load.finish(server.http_url)
        assert server.term() == 0
    figure(f"{outcome}; the service's days were {', '.join(seen)}")
    assert len({day[:4] for day in seen}) > 1
    assert outcome.violations == []
    assert "Traceback" not in server.log()


def _publish_kept(server: ServerProcess, name: str) -> None:
    """Publishes to a stream that keeps some records, and to one that keeps all for a short time."""
    for stream in (f"short.{name}", f"few.{name}"):
        lines = "\n".join(map(str, range(2 * KEPT)))
        headers = {"Content-Type": "application/x-ndjson"}
        assert httpx.post(f"{server.http_url}/v1/streams/{stream}", content=lines, headers=headers).status_code == 200
    assert _records(server, f"few.{name}") == KEPT


def _wait_until_expired(server: ServerProcess, name: str) -> None:
    until_true(lambda: _records(server, f"short.{name}") == 0, 20, f"short.{name} is removed by its age")


def _records(server: ServerProcess, stream: str) -> int:
    return int(httpx.get(f"{server.http_url}/v1/streams/{stream}/info").json()["records"])


def _time(server: ServerProcess) -> str:
    """What day the service thinks it is, from its Date header."""
    return " ".join(httpx.get(f"{server.http_url}/healthz").headers["date"].split()[3:0:-1])


def _set(clock: Path, offset: str) -> None:
    """Sets the clock. A file that is empty for a moment would end the process: libfaketime takes it for a mistake."""
    new = clock.with_suffix(".new")
    new.write_text(offset)
    new.replace(clock)
