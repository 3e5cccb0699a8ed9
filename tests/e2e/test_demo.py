"""`ratsvc demo` as a process: what it prints, how it ends, what it keeps."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from tests.e2e.conftest import ENV, Demo


def test_it_stops_by_itself_and_says_how_much_it_did() -> None:
    demo = Demo("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--seconds", "2")
    output, errors, code = demo.ended()
    assert (errors, code) == ("", 0)
    assert f"{demo.http}/ui/ " in demo.said
    assert f"{demo.http}/ui/demo.html" in demo.said
    assert f"curl -N {demo.http}/v1/streams/demo.prices" in demo.said
    assert output.startswith("stopped after ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly_with_readers_connected(number: int) -> None:
    demo = Demo("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    with httpx.stream("GET", f"{demo.http}/v1/streams/demo.>?format=ndjson&view=record", timeout=10) as response:
        lines = response.iter_lines()
        next(lines)
        demo.process.send_signal(number)
        assert '"reconnect"' in list(lines)[-1]
    _, errors, code = demo.ended()
    assert (errors, code) == ("", 0)


@pytest.mark.parametrize("flag", ["--http", "--grpc"])
def test_a_port_that_is_taken_is_said_in_one_line(flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"--http": "127.0.0.1:0", "--grpc": "127.0.0.1:0", flag: f"127.0.0.1:{taken.getsockname()[1]}"}
        command = [sys.executable, "-m", "ratsvc", "demo", *(word for pair in ports.items() for word in pair)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=ENV)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "cannot listen" in done.stderr
    assert ports[flag] in done.stderr


def test_a_stream_that_was_ended_under_a_feed_is_said_and_does_not_stop_the_demo() -> None:
    demo = Demo("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    wait = {"format": "page", "wait": "10", "from": "earliest", "limit": "1"}
    while httpx.get(f"{demo.http}/v1/streams/demo.prices", params=wait, timeout=20).status_code == 404:
        pass
    httpx.post(f"{demo.http}/v1/streams/demo.prices/end").raise_for_status()
    page = httpx.get(f"{demo.http}/v1/streams/demo.logs", params={**wait, "from": "latest"}, timeout=20).json()
    assert len(page["records"]) == 1
    output, errors, code = demo.stop()
    assert (errors, code) == ("", 0)
    assert "prices paused: " in output


async def test_uploaded_files_are_what_was_announced_and_old_ones_go(demo: Demo) -> None:
    async with httpx.AsyncClient(base_url=demo.http, timeout=30) as client:
        query = {"format": "page", "view": "value", "from": "earliest", "wait": "10"}
        while (page := await client.get("/v1/streams/demo.files", params=query)).status_code == 404:
            await asyncio.sleep(0.05)
        announced = page.json()["records"][-1]
        response = await client.get(f"/v1/streams/{announced['stream']}?format=chunked&from=earliest&must_exist=1")
        assert hashlib.sha256(response.content).hexdigest() == announced["sha256"]
        assert len(response.content) == announced["size"]
        streams = (await client.get("/v1/streams?limit=1000")).json()["streams"]
        assert len([one for one in streams if one["name"].startswith("demo.file.")]) <= 4
        assert all(one["retention"]["max_records"] == 20_000 for one in streams)
