"""The service under measurement: a process of its own, with what it used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Self

import psutil

READY = re.compile(r"ratsvc is ready: HTTP http://127\.0\.0\.1:(\d+)  gRPC 127\.0\.0\.1:(\d+)")
MIB = 1024 * 1024
#: Enough that a reader who lags for a moment loses nothing.
ENVIRONMENT = {
    "RATSVC_LOG_LEVEL": "warning",
    "RATSVC_DRAIN_S": "0",
    "RATSVC_RETENTION__MAX_RECORDS": "100000000",
    "RATSVC_RETENTION__MAX_BYTES": str(256 * MIB),
    "RATSVC_LIMITS__CONNECTIONS_PER_ADDRESS": "10000",
}


class Service:
    """`ratsvc serve`, as a context manager.

    Args:
        data_dir: where it makes a directory for its records, removed at the end; None: in memory.
        durability: with `data_dir`: always or interval.
        counted: whether it counts what goes through it.
    """

    def __init__(self, data_dir: str | None = None, durability: str = "always", counted: bool = True) -> None:
        self._module = "ratsvc" if counted else "ratsvc.bench.uncounted"
        self._data_dir = data_dir
        self._durability = durability
        self._directory: str | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", self._module, "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        if self._data_dir is not None:
            self._directory = tempfile.mkdtemp(prefix="bench-", dir=self._data_dir)
            command += ["--data-dir", self._directory, "--durability", self._durability]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RATSVC_")}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment | ENVIRONMENT)
        assert self._process.stdout is not None
        found = READY.match(self._process.stdout.readline())
        if found is None:
            self._process.kill()
            raise RuntimeError("the service did not start")
        self.http, self.grpc = int(found[1]), int(found[2])
        self._measured = psutil.Process(self._process.pid)
        self._cpu_before = self._cpu()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def reset(self) -> None:
        """Begins to count CPU time anew."""
        self._cpu_before = self._cpu()

    @property
    def cpu_s(self) -> float:
        """User and system seconds since the last reset, of all its threads."""
        return self._cpu() - self._cpu_before

    @property
    def rss_mib(self) -> float:
        """Resident memory."""
        return float(self._measured.memory_info().rss) / MIB

    def _cpu(self) -> float:
        times = self._measured.cpu_times()
        return float(times.user + times.system)
