"""A page of another site in a real browser: it publishes, reads with fetch and EventSource, or is kept out."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser

from tests.conftest import Running, running

USE = """async (url) => {
    const stream = url + "/v1/streams/s";
    try {
        const headers = {"Content-Type": "application/json", "Idempotency-Key": "one"};
        const published = await (await fetch(stream, {method: "POST", headers, body: '"hello"'})).json();
        const read = await fetch(stream + "?from=earliest&until=now&format=text", {headers: {"Last-Event-ID": ""}});
        const event = await new Promise((resolve, reject) => {
            const source = new EventSource(stream + "?from=earliest");
            source.onmessage = (event) => { source.close(); resolve(event.data); };
            source.onerror = () => { source.close(); reject(new Error("EventSource")); };
        });
        return {stored: published.stored, text: await read.text(), cursor: read.headers.get("Rat-Cursor"), event};
    } catch (error) {
        return {failed: String(error)};
    }
}"""


async def use(browser: Browser, site: Running, service: Running) -> Any:
    page = await browser.new_page()
    await page.goto(f"http://localhost:{site.http_port}/healthz")  # localhost and 127.0.0.1 are two sites
    return await page.evaluate(USE, service.http_url)


@pytest.mark.timeout(100)
@pytest.mark.parametrize("all_origins", [True, False])
async def test_a_page_of_an_allowed_origin_publishes_and_reads(browser: Browser, all_origins: bool) -> None:
    async with running() as site:
        origin = "*" if all_origins else f"http://localhost:{site.http_port}"
        async with running(cors_origins=[origin]) as service:
            found = await use(browser, site, service)
            epoch = service.broker.epoch
    assert found == {"stored": 1, "text": "hello\n", "cursor": f"{epoch}-0", "event": "hello"}


@pytest.mark.timeout(100)
async def test_a_page_of_any_other_origin_is_kept_out(browser: Browser) -> None:
    async with running() as site, running(cors_origins=["https://app.example.com"]) as service:
        assert "failed" in await use(browser, site, service)
        assert not service.broker.list()
