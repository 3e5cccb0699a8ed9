"""`ratsvc serve` watched as a process: its log lines, a level that changes, and a token that nobody gets to see."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest

from ratsvc.errors import SettingsError
from ratsvc.settings import load

TOKEN = "a-token-that-nobody-may-see"


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RATSVC_")} | more


@contextmanager
def serving(**settings: str) -> Iterator[tuple[httpx.Client, IO[str]]]:
    """A running process, a client of it, and what it writes to standard error."""
    command = [sys.executable, "-m", "ratsvc", "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(**settings)
        )
        assert process.stdout is not None
        try:
            ready = re.search(r"HTTP (\S+)", process.stdout.readline())
            assert ready is not None
            with httpx.Client(base_url=ready[1], headers={"Authorization": f"Bearer {TOKEN}"}) as client:
                yield client, errors
        finally:
            process.terminate()
            assert process.wait(30) == 0
            process.stdout.close()


def lines(errors: IO[str]) -> list[dict[str, object]]:
    errors.seek(0)
    return [json.loads(line) for line in errors.read().splitlines()]


def test_a_start_and_a_stop_are_lines_of_their_own(tmp_path: Path) -> None:
    with serving(RATSVC_LOG_FORMAT="json", RATSVC_DATA_DIR=str(tmp_path)) as (client, errors):
        client.post("/v1/streams/s", json=1)
        status = client.get("/v1/status").json()
        address = client.base_url.netloc.decode()
        begun, *_ = lines(errors)
    assert (begun["event"], begun["http"], begun["epoch"]) == ("ready", address, status["epoch"])
    assert (begun["version"], begun["durable"], begun["last_offset"]) == (status["version"], True, 0)


def test_lines_are_json_and_the_level_changes_for_loggers_that_were_used() -> None:
    with serving(RATSVC_LOG_FORMAT="json", RATSVC_DEBUG_TOKEN=TOKEN) as (client, errors):
        client.get("/healthz")
        client.get("/openapi.json", headers={"x-request-id": "first"})
        assert client.put("/debug/log?level=debug").json()["level"] == "debug"
        client.get("/healthz", headers={"x-request-id": "seen"})
        client.put("/debug/log?level=warning")
        client.get("/openapi.json", headers={"x-request-id": "unseen"})
        client.get("/v1/streams/no%20stream")
        found = lines(errors)
    ids = [line.get("request_id") for line in found if line["event"] == "request"]
    assert ids[0] == "first"
    assert "seen" in ids
    assert "unseen" not in ids
    assert [line["now"] for line in found if line["event"] == "log_level"] == ["debug", "warning"]
    assert all({"timestamp", "level", "event"} <= line.keys() for line in found)
    assert TOKEN not in json.dumps(found)


def test_a_profile_of_a_process_that_works_names_our_own_functions() -> None:
    with serving(RATSVC_DEBUG_TOKEN=TOKEN, RATSVC_LOG_LEVEL="error") as (client, _):
        body = b"".join(b'{"n":%d,"text":"some words"}\n' % number for number in range(20_000))
        with httpx.Client(base_url=client.base_url) as other:
            done = threading.Event()

            def publish() -> None:
                while not done.is_set():
                    other.post("/v1/streams/s", content=body, headers={"content-type": "application/x-ndjson"})

            thread = threading.Thread(target=publish)
            thread.start()
            text = client.get("/debug/profile?seconds=1&format=text&rate=200", timeout=30).text
            done.set()
            thread.join()
    assert "ratsvc.http_api.publish.Publish.__call__" in text
    assert "ratsvc.quickmem" in text


def test_the_token_is_not_shown_by_config_show(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'debug_token = "{TOKEN}"\n')
    command = [sys.executable, "-m", "ratsvc", "config", "show"]
    for more, form in (({"RATSVC_DEBUG_TOKEN": TOKEN}, ["--json"]), ({}, ["--config", str(file)])):
        done = subprocess.run([*command, *form], capture_output=True, text=True, env=environment(**more), timeout=60)
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
    assert "# debug_token is set, and not shown" in done.stdout
    file.write_text(done.stdout)
    assert load(file).debug_token is None


@pytest.mark.parametrize("bad", ["", "short", "with a space in it....", f"{TOKEN}\n", "ü" * 20])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(bad: str) -> None:
    with pytest.raises(SettingsError, match="debug_token") as refused:
        load(flags={"debug_token": bad})
    assert not bad.strip() or bad.strip() not in refused.value.detail
