"""Browsers, Node.js and a demo of its own process. What is not installed is said by the tests that it skips.

One driver serves all tests of a session: its start takes longer than Chromium's. So they, their service and their
producer share one event loop.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Playwright, async_playwright

from ratsvc.client import Producer
from tests.conftest import Running, running

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium")
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FAILED = "Failed to load resource: "
ENV = {**os.environ, "COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    """Playwright's driver, a process of its own."""
    async with async_playwright() as driver:
        yield driver


@pytest_asyncio.fixture(loop_scope="session")
async def browser(playwright: Playwright) -> AsyncIterator[Browser]:
    """Debian's Chromium, headless: one for each test, so that none has to do with what another left."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
    yield chromium
    await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[Running]:
    """A running service with default settings."""
    async with running() as service:
        yield service


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser) -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    """Opens a page; the test fails when any page threw or wrote an error to its console.

    With `may_fail` the browser may say there that a request failed.
    """
    errors: list[str] = []

    async def opened(url: str, *, may_fail: bool = False, **options: Any) -> Page:
        def said(message: ConsoleMessage) -> None:
            if message.type == "error" and not (may_fail and message.text.startswith(FAILED)):
                errors.append(message.text)

        page = await browser.new_page(**options)
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", said)
        await page.goto(url)
        return page

    yield opened
    assert errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def producer(server: Running) -> AsyncIterator[Producer]:
    """A producer of the running service."""
    async with Producer(server.grpc_addr) as producer:
        yield producer


LAST_LINE = "Ctrl-C stops it.\n"


class Demo:
    """A `ratsvc demo` in a process of its own."""

    def __init__(self, *args: str) -> None:
        command = [sys.executable, "-m", "ratsvc", "demo", *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
        assert self.process.stdout is not None
        self.said = "".join(iter(self.process.stdout.readline, LAST_LINE))
        found = re.match(r"ratsvc is ready: HTTP (http://\S+)  gRPC (\S+)\n", self.said)
        assert found, self.said + self.stop()[1]
        self.http, self.grpc = found.groups()

    def stop(self, number: int = signal.SIGTERM) -> tuple[str, str, int]:
        """Sends a signal; returns what `ended` does."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[str, str, int]:
        """Waits for its end; returns what it printed since it was ready, its errors, and its exit code."""
        output, errors = self.process.communicate(timeout=30)
        return output, errors, self.process.returncode


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """A running demo, which must stop cleanly."""
    demo = Demo("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    yield demo
    _, errors, code = demo.stop()
    assert (errors, code) == ("", 0)
