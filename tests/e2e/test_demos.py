"""The pages of the six demos in a real browser: each by its buttons, on a phone, and by keyboard."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import connect_sse
from playwright.async_api import Page, expect

from ratsvc.demo.site import DEMOS, PATHS
from tests.e2e.conftest import Demo

OpenPage = Callable[..., Awaitable[Page]]
SPAN_MS = 30_000
ATTACK = '{"<img src=x onerror=\\"window.pwned = 1\\">": "<script>window.pwned = 1</script>"}'
INKED = (
    "() => { const c = document.getElementById('picture');"
    " const bytes = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
    " let drawn = 0; for (let at = 3; at < bytes.length; at += 4) drawn += bytes[at] === 255;"
    " return drawn / (c.width * c.height); }"
)


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def is_done(page: Page) -> None:
    await expect(page.locator("#state")).to_have_text("done", timeout=SPAN_MS)


async def test_the_first_page_leads_to_every_demo_and_its_source(demo: Demo, open_page: OpenPage) -> None:
    assert all(f"{demo.http}{path}\n" in demo.said for path in PATHS)
    page = await open_page(f"{demo.http}/ui/demo.html")
    links = page.get_by_label("Demos of the in-process API").get_by_role("link")
    assert [await link.get_attribute("href") for link in await links.all()] == list(PATHS)
    for one in DEMOS:
        await page.get_by_role("link", name=one.title, exact=True).click()
        await page.wait_for_url(f"{demo.http}{one.path}")
        await expect(page.get_by_role("link", name=one.title, exact=True)).to_have_attribute("aria-current", "page")
        text = (files("ratsvc.demo.examples") / one.source_name).read_text("utf-8")
        assert await page.locator(".source code").first.text_content() == text
        assert (await page.locator("#curl").inner_text()).startswith("curl ")
    await page.get_by_role("link", name="Live feeds").click()
    await page.wait_for_url(f"{demo.http}/ui/demo.html")


async def test_every_sample_is_shown_and_a_value_of_ones_own_beside_it(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/data-value-demo", may_fail=True)
    await is_done(page)
    rows = page.locator("#rows tr")
    count = await rows.count()
    assert count == len(httpx.get(f"{demo.http}/data-value-demo/samples").text.splitlines())
    await expect(rows.filter(has_text="a cycle").locator(".bad")).to_have_text(
        ["value is nested deeper than 32 levels"] * 3
    )
    await expect(rows.filter(has_text="timestamp").locator(".changed")).to_have_text(["comes back as str"])
    await page.get_by_label("A value of your own").fill(ATTACK)
    await press(page, "Send it through")
    await expect(rows).to_have_count(count + 1)
    await expect(rows.first.locator(".good")).to_have_text(["dict, kept"] * 3)
    await expect(rows.first).to_contain_text("<script>window.pwned = 1</script>")
    assert await page.evaluate("() => [window.pwned, document.querySelectorAll('img').length]") == [None, 0]
    await page.get_by_label("A value of your own").fill("{'no': json}")
    await press(page, "Send it through")
    await expect(page.locator("#notice")).to_contain_text("value is not one JSON document")
    await expect(rows).to_have_count(count + 1)


async def test_a_file_is_uploaded_and_both_ends_find_one_digest(
    demo: Demo, open_page: OpenPage, tmp_path: Path
) -> None:
    chosen, empty, large = tmp_path / "chosen.bin", tmp_path / "empty", tmp_path / "large"
    chosen.write_bytes(bytes(range(256)) * 12_000)
    empty.touch()
    with large.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    page = await open_page(f"{demo.http}/large-file-upload")
    await press(page, "Upload")
    await expect(page.locator("#notice")).to_have_text("choose a file first")
    for path in (chosen, empty):
        await page.get_by_label("File", exact=True).set_input_files(path)
        await press(page, "Upload")
        await is_done(page)
        await expect(page.locator("#verdict")).to_have_text("the digests agree")
        assert await page.locator("#theirs").inner_text() == hashlib.sha256(path.read_bytes()).hexdigest()
    await press(page, "Upload 8 MiB of random bytes")
    await expect(page.locator("#hashed-bytes")).to_have_text("8 of 8 MiB", timeout=SPAN_MS)
    await is_done(page)
    await expect(page.locator("#verdict")).to_have_text("the digests agree")
    await page.get_by_label("File", exact=True).set_input_files(large)
    await press(page, "Upload")
    await expect(page.locator("#notice")).to_have_text("the file has 67,108,865 bytes, and 67,108,864 may come")


async def test_structured_events_come_until_they_are_stopped(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/sse-quickmem")
    await press(page, "Start")
    await expect(page.locator("#events li").nth(4)).to_be_visible()
    await expect(page.locator("#value")).to_contain_text('"nonce"')
    await expect(page.locator("#same")).to_have_text("every one came back the same")
    assert await page.locator("#chart polyline").get_attribute("points")
    await press(page, "Stop")
    await is_done(page)
    stopped_at = await page.locator("#count").inner_text()
    await press(page, "Start")
    await expect(page.locator("#events li").last).to_contain_text("1: ")
    assert int(stopped_at) >= 5
    await press(page, "Stop")
    await is_done(page)


async def test_a_picture_grows_as_its_bytes_come(demo: Demo, open_page: OpenPage) -> None:
    page = await open_page(f"{demo.http}/chunked-demo")
    await press(page, "Paint")
    await page.wait_for_function(f"() => {{ const part = ({INKED})(); return part > 0 && part < 1; }}")
    await is_done(page)
    assert await page.evaluate(INKED) == 1
    await expect(page.locator("#text")).to_have_text("the text said: P6 320 180 255")
    first, last = [int((await page.locator(f"#{one}").inner_text()).replace(",", "")) for one in ("first", "last")]
    assert first < last
    await press(page, "Items from a mapping")
    await expect(page.locator("#text")).to_have_text("text, then bytes \0\ufffd, then text: zwölf 🚀")
    await is_done(page)


async def test_a_file_over_sse_is_put_together_checked_and_saved(
    demo: Demo, open_page: OpenPage, tmp_path: Path
) -> None:
    page = await open_page(f"{demo.http}/large-file-sse")
    for mib in (1, 50):
        await page.get_by_label(f"{mib} MiB", exact=True).check()
        await press(page, "Fetch")
        await is_done(page)
        await expect(page.locator("#verdict")).to_have_text("the digests agree")
        await expect(page.locator("#chunks")).to_have_text(f"{mib * 32:,} of {mib * 32:,}")
        async with page.expect_download() as saved:
            await page.get_by_role("link", name="Save it").click()
        download = await saved.value
        assert download.suggested_filename == f"sample-{mib}-mib.bin"
        await download.save_as(tmp_path / "saved")
        data = (tmp_path / "saved").read_bytes()
        assert len(data) == mib * 1024 * 1024
        assert await page.locator("#theirs").inner_text() == hashlib.sha256(data).hexdigest()


async def test_rates_are_measured_for_every_type_and_a_second_measurement_must_wait(
    demo: Demo, open_page: OpenPage
) -> None:
    page = await open_page(f"{demo.http}/performance-test", may_fail=True)
    await expect(page.locator(".lead")).to_contain_text("How it is measured")
    await page.get_by_label("Items of each type").select_option("10,000")
    await press(page, "Run")
    await is_done(page)
    rows = page.locator("#rates tr")
    await expect(rows.locator("th")).to_have_text(["json", "text", "sse", "chunked", "binary"])
    await expect(rows.locator(".good")).to_have_text(["all"] * 5)
    for number in await rows.locator("td:nth-child(2), td:nth-child(3)").all_inner_texts():
        assert int(number.replace(",", "")) > 0
    with httpx.stream("GET", f"{demo.http}/performance-test/run/held?items=200000"):
        await press(page, "Run")
        await expect(page.locator("#notice")).to_contain_text("at most 1 of these may run at once")


async def test_every_demo_fits_a_phone_in_the_dark_and_is_used_by_keyboard(demo: Demo, open_page: OpenPage) -> None:
    shown = {
        "data-value-demo": "#rows .good",
        "large-file-upload": "#notice",
        "sse-quickmem": "#events li",
        "chunked-demo": "#list li",
        "large-file-sse": "#save",
        "performance-test": "#rates tr",
    }
    options: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    page = await open_page(f"{demo.http}/ui/", **options)
    for one in DEMOS:
        await page.goto(f"{demo.http}{one.path}")
        await expect(page.locator("#state")).not_to_have_text("running")
        assert await page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 23)"
        for _ in range(20):
            await page.keyboard.press("Tab")
            if await page.evaluate("() => document.activeElement.matches('#controls button')"):
                break
        await page.keyboard.press("Enter")
        await expect(page.locator(shown[one.name]).first).to_be_visible()
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_a_signal_ends_the_streams_of_the_demos_and_all_is_quiet() -> None:
    demo = Demo("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    with httpx.Client(timeout=20) as http, connect_sse(http, "GET", f"{demo.http}/sse-quickmem/events") as source:
        events = source.iter_sse()
        next(events)
        demo.process.send_signal(signal.SIGTERM)
        last = list(events)[-1]
    assert (last.event, last.json()) == ("end", {"reason": "shutdown"})
    assert demo.ended()[1:] == ("", 0)
