"""client.js in Chromium: imported from the service, also by a page of another origin; one connection for many tabs."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page

from ratsvc.client import Producer
from tests.conftest import Running, running
from tests.proxy import cutting

READ = """async ({module, url, options}) => {
    const {subscribe} = await import(module), found = [];
    for await (const {value} of subscribe(url, options)) {
        if (typeof value === "object") {
            const {n, b, t, i, f} = value;
            found.push([typeof n, String(n), b instanceof Uint8Array ? [...b] : b, t, typeof i, f]);
        } else found.push(value);
    }
    return found;
}"""
VALUE = {"n": 2**63, "b": b"\x00\xff", "t": True, "i": 1, "f": 1.0}
BINARY = [["bigint", str(2**63), [0, 255], True, "bigint", 1], "text\n\u2028"]
SSE = [["bigint", str(2**63), "AP8=", True, "number", 1], "text\n\u2028"]


async def publish_values(server: Running) -> None:
    async with Producer(server.grpc_addr) as producer:
        await producer.publish("s", VALUE)
        await producer.publish("s", "text\n\u2028")


@pytest.mark.timeout(100)
async def test_a_page_imports_it_from_the_service(server: Running, browser: Browser) -> None:
    await publish_values(server)
    page = await browser.new_page()
    await page.goto(f"{server.http_url}/docs")
    asked: dict[str, Any] = {"module": "/client.js", "url": "/v1/streams/s?from=earliest&until=now"}
    assert await page.evaluate(READ, {**asked, "options": {"format": "binary"}}) == BINARY
    assert await page.evaluate(READ, {**asked, "options": {}}) == SSE


@pytest.mark.timeout(100)
async def test_a_page_of_an_allowed_origin_imports_it_and_reads(browser: Browser) -> None:
    async with running() as site, running(cors_origins=[f"http://localhost:{site.http_port}"]) as service:
        await publish_values(service)
        page = await browser.new_page()
        await page.goto(f"http://localhost:{site.http_port}/healthz")
        asked = {
            "module": f"{service.http_url}/client.js",
            "url": f"{service.http_url}/v1/streams/s?from=earliest&until=now",
            "options": {"format": "binary", "token": "an Authorization header needs a preflight", "share": True},
        }
        assert await page.evaluate(READ, asked) == BINARY
        await page.goto(f"http://127.0.0.1:{site.http_port}/healthz")
        with pytest.raises(Exception, match="Failed to fetch dynamically imported module"):
            await page.evaluate(READ, asked)


FOLLOW = """async ({url, options}) => {
    const {subscribe} = await import("/client.js");
    window.seen = [];
    window.gaps = [];
    window.wake = () => undefined;
    window.subscription = subscribe(url, {
        share: true, int64: "number", retry: 50, ...options,
        onRecord: async ({value}) => {
            seen.push(value);
            if (value === window.pauseAt) await new Promise((resolve) => { window.wake = resolve; });
        },
        onGap: (gap) => gaps.push(gap),
    });
    subscription.done.catch((error) => gaps.push(String(error)));
    await new Promise((resolve) => {
        const look = () => subscription.state === "live" && subscription.cursor ? resolve() : setTimeout(look, 10);
        look();
    });
}"""


async def open_tabs(context: BrowserContext, base: str, count: int, url: str, **options: Any) -> list[Page]:
    tabs = []
    for _ in range(count):
        page = await context.new_page()
        await page.goto(f"{base}/docs")
        await page.evaluate(FOLLOW, {"url": url, "options": options})
        tabs.append(page)
    return tabs


async def publish(server: Running, first: int, count: int, stream: str = "s") -> None:
    async with Producer(server.grpc_addr, linger_ms=1, max_batch_records=20) as producer:
        for n in range(first, first + count):
            await producer.send(stream, n)
            if n % 40 == 0:
                await asyncio.sleep(0.01)


async def assert_all_see(tabs: list[Page], expected: list[int]) -> None:
    for tab in tabs:
        await tab.wait_for_function(f"() => seen.length >= {len(expected)}", timeout=30_000)
        assert await tab.evaluate("() => seen") == expected
        assert await tab.evaluate("() => gaps") == []


async def readers(server: Running) -> int:
    async with httpx.AsyncClient(base_url=server.http_url) as http:
        return int((await http.get("/v1/streams/s/info")).json()["readers"])


async def one_reader(server: Running) -> None:
    async with asyncio.timeout(30):
        while await readers(server) != 1:
            await asyncio.sleep(0.02)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("format", ["sse", "binary"])
async def test_eight_tabs_share_a_connection_and_go_on_when_the_leader_is_closed(
    server: Running, browser: Browser, format: str
) -> None:
    await publish(server, 0, 30)
    context = await browser.new_context()
    tabs = await open_tabs(context, server.http_url, 8, "/v1/streams/s", format=format, **{"from": "earliest"})
    await publish(server, 30, 170)
    await assert_all_see(tabs, list(range(200)))
    await one_reader(server)
    publishing = asyncio.create_task(publish(server, 200, 500))
    for _ in range(2):  # the first tab leads: it asked for the lock first, and then the next
        leader = tabs.pop(0)
        await leader.wait_for_function("() => seen.length > 250")
        await leader.close()
    await publishing
    await assert_all_see(tabs, list(range(700)))
    await one_reader(server)
    await server.broker.end("s")
    for tab in tabs:
        await tab.wait_for_function("() => subscription.state === 'ended'")
    await context.close()


@pytest.mark.timeout(120)
async def test_tabs_that_start_at_different_places_each_get_their_own(server: Running, browser: Browser) -> None:
    await publish(server, 0, 50)
    context = await browser.new_context()
    (latest,) = await open_tabs(context, server.http_url, 1, "/v1/streams/s")
    (last,) = await open_tabs(context, server.http_url, 1, "/v1/streams/s", **{"from": -5})
    (other,) = await open_tabs(
        context, server.http_url, 1, "/v1/streams/s", share="another user", **{"from": "earliest"}
    )
    await publish(server, 50, 10)
    await assert_all_see([latest], list(range(50, 60)))
    await assert_all_see([last], list(range(45, 60)))
    await assert_all_see([other], list(range(60)))
    await latest.evaluate("() => subscription.close()")
    await publish(server, 60, 10)
    await assert_all_see([last], list(range(45, 70)))
    assert await latest.evaluate("() => [subscription.state, seen.length]") == ["closed", 10]
    await context.close()


@pytest.mark.timeout(120)
async def test_a_tab_that_is_slow_holds_up_no_other_and_misses_nothing(server: Running, browser: Browser) -> None:
    """It falls out of what the leader keeps (4 MiB), and reads the rest over a connection of its own."""
    context = await browser.new_context()
    tabs = await open_tabs(context, server.http_url, 2, "/v1/streams/>", format="binary")
    for slow, quick in (tabs, tabs[::-1]):  # the leader is slow, then the other
        seen = await quick.evaluate("() => seen.length")
        await slow.evaluate("() => { window.pauseAt = 'stop'; }")
        async with Producer(server.grpc_addr) as producer:
            await producer.publish("s", "stop")
            for _ in range(120):
                await producer.send("s", "x" * 65_000)
            await producer.publish("s", "last")
        await quick.wait_for_function(f"() => seen.length === {seen + 122}")
        assert await slow.evaluate("() => seen.length") == seen + 1
        await slow.evaluate("() => { window.pauseAt = null; wake(); }")
        await slow.wait_for_function(f"() => seen.length === {seen + 122}")
        assert await slow.evaluate("() => [seen.at(-1), new Set(seen.slice(-121, -1)).size, gaps.length]") == [
            "last",
            1,
            0,
        ]
    await context.close()


@pytest.mark.timeout(120)
async def test_tabs_that_share_lose_and_repeat_nothing_over_lost_connections(browser: Browser) -> None:
    async with (
        running(retry_ms=100, compression={"enabled": False}) as server,  # so few bytes would not be cut
        cutting(server.http_port, 12_000, seed=8, least_bytes=2_000, grace_s=0.05) as proxy,
    ):
        proxy.cutting = False
        base = f"http://127.0.0.1:{proxy.port}"
        tabs = await open_tabs(await browser.new_context(), base, 3, "/v1/streams/s", **{"from": "earliest"})
        proxy.cutting = True
        await publish(server, 0, 400)
        await assert_all_see(tabs, list(range(400)))
        assert proxy.cuts >= 5


@pytest.mark.timeout(120)
async def test_without_locks_a_tab_has_its_own_connection(server: Running, browser: Browser) -> None:
    page = await browser.new_page()
    await page.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    await page.goto(f"{server.http_url}/docs")
    await page.evaluate(FOLLOW, {"url": "/v1/streams/s", "options": {}})
    await publish(server, 0, 5)
    await assert_all_see([page], list(range(5)))
