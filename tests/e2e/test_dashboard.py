"""The dashboard around its streams, in a real browser: the list, connections, charts, a record followed; addresses,
keyboard, phone and dark."""

from __future__ import annotations

import re

import httpx
from playwright.async_api import Page, expect

from ratsvc.client import Producer
from tests.conftest import Running, running
from tests.e2e.conftest import Demo
from tests.e2e.pages import ATTACK, UNHURT, OpenPage, publish_lines

SPAN_MS = 30_000
NAMES = "() => [...document.querySelectorAll('#streams-rows a')].map((link) => link.textContent)"


async def focused(page: Page) -> str:
    return str(await page.evaluate("() => document.activeElement.id || document.activeElement.textContent"))


async def test_streams_are_listed_with_rates_sizes_and_readers(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/ui/")
    row = page.locator("#streams-rows tr", has=page.get_by_role("link", name="demo.prices", exact=True))
    await expect(row.locator("td").nth(0)).to_have_text(re.compile(r"^[1-9][0-9.]*$"), timeout=SPAN_MS)
    await expect(row.locator("td").nth(4)).to_have_text(re.compile(r"^[0-9.]+ (B|KiB|MiB)$"))
    await expect(row.locator("td").nth(5)).to_have_text("0")
    await expect(page.locator(".tile").first.locator("b")).to_contain_text("/s")
    await expect(page.locator("#service")).to_contain_text("ratsvc ")
    await page.get_by_role("link", name="Demo", exact=True).click()
    await expect(page.locator("#prices tr")).to_have_count(5, timeout=SPAN_MS)
    await page.get_by_role("link", name="Dashboard").click()
    await expect(page.locator("#streams-rows tr").first).to_be_visible()


async def test_the_list_is_filtered_sorted_and_gone_through_by_keyboard(
    server: Running, producer: Producer, open_page: OpenPage
) -> None:
    for name, count in (("orders.eu", 3), ("orders.us", 9), ("prices", 6)):
        await publish_lines(producer, name, 0, count)
    page = await open_page(f"{server.http_url}/ui/")
    await expect(page.locator("#streams-rows tr")).to_have_count(3)
    await page.get_by_role("button", name="Kept").click()
    assert await page.evaluate(NAMES) == ["orders.us", "prices", "orders.eu"]
    await expect(page.locator("th[data-sort=records]")).to_have_attribute("aria-sort", "descending")
    await page.keyboard.press("/")
    assert await focused(page) == "streams-filter"
    await page.keyboard.type("ORDERS")
    await expect(page.locator("#streams-rows tr")).to_have_count(2)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    assert await focused(page) == "orders.eu"
    await page.keyboard.press("Enter")
    await expect(page.locator("#stream-title")).to_have_text("orders.eu")
    await expect(page.locator(".record")).to_have_count(3)
    await page.go_back()
    await expect(page.locator("#streams-rows tr")).to_have_count(2)
    await page.get_by_label("Streams or patterns").fill("orders.*")
    await page.keyboard.press("Enter")
    await expect(page.locator(".record")).to_have_count(12)
    await expect(page.locator("#stream-facts")).to_contain_text("Streams2")


async def test_an_empty_service_says_how_to_begin(server: Running, open_page: OpenPage) -> None:
    page = await open_page(f"{server.http_url}/ui/")
    await expect(page.locator("#streams-empty")).to_contain_text(f"{server.http_url}/v1/streams/orders")
    await expect(page.locator("#demo-link")).to_be_hidden()
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        await client.post("/v1/streams/orders", json={"hello": "world"})
    await expect(page.locator("#streams-rows tr")).to_have_count(1)


async def test_connections_are_listed_with_who_and_how(
    server: Running, producer: Producer, open_page: OpenPage
) -> None:
    await producer.publish("orders", 1)
    async with httpx.AsyncClient(base_url=server.http_url, headers={"User-Agent": ATTACK}) as client:
        async with client.stream("GET", "/v1/streams/orders?format=sse"):
            page = await open_page(f"{server.http_url}/ui/?view=connections")
            row = page.locator("#connections-rows tr", has_text="sse")
            await expect(row).to_contain_text("<img")
            await expect(row).to_contain_text("127.0.0.1:")
            await expect(row.locator(".state")).to_have_text("live")
            await expect(page.locator("#connections-rows tr", has_text="publishing")).to_contain_text("orders")
            await page.get_by_label("Show").select_option("producer")
            await expect(page.locator("#connections-rows tr")).to_have_count(1)
            await page.get_by_label("Show").select_option("")
            await page.get_by_label("Filter connections").fill("sse")
            await expect(page.locator("#connections-rows tr")).to_have_count(1)
            assert await page.evaluate(UNHURT)
        await page.get_by_label("Filter connections").fill("")
        await expect(row).to_have_count(0)


async def test_connections_that_are_not_told_are_not_asked_for(open_page: OpenPage) -> None:
    async with running(show_connections=False) as server:
        page = await open_page(f"{server.http_url}/ui/?view=connections")
        await expect(page.locator("#connections-empty")).to_contain_text("show_connections = true")
        await page.close()


async def test_charts_are_drawn_from_what_was_sampled(server: Running, producer: Producer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.http_url}/ui/?view=charts")
    await expect(page.locator("#charts canvas")).to_have_count(6)
    for n in range(200):
        await producer.publish("orders", n)
    charts = page.locator("#charts figure")
    await expect(charts.nth(3)).to_have_attribute("aria-label", re.compile("Memory now: Process [0-9.]+ MiB"))
    await page.get_by_label("1 min", exact=True).check()
    await expect(charts.nth(2).locator(".u-legend")).to_contain_text("Median")
    inked = (
        "() => [...document.querySelectorAll('#charts canvas')].every((canvas) => canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte > 0))"
    )
    await page.wait_for_function(inked)
    await page.get_by_role("button", name="Theme").click()
    await page.wait_for_function(inked)
    assert await page.locator("#charts canvas").count() == 6
    await page.get_by_role("link", name="Streams").first.click()
    await expect(page.locator(".tile").nth(2).locator("b")).not_to_have_text("–")


async def test_a_record_is_followed_from_publish_to_its_arrival(server: Running, open_page: OpenPage) -> None:
    page = await open_page(f"{server.http_url}/ui/?view=follow", may_fail=True)
    await page.get_by_label("Value, as JSON").fill('{"text": "<b>one</b>"}')
    await page.get_by_role("button", name="Publish and follow").click()
    await expect(page.locator("#follow-said")).to_contain_text("acknowledged after")
    await expect(page.locator(".waterfall li")).to_have_count(11)
    await expect(page.locator(".waterfall")).to_contain_text("Record here, as binary")
    await expect(page.locator("#journey")).to_contain_text("Live readers written to before the acknowledgement: 1 sse")
    encodings = await page.locator("#journey tbody tr td:first-child").all_inner_texts()
    assert sorted(encodings) == ["binary", "ndjson", "sse"]
    arrived = page.locator(".arrivals pre")
    await expect(arrived.nth(0)).to_contain_text('"value":{"text":"<b>one</b>"}')
    await expect(arrived.nth(1)).to_contain_text('{"stream":"debug.follow","offset":1,')
    await expect(arrived.nth(2)).to_contain_text("3c 62 3e 6f 6e 65")
    await page.get_by_label("Value, as JSON").fill("{")
    await page.get_by_role("button", name="Publish and follow").click()
    await expect(page.locator("#follow-said.bad")).to_contain_text("JSON")
    assert server.broker.info("debug.follow").records == 1


async def test_a_browser_that_goes_to_a_stream_sees_its_records(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/v1/streams/demo.>")
    assert page.url == f"{demo.http}/ui/?stream=demo.%3E"
    await expect(page.locator(".record").nth(3)).to_be_visible()
    await expect(page.locator("#streams-view")).to_be_hidden()
    assert await page.title() == "demo.> · ratsvc"


async def test_it_fits_a_phone_in_the_dark(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/ui/", viewport={"width": 390, "height": 844}, color_scheme="dark")
    for view in ("/ui/", "/ui/?stream=demo.>", "/ui/?view=connections", "/ui/?view=charts", "/ui/?view=follow"):
        await page.goto(demo.http + view)
        await expect(page.locator("#service")).to_contain_text("ratsvc ")
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert await page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 23)"
    await page.get_by_role("button", name="Light, dark").click()
    assert await page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(245, 246, 248)"
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-theme", "light")
    await page.goto(f"{demo.http}/ui/?stream=demo.prices")
    await page.locator(".record").first.click()
    box = await page.locator("#inspector").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 844
    await page.get_by_role("button", name="Close").click()
    await expect(page.locator("#inspector")).to_be_hidden()
