"""client.js, the demo's page and the dashboard in Firefox and in WebKit, as Debian has them: what Chromium is shown at
length elsewhere. `make browser-test` installs both and runs these; elsewhere they are skipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import pytest_asyncio

from ratsvc.client import Producer
from tests.conftest import Running, running
from tests.e2e import webdriver
from tests.e2e.conftest import Demo
from tests.e2e.test_client_js_browser import (
    BINARY,
    READ,
    SSE,
    assert_all_see,
    one_reader,
    open_tabs,
    publish,
    publish_values,
)
from tests.e2e.webdriver import Tab, WebDriver
from tests.proxy import cutting

OpenTab = Callable[[str], Awaitable[Tab]]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=["firefox", "webkit"])
def other(request: pytest.FixtureRequest) -> Iterator[WebDriver]:
    """The browser: one for all tests here."""
    if request.config.getoption("--browsers") != "all":
        pytest.skip(f"{request.param} takes a minute of its own: make browser-test")
    if packages := webdriver.missing(request.param):
        pytest.skip(f"{request.param} is not installed (Debian: {', '.join(packages)}; make browser-test installs it)")
    with getattr(webdriver, request.param)() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(other: WebDriver) -> AsyncIterator[OpenTab]:
    """Opens a page in a tab; the test fails when it threw or wrote an error to its console."""
    tabs: list[Tab] = []

    async def opened(url: str) -> Tab:
        tabs.append(tab := await other.new_page())
        await tab.goto(url)
        return tab

    yield opened
    errors = [error for tab in tabs for error in await tab.errors()]
    for tab in tabs:
        await tab.close()
    assert errors == []


async def test_values_keep_their_types(server: Running, open_tab: OpenTab) -> None:
    await publish_values(server)
    tab = await open_tab(f"{server.http_url}/docs")
    for format, values in (("binary", BINARY), ("sse", SSE)):
        asked = {
            "module": "/client.js",
            "url": "/v1/streams/s?from=earliest&until=now",
            "options": {"format": format},
        }
        assert await tab.evaluate(READ, asked) == values


@pytest.mark.parametrize("format", ["sse", "binary"])
async def test_compressed_records_are_there_one_by_one(server: Running, other: WebDriver, format: str) -> None:
    (tab,) = await open_tabs(other, server.http_url, 1, "/v1/streams/s", format=format, share=False)
    for n in range(20):
        await publish(server, n, 1)
        await assert_all_see([tab], list(range(n + 1)))
    assert server.broker.figures.compressions["window"] > 10
    await server.broker.end("s")
    await tab.wait_for_function("() => subscription.state === 'ended'")
    await tab.close()


async def test_a_slow_page_takes_in_no_more_than_its_bound_and_misses_nothing(other: WebDriver) -> None:
    """These browsers hold nothing back: 26 MB would be taken in, so the library gives the connection up."""
    count = 400
    retention = {"max_bytes": 2**28}
    async with running(compression={"enabled": False}, retention=retention) as server:
        (tab,) = await open_tabs(other, server.http_url, 1, "/v1/streams/s", format="binary", share=False)
        await tab.evaluate("() => { window.pauseAt = 'stop'; }")
        async with Producer(server.grpc_addr) as producer:
            await producer.publish("s", "stop")
            await tab.wait_for_function("() => seen.length === 1")
            for n in range(count):
                await producer.send("s", f"{n} {'x' * 65_000}")
        async with asyncio.timeout(60):
            while server.broker.subscriptions:
                await asyncio.sleep(0.05)
        assert await tab.evaluate("() => seen.length") == 1
        await tab.evaluate("() => { window.pauseAt = null; wake(); }")
        await tab.wait_for_function(f"() => seen.length > {count}")
        assert await tab.evaluate("() => seen.slice(1).map((text) => parseInt(text))") == list(range(count))
        assert await tab.evaluate("() => gaps") == []
        await tab.close()


@pytest.mark.parametrize("format", ["sse", "binary"])
async def test_cut_at_random_moments_it_loses_and_repeats_nothing(other: WebDriver, format: str) -> None:
    async with (
        running(retry_ms=100, compression={"enabled": False}) as server,  # so few bytes would not be cut
        cutting(server.http_port, 8_000, seed=8, least_bytes=2_000, grace_s=0.02) as proxy,
    ):
        proxy.cutting = False
        base = f"http://127.0.0.1:{proxy.port}"
        start = {"from": "earliest"}
        (tab,) = await open_tabs(other, base, 1, "/v1/streams/s", format=format, share=False, **start)
        proxy.cutting = True
        count = 400 if format == "sse" else 2_000
        await publish(server, 0, count)
        await assert_all_see([tab], list(range(count)))
        assert proxy.cuts >= 3
        await tab.close()


async def test_deltas_become_whole_documents(server: Running, open_tab: OpenTab) -> None:
    documents = [{"name": "x" * 100, "at": n, "stops": [n, n + 1]} for n in range(20)]
    async with Producer(server.grpc_addr) as producer:
        for n, document in enumerate(documents):
            await producer.send("s", document, key=str(n % 2))
    tab = await open_tab(f"{server.http_url}/docs")
    url = "/v1/streams/s?from=earliest&until=now&delta=json-patch"
    told = await tab.evaluate("async (url) => (await fetch(`${url}&format=ndjson`)).text()", url)
    assert told.count('"patch"') == 18
    read = """async ({url, options}) => {
        const {subscribe} = await import("/client.js"), found = [];
        for await (const {value} of subscribe(url, options)) found.push(value);
        return found;
    }"""
    for format in ("sse", "binary"):
        assert await tab.evaluate(read, {"url": url, "options": {"format": format, "int64": "number"}}) == documents


async def test_tabs_share_a_connection_and_go_on_when_the_leader_is_closed(server: Running, other: WebDriver) -> None:
    await publish(server, 0, 30)
    start = {"from": "earliest"}
    tabs = await open_tabs(other, server.http_url, 3, "/v1/streams/s", format="binary", **start)
    await publish(server, 30, 70)
    await assert_all_see(tabs, list(range(100)))
    await one_reader(server)
    publishing = asyncio.create_task(publish(server, 100, 300))
    leader = tabs.pop(0)  # it asked for the lock first
    await leader.wait_for_function("() => seen.length > 120")
    await leader.close()
    await publishing
    await assert_all_see(tabs, list(range(400)))
    await one_reader(server)
    for tab in tabs:
        await tab.close()


INKED = """() => [...document.querySelectorAll("canvas")].filter((canvas) => canvas.width && canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte > 0)).length"""


FOLLOWED = """() => {
    const found = [...document.querySelectorAll("button")].find((one) => one.textContent === "Publish and follow");
    if (found && !window.pressed) found.click();
    window.pressed ||= Boolean(found);
    return document.querySelectorAll(".waterfall li").length === 11;
}"""


async def test_the_demo_shows_every_feed(demo: Demo, open_tab: OpenTab) -> None:
    tab = await open_tab(f"{demo.http}/ui/demo.html")
    await tab.wait_for_function("() => document.getElementById('state').textContent === 'live'")
    await tab.wait_for_function("() => document.querySelectorAll('#prices tr').length === 5")
    await tab.wait_for_function("() => document.querySelectorAll('#logs li').length > 2")
    await tab.wait_for_function("() => document.getElementById('tokens').textContent !== ''")
    await tab.wait_for_function("() => document.querySelector('#file-state.good') !== null")
    await tab.wait_for_function(f"() => ({INKED})() > 0")


async def test_the_dashboard_shows_streams_records_and_charts(demo: Demo, open_tab: OpenTab) -> None:
    tab = await open_tab(f"{demo.http}/ui/")
    await tab.wait_for_function("() => document.querySelectorAll('#streams-rows tr').length > 2")
    await tab.evaluate(
        "() => [...document.querySelectorAll('#streams-rows a')].find((a) => a.text === 'demo.prices').click()"
    )
    await tab.wait_for_function("() => document.querySelectorAll('.record').length > 2")
    await tab.evaluate("() => document.querySelector('.record').click()")
    await tab.wait_for_function("() => document.getElementById('inspector').textContent.includes('demo.prices')")
    for view, ready in (
        ("connections", "() => document.querySelectorAll('#connections-rows tr').length > 0"),
        ("follow", FOLLOWED),
        ("charts", f"() => ({INKED})() === 6"),
    ):
        await tab.goto(f"{demo.http}/ui/?view={view}")
        await tab.wait_for_function(ready)
