"""Connections found by their ends: only the right one, and nothing else is touched."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ratsvc.streaming import segqueue_unified
from ratsvc.streaming.stalls import Connection


def scope(sock: socket.socket, **more: object) -> dict[str, object]:
    return {"http_version": "1.1", "server": sock.getsockname()[:2], "client": sock.getpeername()[:2], **more}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_connection_that_a_request_names_is_reset_and_no_other(family: int) -> None:
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with ExitStack() as closing:
        listening = closing.enter_context(socket.create_server((address, 0), family=family))
        where = listening.getsockname()[:2]
        clients = [closing.enter_context(socket.create_connection(where)) for _ in range(2)]
        served = [closing.enter_context(listening.accept()[0]) for _ in range(2)]
        connection = Connection.of(scope(served[1]))
        assert connection is not None
        before = connection.acknowledged()
        served[1].sendall(b"12345")
        assert clients[1].recv(5) == b"12345"
        if sys.platform == "linux":
            assert before is not None
            while (acked := connection.acknowledged()) == before:
                time.sleep(0.001)
            assert acked == before + 5
        assert connection.reset()
        served[1].close()
        with suppress(ConnectionResetError):  # it may see the end before the reset
            assert clients[1].recv(1) == b""
        assert not connection.reset()
        assert connection.acknowledged() is None
        served[0].sendall(b"alive")
        assert clients[0].recv(5) == b"alive"


@pytest.mark.parametrize(
    "more", [{"http_version": "2"}, {"client": None}, {"client": ("10.0.0.1", 0)}, {"server": ("/run/app.sock", None)}]
)
def test_what_is_not_one_requests_connection_is_none(more: dict[str, object]) -> None:
    named: dict[str, object] = {"http_version": "1.1", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 5)}
    assert Connection.of(named | more) is None
    assert Connection.of(named) is not None


def test_a_connection_of_another_process_is_not_found() -> None:
    connection = Connection((("127.0.0.1", 1), ("127.0.0.1", 2)))
    assert not connection.reset()
    assert connection.acknowledged() is None


def test_the_process_keeps_the_locks_that_it_has_on_files(tmp_path: Path) -> None:
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with (tmp_path / "lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        descriptors = set(os.listdir("/dev/fd"))
        Connection((("127.0.0.1", 1), ("127.0.0.1", 2))).reset()
        assert set(os.listdir("/dev/fd")) == descriptors
        done = subprocess.run([sys.executable, "-c", code, file.name], capture_output=True, text=True, timeout=30)
        assert "BlockingIOError" in done.stderr


@pytest.mark.parametrize("bounds", [{"stall_s": 0}, {"heartbeat_s": -1}, {"stall_s": float("nan")}])
def test_a_time_of_nothing_is_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be over 0 seconds"):
        segqueue_unified.create_segqueue_sse_channel(**bounds)  # type: ignore[arg-type]
