"""The demos of the in-process API over real HTTP: their pages, their streams, their bounds."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import tempfile
import threading
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import pytest_asyncio
from httpx_sse import ServerSentEvent, aconnect_sse

from ratsvc import quickmem
from ratsvc.demo.bounds import Runs
from ratsvc.demo.examples import chunked, data_value, large_file_upload, performance
from ratsvc.demo.site import DEMOS, PATHS, Demo, create_site
from ratsvc.server.app import Server
from tests.conftest import Running, test_settings

STREAMS = (
    "/data-value-demo/samples",
    "/large-file-upload/progress",
    "/sse-quickmem/events",
    "/chunked-demo/picture",
    "/chunked-demo/mapping",
    "/large-file-sse/file",
    "/performance-test/run/head",
)
REFUSED = {"too great an integer", "a cycle", "too deep", "a time without a zone", "a key that is not text",
           "no Unicode", "a complex number"}  # fmt: skip
CONVERTED = {"dataclass", "Enum", "UUID", "Decimal"}
MIB = 1024 * 1024


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Running]:
    """A service with the demos beside it."""
    async with Server(test_settings(), await create_site()) as server:
        yield Running(server)


@pytest_asyncio.fixture
async def http(site: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site.http_url, timeout=20) as client:
        yield client


async def answered(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> None:
    """Asks again until the answer has a status."""
    async with asyncio.timeout(10):
        while (await ask()).status_code != status:
            await asyncio.sleep(0.02)


async def read_events(http: httpx.AsyncClient, path: str) -> list[ServerSentEvent]:
    async with aconnect_sse(http, "GET", path) as source:
        return [event async for event in source.aiter_sse()]


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
async def test_a_page_shows_the_file_that_runs(http: httpx.AsyncClient, demo: Demo) -> None:
    text = (files("ratsvc.demo.examples") / demo.source_name).read_text("utf-8")
    source = await http.get(f"{demo.path}/source")
    assert (source.status_code, source.text) == (200, text)
    assert source.headers["content-type"] == "text/plain; charset=utf-8"
    page = await http.get(demo.path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    script = await http.get(f"/demos/{demo.name}.js")
    bounds = await http.get("/demos/bounds")
    shown = html.unescape(page.text)
    assert text in shown
    assert script.text in shown
    assert (bounds.text in shown) == ("Runs(" in text)
    for answer in (page, source, script, bounds):
        assert "script-src 'self';" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_demos_page_links_to_them_where_they_are(http: httpx.AsyncClient, server: Running) -> None:
    first = (await http.get("/ui/demo.html")).text
    assert all(f'href="{path}"' in first for path in PATHS)
    async with httpx.AsyncClient(base_url=server.http_url) as alone:
        first = (await alone.get("/ui/demo.html")).text
        assert not any(path in first for path in PATHS)
        for path in (*PATHS, *STREAMS, "/demos/frame.js", "/demos/bounds", "/sse-quickmem/source"):
            assert (await alone.get(path)).status_code == 404


async def test_the_service_is_as_it_is_without_them(http: httpx.AsyncClient, server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http_url) as alone:
        assert (await http.get("/openapi.json")).json() == (await alone.get("/openapi.json")).json()
    assert (await http.post("/v1/streams/a", json={"n": 1})).status_code == 200


async def test_head_ends_and_leaves_no_run(http: httpx.AsyncClient) -> None:
    for path in 10 * STREAMS:  # more often than may be at once
        assert (await http.head(path)).status_code == 200
    assert large_file_upload.waiting == {}


async def test_what_takes_no_body_refuses_one(http: httpx.AsyncClient) -> None:
    for path in (*PATHS, *STREAMS, "/demos/demos.css"):
        assert (await http.request("GET", path, content=b"body")).status_code == 413
        assert (await http.post(path)).status_code == 405


async def test_wrong_requests_are_refused_like_those_of_the_service(http: httpx.AsyncClient) -> None:
    for path, field in (
        ("/large-file-sse/file?mib=2", "mib"),
        ("/large-file-sse/file?mb=1", "mb"),
        ("/performance-test/run/x?items=0", "items"),
        (f"/performance-test/run/x?items={performance.MAX_ITEMS + 1}", "items"),
        ("/performance-test/run/x?type=xml", "type"),
    ):
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert answer.json()["field"] == field
    for path in ("/performance-test/figures/none", "/demos/none.js", "/demos/../site.py", "/sse-quickmem/"):
        assert (await http.get(path)).status_code == 404
    cross_site = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert (await http.post("/data-value-demo/values", content=b"1", headers=cross_site)).status_code == 403


async def test_every_type_is_kept_or_said_to_change_or_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/data-value-demo/samples")
    rows = {row["name"]: row for row in map(json.loads, answer.text.splitlines())}
    assert list(rows) == list(data_value.SAMPLES)
    for name, row in rows.items():
        ways = row["ways"]
        assert list(ways) == ["packed", "tree", "json"]
        if name in REFUSED:
            assert all("value" in way["error"] for way in ways.values()), name
            continue
        for way in ("packed", "tree"):
            assert ways[way]["kept"] == (name not in CONVERTED), name
    assert rows["bytes"]["ways"]["json"] == {"bytes": 10, "sent": '"AP8gcmF0"', "type": "str",
                                             "value": "'AP8gcmF0'", "kept": False}  # fmt: skip
    assert not rows["list"]["ways"]["json"]["kept"]
    assert rows["uint, the greatest"]["ways"]["json"]["kept"]


async def test_a_value_of_ones_own_goes_through_or_is_refused_with_the_reason(http: httpx.AsyncClient) -> None:
    good = (await http.post("/data-value-demo/values", content=b'{"n": [9007199254740993, 1.0]}')).json()
    assert [way["kept"] for way in good["ways"].values()] == [True, True, True]
    for body, reason in (
        (b"", "not one JSON document"),
        (b'{"n": ', "not one JSON document"),
        (b"\xff", "not one JSON document"),
        (str(2**64).encode(), "outside"),
        (b"[" * 33 + b"]" * 33, "deeper than 32"),
        (b"[" * 16_000, "value"),
    ):
        answer = await http.post("/data-value-demo/values", content=body)
        assert answer.status_code == 400, body
        assert reason in answer.json()["detail"]
    assert (await http.post("/data-value-demo/values", content=b" " * (data_value.MAX_BYTES + 1))).status_code == 413


async def test_an_upload_is_told_as_it_comes_and_hashed(http: httpx.AsyncClient) -> None:
    data = bytes(range(256)) * (8 * 1024)

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100_000):
            yield data[at : at + 100_000]

    async with aconnect_sse(http, "GET", "/large-file-upload/progress") as source:
        events = source.aiter_sse()
        ready = (await anext(events)).json()
        assert ready["max_bytes"] == large_file_upload.MAX_BYTES
        path = f"/large-file-upload/files/{ready['upload']}"
        answer = await http.post(path, content=body())
        rest = [event async for event in events]
    result = answer.json()
    assert (result["bytes"], result["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert [event.event for event in rest[-2:]] == ["done", "end"]
    assert rest[-2].json() == result
    told = [event.json()["bytes"] for event in rest[:-2]]
    assert told == sorted(told)
    assert len(told) >= 2
    assert (await http.post(path, content=b"again")).status_code == 404


async def test_an_upload_over_the_limit_is_refused_and_ends_its_stream(http: httpx.AsyncClient, site: Running) -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB)

    async def upload(path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=http.base_url, timeout=20) as other:
            return await other.post(path, content=body())

    reader, writer = await asyncio.open_connection("127.0.0.1", site.http_port)
    writer.write(f"POST /large-file-upload/files/x HTTP/1.1\r\nHost: x\r\nContent-Length: {65 * MIB}\r\n\r\n".encode())
    assert await reader.readline() == b"HTTP/1.1 413 \r\n"
    writer.close()
    async with aconnect_sse(http, "GET", "/large-file-upload/progress") as source:
        events = source.aiter_sse()
        path = f"/large-file-upload/files/{(await anext(events)).json()['upload']}"
        with suppress(httpx.TransportError):  # It may still be sending when the connection is closed.
            assert (await upload(path)).status_code == 413
        rest = [event async for event in events]
    assert "done" not in [event.event for event in rest]
    assert rest[-1].event == "end"
    assert max(event.json()["bytes"] for event in rest[:-1]) <= large_file_upload.MAX_BYTES


async def test_an_upload_that_breaks_off_ends_its_stream(http: httpx.AsyncClient, site: Running) -> None:
    async with aconnect_sse(http, "GET", "/large-file-upload/progress") as source:
        events = source.aiter_sse()
        upload = (await anext(events)).json()["upload"]
        _, writer = await asyncio.open_connection("127.0.0.1", site.http_port)
        head = f"POST /large-file-upload/files/{upload} HTTP/1.1\r\nHost: x\r\nContent-Length: {4 * MIB}\r\n\r\n"
        writer.write(head.encode() + bytes(MIB))
        assert (await anext(events)).event == "progress"
        writer.close()
        rest = [event.event async for event in events]
    assert rest[-1] == "end"
    assert "done" not in rest


async def test_an_upload_whose_page_has_gone_is_stopped_and_forgotten(http: httpx.AsyncClient, site: Running) -> None:
    async with aconnect_sse(http, "GET", "/large-file-upload/progress") as source:
        upload = (await anext(source.aiter_sse())).json()["upload"]
        assert list(large_file_upload.waiting) == [upload]
        reader, writer = await asyncio.open_connection("127.0.0.1", site.http_port)
        head = f"POST /large-file-upload/files/{upload} HTTP/1.1\r\nHost: x\r\nContent-Length: {4 * MIB}\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(10):
            while large_file_upload.waiting:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        answer = asyncio.create_task(reader.readline())
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.02)
    assert answer.result() == b"HTTP/1.1 408 \r\n"
    writer.close()


async def test_values_come_live_and_what_was_packed_is_the_value(http: httpx.AsyncClient) -> None:
    async with aconnect_sse(http, "GET", "/sse-quickmem/events") as source:
        events = source.aiter_sse()
        for number in (1, 2, 3):
            event = await anext(events)
            data = event.json()
            assert (event.event, data["same"], data["value"]["number"]) == ("reading", True, number)
            value = quickmem.decode(b64decode(data["packed"]))
            assert isinstance(value, dict)
            assert value["at"].isoformat().replace("+00:00", "Z") == data["value"]["at"]
            assert value["nonce"] == b64decode(data["value"]["nonce"])


async def test_more_runs_than_may_be_are_refused_until_one_leaves(http: httpx.AsyncClient) -> None:
    async def ask() -> httpx.Response:
        response = await http.send(http.build_request("GET", "/sse-quickmem/events"), stream=True)
        if response.status_code != 200:
            await response.aread()
        opened.append(response)
        return response

    opened: list[httpx.Response] = []
    await answered(ask, 429)
    assert len(opened) == 9
    assert opened[-1].headers["retry-after"] == "5"
    assert opened[-1].json()["type"] == "/problems/busy"
    await opened[0].aclose()
    await answered(ask, 200)
    for response in opened:
        await response.aclose()


async def test_the_first_bytes_of_a_picture_come_before_its_rows_are_sent(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(chunked, "time", SimpleNamespace(sleep=lambda seconds: go_on.wait(10)))
    async with http.stream("GET", "/chunked-demo/picture") as response:
        pieces = response.aiter_raw()
        head = b"P6 320 180 255\n"
        first = await anext(pieces)
        go_on.set()
        body = b"".join([first, *[piece async for piece in pieces]])
    assert first.startswith(head)
    assert len(body) == len(head) + 320 * 180 * 3
    assert (await http.get("/chunked-demo/mapping")).content == b"text, then bytes " + b"\x00\xff" + (
        ", then text: zwölf 🚀\n".encode()
    )


async def test_a_run_that_takes_too_long_is_broken_off(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(chunked, "time", SimpleNamespace(sleep=lambda seconds: never.wait(10)))
    monkeypatch.setattr(chunked, "RUNS", Runs(most=1, seconds=0.1))
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        await http.get("/chunked-demo/picture")
    never.set()
    await answered(lambda: http.head("/chunked-demo/picture"), 200)


async def test_a_run_whose_reader_never_reads_is_cut_and_others_go_on(
    http: httpx.AsyncClient, site: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performance, "RUNS", Runs(most=1, seconds=0.3))
    _, writer = await asyncio.open_connection("127.0.0.1", site.http_port, limit=1)
    path = f"/performance-test/run/stuck?items={performance.MAX_ITEMS}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await answered(lambda: http.get("/performance-test/run/x?items=1"), 429)
    await answered(lambda: http.get("/performance-test/run/x?items=1"), 200)
    writer.close()


async def test_a_file_in_events_is_whole_and_nothing_of_it_stays(
    http: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    events = await read_events(http, "/large-file-sse/file?mib=10")
    assert events.pop().event == "end"
    begin, *chunks, end = [event.json() for event in events]
    assert (begin["name"], begin["size"], begin["total"]) == ("sample-10-mib.bin", 10 * MIB, len(chunks))
    data = b"".join(b64decode(chunk["data"]) for chunk in chunks)
    assert [chunk["index"] for chunk in chunks] == list(range(320))
    assert (end["size"], end["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("json", lambda body: len(body.splitlines())),
        ("text", lambda body: len(body.splitlines())),
        ("sse", lambda body: body.count(b"\n\n") - 1),
        ("chunked", lambda body: len(body) / 64),
        ("binary", lambda body: len(body) / 65),
    ],
)
async def test_a_measured_run_brings_every_item(
    http: httpx.AsyncClient, kind: str, count: Callable[[bytes], float]
) -> None:
    answer = await http.get(f"/performance-test/run/{kind}?type={kind}&items=20000")
    assert count(answer.content) == 20_000
    figures = (await http.get(f"/performance-test/figures/{kind}")).json()
    assert (figures["type"], figures["items"], figures["bytes"]) == (kind, 20_000, len(answer.content))
    assert figures["seconds"] > 0


async def test_only_the_last_measurements_are_kept(http: httpx.AsyncClient) -> None:
    for number in range(2 * performance.KEPT):
        await http.get(f"/performance-test/run/{number}?items=1")
    assert len(performance.figures) == performance.KEPT


async def test_one_measurement_runs_at_a_time_and_one_that_is_left_ends(http: httpx.AsyncClient) -> None:
    async with http.stream("GET", f"/performance-test/run/left?items={performance.MAX_ITEMS}") as response:
        assert response.status_code == 200
        assert (await http.get("/performance-test/run/second?items=1")).status_code == 429
    await answered(lambda: http.get("/performance-test/run/third?items=1"), 200)
    assert (await http.get("/performance-test/figures/left")).status_code == 404
