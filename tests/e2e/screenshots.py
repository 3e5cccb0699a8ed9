"""Makes the pictures of the documentation: `python -m tests.e2e.screenshots docs/images`.

Each page is opened on a demo of its own, with its samples from one seed, and is shot when what it should show is there,
light and dark. A new picture is a line in `SHOTS`.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, ViewportSize, async_playwright

from tests.e2e.conftest import CHROMIUM, CHROMIUM_ARGS, Demo

MOST_BYTES = 200_000
WAIT_MS = 60_000


@dataclass(frozen=True)
class Shot:
    """A page to be shot: its name, its path, and what has to be there first (selectors)."""

    name: str
    path: str
    ready: tuple[str, ...] = ()
    width: int = 1200
    height: int = 712


SHOTS = (
    Shot("dashboard", "/ui/", ("#streams-rows tr:nth-child(8)", "#streams-rows tr:nth-child(5).busy")),
    Shot(
        "demo",
        "/ui/demo.html",
        ("#prices tr:nth-child(5)", "#file-state.good", "#tokens-end.good", "#logs li:nth-child(8)"),
    ),
)


async def shoot(browser: Browser, base: str, shot: Shot, folder: Path) -> tuple[Path, Path]:
    """Takes a page's pictures, light and dark; returns their files."""

    async def taken(scheme: Literal["light", "dark"]) -> Path:
        size: ViewportSize = {"width": shot.width, "height": shot.height}
        page = await browser.new_page(color_scheme=scheme, viewport=size, reduced_motion="reduce")
        await page.goto(base + shot.path)
        for there in shot.ready:
            await page.locator(there).wait_for(timeout=WAIT_MS)
        file = folder / f"{shot.name}-{scheme}.png"
        await page.screenshot(path=file, animations="disabled", caret="hide")
        await page.close()
        return file

    return await asyncio.gather(taken("light"), taken("dark"))


async def main(folder: Path) -> None:
    """Takes all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    demo = Demo("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
            for shot in SHOTS:
                for file in await shoot(browser, demo.http, shot, folder):
                    size = file.stat().st_size
                    print(f"{file}: {size:,} bytes")
                    assert size <= MOST_BYTES, f"{file} is over {MOST_BYTES:,} bytes"
            await browser.close()
    finally:
        demo.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
