"""The programs in `examples/`, run as they stand, over connections that are cut: none loses or repeats a record."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.async_api import Browser

from ratsvc.client import Consumer, Producer, Received
from tests.conftest import Running, running
from tests.e2e.conftest import HERE
from tests.golang import built
from tests.proxy import cutting

EXAMPLES = HERE.parents[1] / "examples"
COUNT = 8_000
DIGESTS = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(600)]
"""Text that compression does not make much shorter: the connections are to be cut all the same."""
LINES = [f'{{"n":{n},"digest":"{digest}"}}' for n, digest in enumerate(DIGESTS)]
VALUES: list[object] = [
    None, True, -(2**63), 2**64 - 1, 1.0, "a\nb\u2028 \U0001f600", b"\0\xff",
    datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), [1, []], {"a": 0.5, "b": {}}, "after a refusal",
]  # fmt: skip


def command(name: str) -> list[str]:
    """What starts the example of that name: one in Go is built first."""
    if name.startswith("go/"):
        return [str(built(name.removeprefix("go/")))]
    return ([sys.executable] if name.endswith(".py") else []) + [str(EXAMPLES / name)]


async def run(*words: str, **env: str) -> tuple[str, str]:
    """Runs a program to its end, which must be a good one; returns what it printed, and what it said beside."""
    process = await asyncio.create_subprocess_exec(*words, stdout=-1, stderr=-1, env=os.environ | env, cwd="/")
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, errors.decode()
    return out.decode(), errors.decode()


async def records(server: Running, stream: str) -> list[Received]:
    """All that a stream holds."""
    found = [item async for item in Consumer(server.http_url, stream, from_="earliest", until="now")]
    assert all(isinstance(item, Received) for item in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["go/producer", "python/producer_async.py", "python/producer_sync.py"])
async def test_a_producer_stores_each_record_once(server: Running, name: str) -> None:
    words = command(name)
    async with cutting(server.grpc_port, 500_000, seed=3, least_bytes=400_000) as proxy:
        out, errors = await run(*words, "--count", str(COUNT), "--stream", "p", RATSVC_GRPC=f"127.0.0.1:{proxy.port}")
        assert proxy.cuts >= 1, errors
    found = await records(server, "p")
    assert [one.value["n"] for one in found][:COUNT] == list(range(COUNT))  # type: ignore[index,call-overload]
    assert len(found) == COUNT + (not name.startswith("go/"))
    assert found[5].key == "sensor-1"
    assert out.endswith(f"{len(found)} readings stored; the last is {found[-1].cursor}\n")
    value = found[300].value
    assert isinstance(value, dict)
    assert (value["celsius"], value["raw"], type(value["taken"])) == (20.0, bytes([0, 300 % 256]), datetime)


async def test_a_node_producer_publishes_typed_values(server: Running, node: str) -> None:
    words = [node, str(EXAMPLES / "node/producer.js"), server.grpc_addr, "node"]
    out, _ = await run(*words, NODE_PATH=str(HERE / "node_modules"))
    first, second, third = map(json.loads, out.splitlines())
    assert (first["ack"]["stored"], first["ack"]["last_offset"]) == (10, "10")
    assert (second["error"]["code"], "no kind set" in second["error"]["message"]) == (3, True)
    assert third["ack"]["stored"] == 1
    found = await records(server, "node")
    assert [(type(one.value), one.value) for one in found] == [(type(value), value) for value in VALUES]
    assert {(one.key, one.event) for one in found[:10]} == {("k", "from-node")}
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"{server.http_url}/v1/streams/node?format=page&from=earliest")).json()
    assert page["records"][2:9] == [
        -(2**63), 2**64 - 1, 1.0, "a\nb\u2028 \U0001f600", "AP8=", "2026-01-02T03:04:05.678901Z", [1, []],
    ]  # fmt: skip


async def publish(server: Running) -> None:
    """Publishes `LINES` little by little, and ends the stream."""
    async with Producer(server.grpc_addr, linger_ms=1, max_batch_records=9) as producer:
        for n, digest in enumerate(DIGESTS):
            await producer.send("c", {"n": n, "digest": digest})
            if n % 25 == 0:
                await asyncio.sleep(0.01)
    await server.broker.end("c")


@pytest.mark.parametrize("name", ["go/consumer", "python/consumer.py", "curl/follow.sh"])
async def test_a_consumer_comes_back_where_it_left(name: str) -> None:
    words = [*command(name), *(["c"] if name.startswith("curl/") else ["--stream", "c"])]
    async with running(retry_ms=100) as server, cutting(server.http_port, 8_000, seed=5, least_bytes=2_000) as proxy:
        publishing = asyncio.create_task(publish(server))
        out, errors = await run(*words, RATSVC_HTTP=f"127.0.0.1:{proxy.port}")
        await publishing
        assert proxy.cuts >= 3, errors
        assert [line.rpartition("\t")[2] for line in out.splitlines()] == LINES
        again, _ = await run(*words, RATSVC_HTTP=server.http_url.removeprefix("http://"))
        assert again == out  # of a stream that has ended, from its beginning


@pytest.mark.parametrize("name", ["go/consumer", "python/consumer.py", "curl/follow.sh"])
async def test_a_consumer_says_what_was_refused(server: Running, name: str) -> None:
    words = [*command(name), *(["a b"] if name.startswith("curl/") else ["--stream", "a b"])]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=-1, stderr=-1, env=os.environ | {"RATSVC_HTTP": server.http_url.removeprefix("http://")}
    )
    out, errors = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, out) == (1, b"")
    assert b"400" in errors


@pytest.fixture
def pages() -> Iterator[str]:
    """The folder of the example page, served as `python -m http.server` does; its origin."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(EXAMPLES / "browser")))
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


async def test_the_page_with_an_eventsource_comes_back_where_it_left(browser: Browser, pages: str) -> None:
    async with (
        running(retry_ms=100, cors_origins=[pages]) as server,
        cutting(server.http_port, 8_000, seed=6, least_bytes=2_000) as proxy,
    ):
        publishing = asyncio.create_task(publish(server))
        page = await browser.new_page()
        await page.goto(f"{pages}/?stream=c&http=http://127.0.0.1:{proxy.port}")
        await page.get_by_text("ended", exact=True).wait_for()
        await publishing
        assert proxy.cuts >= 3
        assert await page.locator("#records li").all_text_contents() == LINES


def test_the_code_in_go_is_formatted_and_vetted() -> None:
    folder = built("producer").parent
    assert folder.is_dir()
    go = EXAMPLES / "go"
    assert subprocess.run(["gofmt", "-l", "."], cwd=go, capture_output=True, text=True, check=True).stdout == ""
    subprocess.run(["go", "vet", "./producer", "./consumer"], cwd=go, check=True)


def test_every_example_is_in_the_list() -> None:
    page = (EXAMPLES / "README.md").read_text()
    files = [
        file.relative_to(EXAMPLES) for kind in ("py", "js", "sh", "html", "go") for file in EXAMPLES.rglob(f"*.{kind}")
    ]
    ours = [file for file in files if not {"rat", "node_modules"} & set(file.parts)]
    assert len(ours) >= 8
    assert [file for file in ours if f"({file})" not in page] == []
