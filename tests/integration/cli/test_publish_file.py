"""`ratsvc publish --file F`, as a person runs it: a terminal, a second run, what is refused."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.processes import ENV, Service, ratsvc


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service("--set", "drain_s=0.2")
    yield service
    code, errors = service.stop()
    assert (code, "Traceback" in errors) == (0, False)


def command(service: Service, stream: str, file: Path, *more: str) -> list[str]:
    return ["publish", stream, "--file", str(file), "--grpc", service.grpc, *more]


def test_a_file_keeps_its_name_type_and_digest_and_ends_its_stream(service: Service, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "a b.pdf").write_bytes(data)
    done = ratsvc(*command(service, "named", tmp_path / "a b.pdf", "--end", "--key", "k"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = httpx.get(f"{service.http}/v1/streams/named?format=page&view=record&from=earliest").json()
    assert page["ended"]
    first, *_, last = page["records"]
    assert (first["headers"]["name"], first["headers"]["content-type"], first["key"]) == (
        "a b.pdf",
        "application/pdf",
        "k",
    )
    assert last["headers"]["sha-256"] == hashlib.sha256(data).hexdigest()


def test_a_file_of_lines_is_a_file_unless_it_is_said_to_be_lines(service: Service, tmp_path: Path) -> None:
    def records(stream: str) -> list[object]:
        url = f"{service.http}/v1/streams/{stream}?format=page&from=earliest"
        return list(httpx.get(url).json()["records"])

    text, binary = tmp_path / "a.log", tmp_path / "b.bin"
    text.write_text("one\ntwo\n")
    binary.write_bytes(b"%PDF-1.7\n\xe2\xe3\n")
    for file, more, said in (
        (text, (), f"ratsvc: {text} is uploaded as one file; for a record a line say --format lines\n"),
        (text, ("--format", "bytes"), ""),
        (binary, (), ""),
    ):
        done = ratsvc(*command(service, f"as.{file.stem}{len(more)}", file, *more))
        assert (done.returncode, done.stderr) == (0, said)
        url = f"{service.http}/v1/streams/as.{file.stem}{len(more)}?format=chunked&from=earliest&until=now"
        assert httpx.get(url).content == file.read_bytes()
    assert ratsvc(*command(service, "as.lines", text, "--format", "lines")).stderr == ""
    assert records("as.lines") == ["one", "two"]


def test_a_second_run_with_resume_stores_nothing_twice_and_without_it_begins_anew(
    service: Service, tmp_path: Path
) -> None:
    file, stream = tmp_path / "f.bin", f"{service.http}/v1/streams/again/info"
    file.write_bytes(os.urandom(600_000))
    done = ratsvc(*command(service, "again", file, "--resume"))
    assert done.returncode == 1
    assert "no upload of" in done.stderr
    assert "publish it without --resume" in done.stderr
    for more, records in ((), 4), (("--resume",), 4), ((), 8):
        assert ratsvc(*command(service, "again", file, *more)).returncode == 0
        assert httpx.get(stream).json()["records"] == records


def test_a_file_that_has_changed_is_not_gone_on_with(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "f.bin"
    file.write_bytes(b"as it was")
    assert ratsvc(*command(service, "changed", file)).returncode == 0
    for data, said in (b"as it is!", "has changed since its upload began"), (b"as it was, and more", "file of 9 bytes"):
        file.write_bytes(data)
        done = ratsvc(*command(service, "changed", file, "--resume"))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert said in done.stderr


def test_a_file_larger_than_what_its_stream_keeps_is_said(service: Service, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(600_000))
    httpx.put(f"{service.http}/v1/streams/small", json={"max_bytes": 300_000}).raise_for_status()
    done = ratsvc(*command(service, "small", tmp_path / "f"))
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert "retention has removed its beginning already" in done.stderr


def test_a_terminal_shows_a_bar_and_what_was_published(service: Service, tmp_path: Path) -> None:
    data = os.urandom(20 * 2**20)
    (tmp_path / "f.bin").write_bytes(data)
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "ratsvc", *command(service, "shown", tmp_path / "f.bin")]
    done = subprocess.Popen(arguments, stderr=theirs, env=ENV | {"TERM": "xterm", "COLUMNS": "200"})
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:  # the terminal of a process that has gone
        pass
    os.close(ours)
    assert done.wait(30) == 0
    assert f"published {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}" in shown.decode()
    assert "/21.0 MB" in shown.decode()


def test_a_pipe_is_published_as_it_comes(service: Service, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writing = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"x" * 200_000,))
    writing.start()
    assert ratsvc(*command(service, "piped", tmp_path / "pipe", "--format", "bytes")).returncode == 0
    writing.join()
    url = f"{service.http}/v1/streams/piped?format=chunked&from=earliest&until=now"
    assert httpx.get(url).content == b"x" * 200_000


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["publish", "s", "1", "--resume"], "--resume goes with --file and --format bytes"),
        (
            ["publish", "s", "--file", __file__, "--format", "lines", "--end"],
            "--end goes with --file and --format bytes",
        ),
        (["publish", "s", "--file", "/tmp", "--format", "bytes"], "cannot read /tmp"),
        (["publish", "s", "--file", "/dev/null", "--format", "bytes", "--resume"], "/dev/null is no regular file"),
    ],
)
def test_wrong_usage_is_one_line(args: list[str], said: str) -> None:
    done = ratsvc(*args)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr


def test_an_upload_that_cannot_go_on_now_says_how_it_can_later(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    arguments = ["publish", "s", "--file", str(tmp_path / "f"), "--format", "bytes", "--timeout", "0.5", "--grpc"]
    done = ratsvc(*arguments, "127.0.0.1:1")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert "publish it again with --resume" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        arguments = [sys.executable, "-m", "ratsvc", *arguments, address, "--timeout", "60"]
        waiting = subprocess.Popen(
            arguments,
            stderr=subprocess.PIPE,
            env=ENV,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        with silent.accept()[0] as connection:
            connection.recv(1)
            waiting.send_signal(signal.SIGINT)
            waiting.wait(30)
    _, said = waiting.communicate()
    assert waiting.returncode == 130
    assert b"publish it again with --resume" in said
    assert b"Traceback" not in said
