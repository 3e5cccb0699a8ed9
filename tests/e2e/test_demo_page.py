"""The demo's page at `/ui/demo.html` in a real browser: all feeds, resuming, hostile records, phone and keyboard."""

from __future__ import annotations

from typing import Any

import httpx
from playwright.async_api import expect

from ratsvc.client import Producer
from tests.conftest import Running, running
from tests.e2e.conftest import Demo
from tests.e2e.pages import ATTACK, UNHURT, OpenPage, lines, publish_lines
from tests.proxy import cutting

SPAN_MS = 30_000
SAMPLES_SHOWN = "Number(document.getElementById('sensor-count').textContent.replaceAll(',', ''))"
LOG_TEXTS = "() => [...document.querySelectorAll('#logs span')].map((line) => line.textContent)"


async def test_every_feed_of_the_demo_is_shown_live(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/ui/demo.html")
    await expect(page.locator("#state")).to_have_text("live")
    await expect(page.locator("#prices tr")).to_have_count(5, timeout=SPAN_MS)
    prices = page.locator("#prices")
    before = await prices.inner_text()
    await expect(prices).not_to_have_text(before)
    await expect(page.locator("#logs li").nth(2)).to_be_visible(timeout=SPAN_MS)
    await page.wait_for_function(f"() => {SAMPLES_SHOWN} > 3200")
    inked = await page.evaluate(
        "() => { const c = document.getElementById('sensor');"
        " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((byte) => byte > 0); }"
    )
    assert inked
    assert await page.locator("#cursor").inner_text() != "–"
    assert float(await page.locator("#rate").inner_text()) > 5


async def test_a_file_arrives_intact_and_is_shown(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/ui/demo.html")
    await expect(page.locator("#file-state.good")).to_contain_text("SHA-256 as announced", timeout=SPAN_MS)
    assert await page.evaluate("() => document.getElementById('file').naturalWidth") == 320
    digest = await page.locator("#file-digest").inner_text()
    announced = httpx.get(f"{demo.http}/v1/streams/demo.files?format=page&from=earliest").json()["records"]
    assert digest in [one["sha256"] for one in announced]


async def test_the_tokens_grow_and_stop_where_their_stream_ends(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/ui/demo.html")
    await expect(page.locator("#tokens.writing")).not_to_be_empty(timeout=SPAN_MS)
    await expect(page.locator("#tokens-end.good")).to_contain_text("ended after", timeout=SPAN_MS)
    stream = await page.locator("#tokens-stream").inner_text()
    text = await page.locator("#tokens").text_content()
    stored = httpx.get(f"{demo.http}/v1/streams/{stream}?format=page&from=earliest").json()
    assert text == "".join(stored["records"])
    info = httpx.get(f"{demo.http}/v1/streams/{stream}/info").json()
    assert (info["ended"], info["readers"]) == (True, 0)


async def test_a_paused_feed_goes_on_where_it_was(server: Running, producer: Producer, open_page: OpenPage) -> None:
    await publish_lines(producer, "demo.logs", 0, 20)
    page = await open_page(f"{server.http_url}/ui/demo.html")
    await expect(page.locator("#logs li")).to_have_count(20)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#state")).to_have_text("paused")
    await publish_lines(producer, "demo.logs", 20, 30)
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#logs li")).to_have_count(50)
    await publish_lines(producer, "demo.logs", 50, 10)
    await expect(page.locator("#logs li")).to_have_count(60)
    assert await page.evaluate(LOG_TEXTS) == lines(60)


async def test_feeds_come_back_after_a_lost_connection(open_page: OpenPage) -> None:
    async with (
        running(retry_ms=100) as server,
        cutting(server.http_port, 1) as proxy,
        Producer(server.grpc_addr) as producer,
    ):
        proxy.cutting = False
        await publish_lines(producer, "demo.logs", 0, 5)
        page = await open_page(f"http://127.0.0.1:{proxy.port}/ui/demo.html", may_fail=True)
        await expect(page.locator("#logs li")).to_have_count(5)
        proxy.cutting = True
        await publish_lines(producer, "demo.logs", 5, 5)
        await expect(page.locator("#happenings")).to_contain_text("reconnecting at")
        proxy.cutting = False
        await expect(page.locator("#logs li")).to_have_count(10)
        await expect(page.locator("#state")).to_have_text("live")
        assert await page.evaluate(LOG_TEXTS) == lines(10)


async def test_hostile_records_are_text(server: Running, producer: Producer, open_page: OpenPage) -> None:
    tokens: dict[str, object] = {"stream": "demo.tokens.1", "prompt": ATTACK}
    await producer.publish("demo.logs", ATTACK)
    await producer.publish("demo.prices", {"price": 1.0, "change": 0.0, "volume": 1}, key=ATTACK)
    await producer.publish("demo.tokens", tokens)
    await producer.publish("demo.tokens.1", ATTACK, event="token")
    await producer.publish("demo.sensor", ATTACK)
    for stream in ("demo.prices", "demo.tokens", "demo.files", "demo.sensor"):
        for wrong in (None, 7, ATTACK, [ATTACK], {"price": ATTACK, "stream": 1}):
            await producer.publish(stream, wrong, key="k")
    page = await open_page(f"{server.http_url}/ui/demo.html")
    for place in ("#logs", "#prices", "#tokens", "#tokens-prompt"):
        await expect(page.locator(place)).to_contain_text(ATTACK)
    await expect(page.locator("#happenings")).to_contain_text("cannot be shown")
    assert await page.evaluate(UNHURT)


async def test_it_fits_a_phone_in_the_dark_and_is_used_by_keyboard(demo: Demo, open_page: OpenPage) -> None:
    options: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
    page = await open_page(f"{demo.http}/ui/demo.html", **options)
    await expect(page.locator("#prices tr")).to_have_count(5, timeout=SPAN_MS)
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= 360
    ground = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(14, 17, 23)"
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await page.evaluate("() => document.activeElement.id") == "pause":
            break
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_text("paused")
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_text("live")
