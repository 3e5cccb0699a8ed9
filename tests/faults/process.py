"""`ratsvc serve` as a process that can be killed, stopped and started again at the same addresses."""

from __future__ import annotations

import os
import random
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

READY = re.compile(r"ratsvc is ready: HTTP http://127\.0\.0\.1:(\d+)  gRPC 127\.0\.0\.1:(\d+)")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
MIB = 1024 * 1024
ENVIRONMENT = {
    "RATSVC_DRAIN_S": "0.3",
    "RATSVC_RETRY_MS": "200",
    "RATSVC_RETENTION__MAX_RECORDS": "100000000",
    "RATSVC_RETENTION__MAX_BYTES": str(64 * 1024 * MIB),
    "RATSVC_LIMITS__LOG_BYTES": str(64 * 1024 * MIB),
}
"""Nothing is removed by retention unless a test asks for it."""


def free_port() -> int:
    """A port to listen at, also later: outside of those that the system gives to connections, so that no client gets
    it while the server is down."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, low)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class ServerProcess:
    """The service, at ports that stay the same.

    Args:
        directory: for its standard error, `server.log`.
        data_dir: where the log is; None: in memory.
        arguments: more of them for `serve`.
        environment: settings as RATSVC_… variables, and anything else, as LD_PRELOAD.
        program: what Python runs.
    """

    def __init__(
        self,
        directory: Path,
        data_dir: Path | None = None,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "ratsvc"),
    ) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        self.http_url = f"http://127.0.0.1:{self.http_port}"
        self.grpc_addr = f"127.0.0.1:{self.grpc_port}"
        self.environment = dict(environment or {})
        self._log = directory / "server.log"
        self._command = [sys.executable, *program, "serve", "--http", f"127.0.0.1:{self.http_port}"]
        self._command += ["--grpc", self.grpc_addr, *arguments]
        self._command += ["--data-dir", str(data_dir)] if data_dir is not None else []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it and waits for its line. Raises RuntimeError with what it wrote when it does not come."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RATSVC_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment | ENVIRONMENT | self.environment,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(START_TIMEOUT_S) else ""
        if READY.match(line) is None:
            self.kill()
            raise RuntimeError(f"the service did not start: {line!r}\n{self.log()[-2000:]}")

    @property
    def running(self) -> psutil.Process:
        """What the system knows of it."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._gone()

    def term(self) -> int:
        """SIGTERM; returns the exit code."""
        self.running.terminate()
        return self.wait()

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Returns the exit code when it has gone by itself. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._gone()
        return code

    def log(self) -> str:
        """What it wrote to standard error since its first start."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def metric(self, name: str) -> float:
        """One of its figures now, from /metrics; on a machine with much else to do the answer may take its time."""
        text = httpx.get(f"{self.http_url}/metrics", timeout=60).text
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))

    def rss_mib(self) -> float:
        """Resident memory."""
        return float(self.running.memory_info().rss) / MIB

    def files(self) -> int:
        """Open file descriptors."""
        return int(self.running.num_fds())

    def connections(self) -> int:
        """Open connections of its clients."""
        return sum(one.status == psutil.CONN_ESTABLISHED for one in self.running.net_connections("tcp"))

    def cpu_s(self) -> float:
        """User and system seconds since its start."""
        times = self.running.cpu_times()
        return float(times.user + times.system)

    def _gone(self) -> None:
        assert self._process is not None
        self._process.wait(STOP_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None


def until_true(condition: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.05) -> None:
    """Asks again and again, where there is nothing to wait on. Raises TimeoutError that names `what`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout_s:g} s still not: {what}")
        time.sleep(every_s)
