"""A durable service behind Debian's nginx, restarted under load: stock EventSources miss nothing, and do not come back
all at once."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
import yaml

from ratsvc.client import GapSeen, Received
from tests.faults.checker import Gap, ReaderNotes, Record, Stored, check
from tests.faults.ledger import seen
from tests.faults.load import Load, Outcome
from tests.faults.process import ServerProcess, free_port, until_true

ROOT = Path(__file__).parents[2]
ANNOTATION = "nginx.ingress.kubernetes.io/"
STREAMS = ("load.>",)
CLIENTS, SHARE = 200, 0.20
ATTEMPTS = 3
"""On a busy machine readers who come late come together."""
OTHERS = 4
RESTART_S = 5.0


@pytest.fixture
def nginx() -> str:
    """Debian's nginx."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        pytest.skip("nginx is not installed")
    return found


def annotated(address: str) -> str:
    """A location with the settings that the chart asks of an Ingress."""
    values = yaml.safe_load((ROOT / "helm/ratsvc/values.yaml").read_text())
    lines = [f"proxy_pass http://{address};", 'proxy_set_header Connection "";']
    for name, value in values["ingress"]["http"]["annotations"].items():
        if name.startswith(ANNOTATION):
            directive = (
                name.removeprefix(ANNOTATION).replace("-", "_").replace("proxy_body_size", "client_max_body_size")
            )
            lines.append(f"{directive} {value};")
    return "location / {\n" + "\n".join(lines) + "\n}"


