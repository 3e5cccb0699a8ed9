"""The command line, as a person runs it: processes, pipes, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.processes import ENV, Service, ratsvc


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service("--set", "drain_s=0.2", "--log-format", "json")
    yield service
    code, errors = service.stop()
    assert code == 0
    assert "Traceback" not in errors
    for line in errors.splitlines():
        json.loads(line)


def read(service: Service, stream: str, *args: str) -> str:
    done = ratsvc("tail", stream, "--from", "earliest", "--until", "now", "--http", service.http, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("form", "args", "stdin", "expected"),
    [
        ("values", ['{"a": 1}', "[true]", '"x"'], "", '{"a":1}\n[true]\n"x"\n'),
        ("text", ["--format", "text", "a b", "{"], "", '"a b"\n"{"\n'),
        ("lines", [], "one\ntwo\r\n\nfour", '"one"\n"two"\n""\n"four"\n'),
        ("ndjson", ["--format", "ndjson"], '{"n":1}\n\n[2]\n', '{"n":1}\n[2]\n'),
        ("whole", ["--format", "text"], "a\nb\n", '"a\\nb\\n"\n'),
        ("json", ["--format", "json"], '{"a":\n 1}', '{"a":1}\n'),
    ],
)
def test_every_form_of_input_is_published(
    service: Service, form: str, args: list[str], stdin: str, expected: str
) -> None:
    done = ratsvc("publish", f"in.{form}", *args, "--grpc", service.grpc, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    assert read(service, f"in.{form}") == expected


def test_a_file_goes_in_and_comes_out_byte_for_byte(service: Service, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "f.bin").write_bytes(data)
    args = ("--format", "bytes", "--file", str(tmp_path / "f.bin"), "--grpc", service.grpc)
    assert ratsvc("publish", "file", *args).returncode == 0
    tail = ["tail", "file", "--from", "earliest", "--until", "now", "--format", "chunked", "--http", service.http]
    command = [sys.executable, "-m", "ratsvc", *tail]
    assert subprocess.run(command, capture_output=True, timeout=30, env=ENV).stdout == data


@pytest.mark.parametrize(
    ("args", "stdin", "code", "said"),
    [
        (["publish", "a b", "1"], "", 1, "stream must be"),
        (["publish", "s", "{bad"], "", 1, "VALUE: value is not one JSON document"),
        (["publish", "s", "--format", "ndjson"], "1\n{\n", 1, "line 2: "),
        (["publish", "s", "1", "--event", "gap"], "", 1, "reserved"),
        (["publish", "s", "--format", "text"], b"\xff", 2, "not UTF-8 (at byte 0)"),
        (["publish", "s", "1", "--format", "lines"], "", 2, "VALUEs do not go with --format lines"),
        (["publish", "s", "--file", "/nowhere/at/all"], "", 2, "cannot read /nowhere/at/all"),
        (["publish", "s", "1", "--grpc", "nowhere"], "", 2, "the gRPC address must be HOST:PORT"),
        (["publish", "s", "1", "--format", "nope"], "", 2, "Invalid value for '--format'"),
        (["publish"], "", 2, "Missing argument"),
        (["nonsense"], "", 2, "No such command"),
    ],
)
def test_a_refusal_is_one_line_and_an_exit_code(
    service: Service, args: list[str], stdin: str | bytes, code: int, said: str
) -> None:
    more = ["--grpc", service.grpc] if args[0] == "publish" and len(args) > 1 and "--grpc" not in args else []
    done = ratsvc(*args, *more, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    if said[0].islower():
        assert done.stderr.startswith("ratsvc: ")


def test_the_lines_before_a_bad_one_are_published(service: Service) -> None:
    done = ratsvc("publish", "cut", "--format", "ndjson", "--grpc", service.grpc, stdin="1\n2\n{\n4\n")
    assert (done.returncode, done.stderr.startswith("ratsvc: line 3: ")) == (1, True)
    assert read(service, "cut") == "1\n2\n"


def test_an_unreachable_server_exits_with_3() -> None:
    for args in (
        ["publish", "s", "1", "--grpc", "127.0.0.1:1", "--timeout", "0.5"],
        ["tail", "s", "--http", "127.0.0.1:1"],
        ["streams", "--http", "127.0.0.1:1"],
    ):
        done = ratsvc(*args)
        assert done.returncode == 3, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_tail_shows_the_state_and_what_changes_in_it(service: Service) -> None:
    name = "a name that is long enough for a patch to be smaller than the whole document"
    for n in range(3):
        done = ratsvc("publish", "state", json.dumps({"name": name, "n": n}), "--key", "k", "--grpc", service.grpc)
        assert done.returncode == 0
    tail = ("tail", "state", "--until", "now", "--http", service.http)
    done = ratsvc(*tail, "--snapshot")
    assert next(json.loads(line) for line in done.stdout.splitlines() if line) == {"name": name, "n": 2}
    done = ratsvc(*tail, "--delta", "--from", "earliest")
    found = [json.loads(line) for line in done.stdout.splitlines() if '"offset"' in line]
    assert [one.get("patch") for one in found] == [
        None, *([{"op": "replace", "path": "/n", "value": n}] for n in (1, 2))
    ]  # fmt: skip
    done = ratsvc(*tail, "--snapshot", "--from", "earliest")
    assert (done.returncode, "snapshot and from" in done.stderr) == (1, True)


def test_commands_find_the_service_where_the_environment_tells_it_to_listen(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, address in (("RATSVC_HTTP", service.http), ("RATSVC_GRPC", service.grpc)):
        monkeypatch.setitem(ENV, name, f"0.0.0.0:{address.rpartition(':')[2]}")
    assert ratsvc("publish", "env", "1").returncode == 0
    assert ratsvc("tail", "env", "--from", "earliest", "--until", "now").stdout == "1\n"
    assert "env" in ratsvc("streams").stdout
    refused = ratsvc("streams", "show", "nowhere", "--http", service.http)
    assert (refused.returncode, "nowhere" in refused.stderr) == (1, True)


def test_tail_stops_when_its_pipe_closes(service: Service) -> None:
    ratsvc("publish", "pipe", *map(str, range(100)), "--grpc", service.grpc)
    command = f"{sys.executable} -m ratsvc tail pipe --from earliest --http {service.http} | head -3"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=12, env=ENV, text=True)
    assert done.stdout == "0\n1\n2\n"
    assert "Traceback" not in done.stderr


def test_streams_are_made_listed_ended_and_deleted(service: Service) -> None:
    http = ("--http", service.http)
    made = json.loads(ratsvc("streams", "create", "st.a", "--max-records", "5", "--max-age", "90s", *http).stdout)
    assert (made["retention"]["max_records"], made["retention"]["max_age"]) == (5, 90)
    listed = json.loads(ratsvc("streams", "list", "st.*", "--json", *http).stdout)
    assert [one["name"] for one in listed] == ["st.a"]
    assert "st.a" in ratsvc("streams", *http).stdout
    assert ratsvc("streams", "end", "st.a", *http).returncode == 0
    done = ratsvc("publish", "st.a", "1", "--grpc", service.grpc)
    assert (done.returncode, "was ended" in done.stderr) == (1, True)
    assert ratsvc("streams", "delete", "st.a", *http).returncode == 0
    done = ratsvc("streams", "show", "st.a", *http)
    assert (done.returncode, done.stderr) == (1, "ratsvc: there is no stream 'st.a'\n")


def test_settings_come_from_file_environment_and_flags_and_unknown_ones_are_named(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('heartbeat_s = 3.0\n[limits]\nvalue_bytes = 2048\n[streams."p.>"]\nmax_age = "1h"\n')
    done = ratsvc("config", "show", "--config", str(file), "--set", "limits.streams=7", "--json")
    assert done.stderr == ""
    shown = json.loads(done.stdout)
    assert (shown["heartbeat_s"], shown["limits"]["value_bytes"], shown["limits"]["streams"]) == (3.0, 2048, 7)
    assert shown["streams"]["p.>"]["max_age"] == "1h"
    assert ratsvc("config", "check", str(file)).returncode == 0
    (tmp_path / "show.toml").write_text(ratsvc("config", "show", "--config", str(file)).stdout)
    assert ratsvc("config", "check", str(tmp_path / "show.toml")).returncode == 0
    for text, said in (
        ("hartbeat_s = 1", "did you mean 'heartbeat_s'"),
        ("heartbeat_s = 0", "heartbeat_s"),
        ("heartbeat_s = 'x'", "heartbeat_s"),
        ("[limits]\nvalue_byte = 1", "did you mean 'limits.value_bytes'"),
        ("drain_s = 60", "ratsvc: drain_s must end"),
        ("[streams.'a b']\nmax_age='1h'", "streams.a b"),
        ("nonsense", "cannot read"),
    ):
        file.write_text(text)
        done = ratsvc("config", "check", str(file))
        assert done.returncode == 2, text
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    done = subprocess.run([sys.executable, "-m", "ratsvc", "config", "show"], env={**ENV, "RATSVC_HTPP": "x"},
                          capture_output=True, text=True, timeout=30)  # fmt: skip
    assert (done.returncode, "did you mean RATSVC_HTTP" in done.stderr) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_stops_cleanly_on_a_signal(number: signal.Signals) -> None:
    code, errors = Service("--set", "drain_s=0").stop(number)
    assert code == 0
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_one_line(service: Service) -> None:
    for flag, address in (("--http", service.http.removeprefix("http://")), ("--grpc", service.grpc)):
        other = "--grpc" if flag == "--http" else "--http"
        done = ratsvc("serve", flag, address, other, "127.0.0.1:0")
        assert done.returncode == 2
        assert done.stderr.strip().startswith("ratsvc: cannot listen for")
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["serve"],
        ["demo"],
        ["publish"],
        ["tail"],
        ["streams"],
        ["streams", "create"],
        ["bench"],
        ["config"],
        ["log"],
    ],
)
def test_every_command_has_help(args: list[str]) -> None:
    done = ratsvc(*args, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    assert ratsvc("--version").stdout.startswith("ratsvc ")
