"""A stream in the dashboard, in a real browser: records, pauses, restarts, places, publishing, the inspector, hostile
values, and 10,000 records a second."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
from playwright.async_api import Page, expect

from ratsvc.client import Producer
from tests.conftest import Running, running
from tests.e2e.pages import ATTACK, UNHURT, OpenPage, lines, publish_lines
from tests.proxy import cutting

SPAN_MS = 30_000
RECORD_TEXTS = "() => [...document.querySelectorAll('#records .value')].map((value) => value.textContent)"
COUNT_FRAMES = (
    "() => { window.frames_seen = 0; window.longest = 0; let last = performance.now();"
    " const frame = (now) => { window.frames_seen++; window.longest = Math.max(window.longest, now - last); last = now;"
    " requestAnimationFrame(frame); }; requestAnimationFrame(frame); }"
)
RECEIVED = "Number(document.getElementById('total').textContent.replaceAll(',', ''))"


async def live(page: Page) -> None:
    await expect(page.locator("#state")).to_have_text("live")


async def test_it_goes_on_after_pauses_and_lost_connections(open_page: OpenPage) -> None:
    async with (
        running(retry_ms=100) as server,
        cutting(server.http_port, 1) as proxy,
        Producer(server.grpc_addr) as producer,
    ):
        proxy.cutting = False
        page = await open_page(f"http://127.0.0.1:{proxy.port}/ui/?stream=any.lines", may_fail=True)
        await live(page)
        await publish_lines(producer, "any.lines", 0, 40)
        await expect(page.locator(".record")).to_have_count(40)
        proxy.cutting = True
        await publish_lines(producer, "any.lines", 40, 40)
        await expect(page.locator("#state")).to_have_text("reconnecting")
        await publish_lines(producer, "any.lines", 80, 40)
        proxy.cutting = False
        await expect(page.locator(".record")).to_have_count(120)
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#state")).to_have_text("paused")
        await publish_lines(producer, "any.lines", 120, 40)
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator(".record")).to_have_count(160)
        assert await page.evaluate(RECORD_TEXTS) == lines(160)[::-1]
        assert proxy.cuts >= 1


async def test_a_restart_of_the_service_loses_and_repeats_nothing(tmp_path: Path, open_page: OpenPage) -> None:
    async with running(data_dir=tmp_path, retry_ms=100) as server:
        address = f"127.0.0.1:{server.http_port}"
        async with Producer(server.grpc_addr) as producer:
            await publish_lines(producer, "any.lines", 0, 30)
            page = await open_page(f"{server.http_url}/ui/?stream=any.lines", may_fail=True)
            await expect(page.locator(".record")).to_have_count(30)
            await publish_lines(producer, "any.lines", 30, 30)
            await expect(page.locator(".record")).to_have_count(60)
    await expect(page.locator("#service")).to_have_text("not reachable")
    async with running(data_dir=tmp_path, http=address) as server, Producer(server.grpc_addr) as producer:
        await publish_lines(producer, "any.lines", 60, 30)
        await expect(page.locator(".record")).to_have_count(90, timeout=SPAN_MS)
        await live(page)
        assert await page.evaluate(RECORD_TEXTS) == lines(90)[::-1]
        await expect(page.locator("#service")).to_contain_text("ratsvc ")
        await expect(page.locator("#happenings")).to_contain_text("reconnecting at")
        await page.close()


async def test_gaps_and_ends_are_shown_and_an_ended_stream_stops(
    server: Running, producer: Producer, open_page: OpenPage
) -> None:
    await publish_lines(producer, "any.lines", 0, 5)
    page = await open_page(f"{server.http_url}/ui/?stream=any.lines")
    await expect(page.locator(".record")).to_have_count(5)
    await page.get_by_role("button", name="Pause").click()
    await publish_lines(producer, "any.lines", 5, 5)
    await server.broker.purge("any.lines")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#records .note[data-kind=gap]")).to_contain_text("gap (purged)")
    await publish_lines(producer, "any.lines", 10, 1)
    await expect(page.locator("#records .value").first).to_have_text("line 10")
    await server.broker.end("any.lines")
    await expect(page.locator("#state")).to_have_text("ended")
    await expect(page.locator("#happenings")).to_contain_text("gap (purged)")
    await expect(page.locator("#happenings")).to_contain_text("ended at")
    assert server.broker.info("any.lines").readers == 0


async def test_types_are_shown_in_the_list_and_in_the_inspector(
    server: Running, producer: Producer, open_page: OpenPage
) -> None:
    page = await open_page(f"{server.http_url}/ui/?stream=any.one&stream=any.two")
    await live(page)
    when = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    value = {"a": [None, 1.0, 1], "big": 2**63, "when": when, "raw": bytes(range(100)), "yes": True}
    await producer.publish("any.one", 2**63, key="k", event="message", headers={"h": "v"})
    await producer.publish("any.two", value, event="other")
    await expect(page.locator(".record")).to_have_count(2)
    shown = "{ a: [null, 1, 1], big: 9223372036854775808, when: 2026-01-02T03:04:05.678Z, raw: <00 01 02"
    assert (await page.evaluate(RECORD_TEXTS))[0].startswith(shown)
    await expect(page.locator(".record .about").last).to_contain_text("any.one")
    inspector = page.locator("#inspector")
    await page.locator(".record").last.click()
    await expect(inspector.locator(".record-facts")).to_contain_text("KeykEventmessagehv")
    await expect(inspector.locator(".value")).to_contain_text(f"{2**63} int")
    await page.keyboard.press("ArrowUp")
    await expect(page.locator(".record").first).to_have_attribute("aria-selected", "true")
    for text in (
        "a: [3] list",
        "1: 1 double",
        "2: 1 int",
        "when: 2026-01-02T03:04:05.678Z timestamp",
        "yes: true bool",
    ):
        await expect(inspector.locator(".tree")).to_contain_text(text)
    await inspector.locator("summary", has_text="bytes, 100 B").click()
    await expect(inspector.locator(".hex")).to_contain_text("000060  60 61 62 63")
    await inspector.get_by_role("button", name="JSON", exact=True).click()
    await expect(inspector.locator(".source")).to_contain_text('"big": 9223372036854775808')
    await page.keyboard.press("Escape")
    await expect(inspector).to_contain_text("Choose a record")


async def test_hostile_values_are_text_and_large_ones_are_cut(
    server: Running, producer: Producer, open_page: OpenPage
) -> None:
    page = await open_page(f"{server.http_url}/ui/?stream=any.attack")
    await live(page)
    deep: object = ATTACK
    for _ in range(29):
        deep = [deep]
    many = {f"{ATTACK}{n}": n for n in range(1_000)}
    long = "\u202e" + ATTACK + "x" * 900_000
    for hostile in (long, deep, many, {"__proto__": ATTACK, "constructor": 1}, "\x00\x1b[31m\u2066\ufeff", ""):
        await producer.publish("any.attack", hostile, key=ATTACK, event=ATTACK, headers={ATTACK: ATTACK})
    await expect(page.locator(".record")).to_have_count(6)
    rows, inspector = page.locator(".record"), page.locator("#inspector")
    await expect(rows.last.locator(".value")).to_contain_text("⟨U+202E⟩" + ATTACK)
    await expect(rows.nth(1).locator(".value")).to_have_text("⟨U+0000⟩⟨U+001B⟩[31m⟨U+2066⟩⟨U+FEFF⟩")
    await rows.last.click()
    await expect(inspector.locator(".record-facts")).to_contain_text(ATTACK)
    assert len(await inspector.locator("pre").inner_text()) < 30_000
    await inspector.get_by_role("button", name=f"show all {len(long):,} characters").click()
    assert len(await inspector.locator("pre").inner_text()) > 900_000
    await rows.nth(4).click()
    for _ in range(27):
        await inspector.locator("details:not([open]) > summary").first.click()
    await expect(inspector.locator(".tree")).to_contain_text(f"0: {ATTACK} string")
    await rows.nth(3).click()
    assert await inspector.locator(".tree .tree, .tree li li").count() == 101
    await inspector.get_by_role("button", name="show 100 more of 900").click()
    assert await inspector.locator(".tree li li").count() == 201
    await rows.nth(2).click()
    await expect(inspector.locator(".tree")).to_contain_text(f"__proto__: {ATTACK} string")
    assert await page.evaluate(UNHURT)


async def test_a_filter_shows_what_it_finds_of_all_that_comes(
    server: Running, producer: Producer, open_page: OpenPage
) -> None:
    page = await open_page(f"{server.http_url}/ui/?stream=any.lines")
    await live(page)
    await publish_lines(producer, "any.lines", 0, 30)
    await expect(page.locator(".record")).to_have_count(30)
    await page.keyboard.press("/")
    await page.keyboard.type("NE 1")
    await expect(page.locator(".record:visible")).to_have_count(11)
    await publish_lines(producer, "any.lines", 100, 20)
    await expect(page.locator(".record:visible")).to_have_count(31)
    await expect(page.locator("#shown")).to_contain_text("20 of 20 match")
    await page.get_by_label("Filter records").fill("key:a")
    await producer.publish("any.lines", "with another key", key="b")
    await producer.publish("any.lines", {"in": ["a", "map"]}, key="a")
    await expect(page.locator(".record:visible .value")).to_have_text('{ in: ["a", "map"] }')
    await page.keyboard.press("Escape")
    await expect(page.locator(".record:visible")).to_have_count(51)


async def test_it_reads_on_from_any_place(server: Running, producer: Producer, open_page: OpenPage) -> None:
    await publish_lines(producer, "any.lines", 0, 100)
    page = await open_page(f"{server.http_url}/ui/?stream=any.lines", may_fail=True)
    await expect(page.locator(".record")).to_have_count(50)
    await page.get_by_label("From").fill("earliest")
    await page.keyboard.press("Enter")
    await expect(page.locator(".record")).to_have_count(100)
    await page.locator(".record", has_text="line 89").click()
    await page.get_by_role("button", name="Read on from here").click()
    await expect(page.locator(".record")).to_have_count(10)
    assert await page.evaluate(RECORD_TEXTS) == lines(100)[:89:-1]
    await page.reload()
    await expect(page.locator(".record")).to_have_count(10)
    await page.get_by_label("From").fill("nowhere")
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_text("failed")
    await expect(page.get_by_role("alert")).to_contain_text("from must be")


async def test_records_are_published_from_the_page(server: Running, open_page: OpenPage) -> None:
    page = await open_page(f"{server.http_url}/ui/?stream=orders", may_fail=True)
    await live(page)
    await page.keyboard.press("p")
    await page.keyboard.type('{"id": 1}')
    await page.get_by_label("Key").fill("k")
    await page.get_by_label("Event").fill("made")
    await page.get_by_role("button", name="Publish", exact=True).click()
    await expect(page.locator("#publish-result")).to_contain_text("stored at")
    await expect(page.locator(".record .value")).to_have_text("{ id: 1 }")
    await page.locator("#publish-type").select_option("hex")
    await page.get_by_label("Value", exact=True).fill("00 ff 7e")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".record .value").first).to_have_text("<00 ff 7e> 3 B")
    await page.get_by_label("Value", exact=True).fill("zz")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#publish-result")).to_have_text("bytes are pairs of hexadecimal digits: 00 ff 7e")
    await page.locator("#publish-type").select_option("json")
    await page.keyboard.press("Tab")
    await page.get_by_role("button", name="Publish", exact=True).click()
    await expect(page.locator("#publish-result.bad")).to_contain_text("JSON")
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        stored = await client.get("/v1/streams/orders?format=page&view=record&from=earliest")
    found = [(one["value"], one["key"], one["event"]) for one in stored.json()["records"]]
    assert found == [({"id": 1}, "k", "made"), ("AP9+", "k", "made")]


async def test_a_stream_that_cannot_be_is_refused_as_text(server: Running, open_page: OpenPage) -> None:
    page = await open_page(f"{server.http_url}/ui/", may_fail=True)
    await page.get_by_label("Streams or patterns").fill("no/such<img src=x onerror=alert(1)>")
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_text("failed")
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await page.evaluate(UNHURT)


async def test_a_list_that_moves_stands_still_while_it_is_pressed(
    server: Running, producer: Producer, open_page: OpenPage
) -> None:
    await publish_lines(producer, "any.lines", 0, 40)
    page = await open_page(f"{server.http_url}/ui/?stream=any.lines")
    await expect(page.locator(".record")).to_have_count(40)
    row = await page.locator(".record").nth(3).bounding_box()
    assert row
    await page.mouse.move(row["x"] + 40, row["y"] + row["height"] / 2)
    await page.mouse.down()
    await publish_lines(producer, "any.lines", 40, 40)
    await page.wait_for_function(f"() => {RECEIVED} == 80")
    await page.evaluate("() => new Promise(requestAnimationFrame)")
    await expect(page.locator(".record")).to_have_count(40)
    await page.mouse.up()
    await expect(page.locator("#inspector")).to_contain_text("line 36")
    await expect(page.locator(".record")).to_have_count(80)
    assert await page.evaluate(RECORD_TEXTS) == lines(80)[::-1]


async def test_ten_thousand_records_a_second_do_not_freeze_it(server: Running, open_page: OpenPage) -> None:
    page = await open_page(f"{server.http_url}/ui/?stream=any.many")
    await live(page)
    await page.evaluate(COUNT_FRAMES)
    command = (sys.executable, "-m", "tests.e2e.load", server.grpc_addr, "any.many", "10000")
    load = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        await page.wait_for_function(f"() => {RECEIVED} > 20_000", timeout=SPAN_MS)
        await expect(page.locator("#shown")).to_contain_text("sampled: showing 1 of")
        assert await page.locator(".record").count() <= 300
        await page.locator(".record").nth(3).click()
        await expect(page.locator("#inspector .tree")).to_contain_text("text: some text of a record string")
        before = await page.evaluate("() => window.frames_seen")
        await page.get_by_label("Filter records").fill("nothing has this")
        await expect(page.locator("#shown")).to_contain_text("0 of")
        await page.get_by_label("Filter records").fill("")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#state")).to_have_text("paused")
        at = await page.evaluate(f"() => {RECEIVED}")
        await page.get_by_role("button", name="Resume").click()
        await page.wait_for_function(f"() => {RECEIVED} > {at + 10_000}", timeout=SPAN_MS)
        assert await page.evaluate("() => window.frames_seen") > before + 5
        assert await page.evaluate("() => window.longest") < 1_000
    finally:
        load.terminate()
        assert (await load.communicate())[1] == b""
    newest = server.broker.info("any.many").last_offset
    await expect(page.locator("#cursor")).to_have_text(f"{server.broker.epoch}-{newest}", timeout=SPAN_MS)