def documented(address: str) -> str:
    """What docs/operations.md says to put into nginx."""
    block = re.search(r"```nginx\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    assert block
    return block[1].replace("http://ratsvc", f"http://{address}")


class Nginx:
    """A running nginx."""

    def __init__(self, port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = log

    def requests(self) -> list[tuple[float, int]]:
        """When each request of Node.js that is over came, and its status."""
        found = []
        for line in self._log.read_text().splitlines():
            ended, took, status, agent = line.split(" ", 3)
            if agent == "node":
                found.append((float(ended) - float(took), int(status)))
        return sorted(found)


@contextmanager
def running(program: str, directory: Path, locations: str) -> Iterator[Nginx]:
    """An nginx with these locations."""
    port, log = free_port(), directory / "access.log"
    temporary = "\n".join(
        f"{kind}_temp_path {directory / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"""daemon off; worker_processes 1; pid {directory / "pid"};
        error_log {directory / "error.log"};
        events {{ worker_connections 2048; }}
        http {{
            log_format times '$msec $request_time $status $http_user_agent';
            access_log {log} times;
            {temporary}
            server {{ listen 127.0.0.1:{port} backlog=1024; {locations} }}
        }}"""
    )
    command = [program, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
    with subprocess.Popen(command) as process:
        try:
            until_true((directory / "pid").exists, 10, "nginx is running")
            yield Nginx(port, log)
        finally:
            process.terminate()


class EventSources:
    """Readers in a Node.js process; a context manager, which ends it whatever came between."""

    def __init__(self, node: str, url: str, count: int, directory: Path) -> None:
        self.count = count
        self._path = directory / "eventsources"
        script = ROOT / "tests/e2e/node/eventsources.js"
        with self._path.open("wb") as out:
            self._process = subprocess.Popen(
                [node, str(script), str(count), f"{url}/v1/streams/load.%3E?from=earliest&view=record"],
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._process.stderr is not None
        assert self._process.stderr.readline() == "connected\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def finish(self, outcome: Outcome) -> list[ReaderNotes]:
        """Lets them come to the end of the log; returns what they saw."""
        _, errors = self._process.communicate(f"{outcome.log.records[-1].offset}\n", timeout=90)
        assert (errors, self._process.returncode) == ("", 0)
        notes = [ReaderNotes(f"eventsource{at}", STREAMS) for at in range(self.count)]
        known: dict[str, Stored] = {}
        for line in self._path.read_text().splitlines():
            number, kind, data = json.loads(line)
            if kind == "gap":
                gap = json.loads(data)
                after, to, reason = seen(GapSeen(gap["from"], gap["to"], gap["reason"]))
                notes[number].items.append(Gap(int(str(after)), int(str(to)), str(reason)))
                continue
            assert kind in ("message", "tick"), line
            if data not in known:
                epoch, offset, *record = seen(msgspec.json.decode(data, type=Received))
                known[data] = Stored(str(epoch), int(str(offset)), Record(*record))  # type: ignore[arg-type]
            notes[number].items.append(known[data])
        return notes


def most_in(times: list[float], width: float) -> int:
    """The most of the sorted `times` that lie within `width` of each other."""
    most = first = 0
    for at, time_s in enumerate(times):
        while time_s - times[first] > width:
            first += 1
        most = max(most, at + 1 - first)
    return most


def test_readers_of_a_restart_come_back_spread_over_the_drain_and_miss_nothing(
    nginx: str,
    node: str,
    tmp_path: Path,
    scaled: Callable[[Any, Any], Any],
    figure: Callable[[str], None],
) -> None:
    for attempt in range(ATTEMPTS):
        (directory := tmp_path / str(attempt)).mkdir()
        spread = _most_at_once(nginx, node, directory, scaled(1, 5), scaled(5.0, 10.0), figure)
        if spread <= SHARE:
            break
    assert spread <= SHARE


def _most_at_once(
    nginx: str, node: str, directory: Path, restarts: int, drain_s: float, figure: Callable[[str], None]
) -> float:
    """The largest share of the readers that came back within a tenth of the drain, after any of some restarts."""
    settings = {"RATSVC_DRAIN_S": f"{drain_s}", "RATSVC_RESTART_S": f"{RESTART_S}"}
    with (
        ServerProcess(directory, directory / "log", environment=settings) as server,
        running(nginx, directory, annotated(f"127.0.0.1:{server.http_port}")) as proxy,
        Load(directory, server.grpc_addr, proxy.url, readers=OTHERS, pause_s=2.0, burst=8) as load,
        EventSources(node, proxy.url, CLIENTS, directory) as readers,
    ):
        began = []
        for _ in range(restarts):
            load.wait_for_progress()
            began.append(time.time())
            assert server.term() == 0
            server.start()
            until_true(lambda: server.metric("ratsvc_subscriptions") >= CLIENTS + OTHERS, 60, "all readers are back")
        outcome = load.finish(server.http_url, 60)
        notes = readers.finish(outcome)
        assert server.term() == 0
        requests = proxy.requests()
    spread = 0.0
    for start, end in zip(began, [*began[1:], float("inf")], strict=True):
        back = [(at, status) for at, status in requests if start <= at < end]
        assert [status for _, status in back] == [200] * CLIENTS
        spread = max(spread, most_in([at for at, _ in back], drain_s / 10) / CLIENTS)
    total = sum(len(one.items) for one in notes)
    figure(
        f"{restarts} restarts: {outcome}; {CLIENTS} EventSources saw {total} records, and at most {spread:.0%} of"
        f" them came back in a tenth of the drain"
    )
    assert outcome.violations + check(outcome.producers, notes, outcome.log) == []
    assert "drain_timeout" not in server.log()
    assert "Traceback" not in server.log()
    return spread


def test_with_the_documented_proxy_readers_come_back_after_a_crash_too(
    nginx: str, node: str, tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    kills = scaled(1, 20)
    with (
        ServerProcess(tmp_path, tmp_path / "log") as server,
        running(nginx, tmp_path, documented(f"127.0.0.1:{server.http_port}")) as proxy,
        Load(tmp_path, server.grpc_addr, server.http_url, readers=OTHERS, pause_s=0.5, burst=8) as load,
        EventSources(node, proxy.url, CLIENTS, tmp_path) as readers,
    ):
        for _ in range(kills):
            load.wait_for_progress()
            server.kill()
            until_true(lambda: len(proxy.requests()) > CLIENTS, 30, "readers met the proxy alone")
            server.start()
            until_true(lambda: server.metric("ratsvc_subscriptions") >= CLIENTS + OTHERS, 60, "all readers are back")
        outcome = load.finish(server.http_url, 60)
        notes = readers.finish(outcome)
        assert server.term() == 0
    figure(f"{kills} kills behind a proxy: {outcome}; {CLIENTS} EventSources")
    assert outcome.violations + check(outcome.producers, notes, outcome.log) == []
