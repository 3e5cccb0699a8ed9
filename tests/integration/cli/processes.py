"""`ratsvc` in processes of its own: commands, and services for them to talk to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

ENV = {**os.environ, "COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}


def ratsvc(*args: str, stdin: str | bytes = b"", timeout: float = 30) -> subprocess.CompletedProcess[str]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [sys.executable, "-m", "ratsvc", *args], input=data, capture_output=True, timeout=timeout, env=ENV
    )
    return subprocess.CompletedProcess(args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Service:
    """A served process and its addresses."""

    def __init__(self, *args: str) -> None:
        command = [sys.executable, "-m", "ratsvc", "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"ratsvc is ready: HTTP (http://\S+)  gRPC (\S+)\n", line)
        assert found, line + self.stop()[1]
        self.http, self.grpc = found.groups()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


def good(*args: object) -> str:
    """What a command that succeeds says."""
    done = ratsvc(*map(str, args))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def found(directory: Path) -> str:
    """What `check` says of a damaged log."""
    done = ratsvc("log", "check", str(directory))
    assert (done.returncode, done.stderr) == (1, ""), done.stderr
    assert done.stdout.splitlines()[-1].startswith("damaged: ")
    return done.stdout
