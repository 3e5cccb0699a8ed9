"""The runner of the documentation's blocks notices what a page says wrongly."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Error

from tests.docs import pages
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.running import Page
from tests.e2e.conftest import CHROMIUM


def block(language: str, code: str, shown: str | None = None, **marks: str) -> Block:
    return Block(
        ROOT / "page.md", 7, language, code, {name.replace("_", " "): text for name, text in marks.items()}, shown
    )


@pytest_asyncio.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """A page that brings a service of its own, which nobody needs."""
    async with Page([block("sh", "", serves="")], tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (block("sh", "echo one", "two\n"), "page.md:7 prints\none"),
        (block("sh", "echo one; echo two", "one\n"), "page.md:7 prints"),
        (block("sh", "echo one", "one\ntwo\n"), "page.md:7 prints"),
        (block("sh", "echo no >&2; exit 3"), "exit code 3\nno"),
        (block("sh", "false; echo one", "one\n"), "exit code 1"),
        (block("sh", "echo one", "two\n", goes_on=""), "page.md:7 ended, with\none"),
        (block("sh", "true", goes_on=""), "page.md:7 ended"),
        (block("python", "print(1)", "2\n"), "page.md:7 prints\n1"),
        (block("python", "import asyncio\nawait asyncio.sleep(0)\nprint(1)", "2\n", goes_on=""), "page.md:7 ended"),
        (block("toml", "hartbeat_s = 1"), "did you mean 'heartbeat_s'"),
        (block("cobol", "x"), "nobody runs cobol"),
        (block("", "x"), "nobody runs a block without a language"),
    ],
)
async def test_what_is_not_so_is_said(page: Page, one: Block, said: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:7") as raised:
        await page.run(one)
    assert said in str(raised.value)


@pytest.mark.parametrize("code", ["await nothing()", "def f(:", "raise KeyError('x')"])
async def test_code_that_fails_names_its_block(page: Page, code: str) -> None:
    with pytest.raises((NameError, SyntaxError, KeyError)) as raised:
        await page.run(block("python", code))
    assert "in page.md:7" in raised.value.__notes__[0]


async def test_a_script_that_throws_names_its_block(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    async with Page([], tmp_path) as running:
        with pytest.raises(Error, match="x is not defined") as raised:
            await running.run(block("js", "console.log(1);\nx();"))
    assert "in page.md:7, which printed\n1" in raised.value.__notes__[0]


async def test_what_is_so_passes(page: Page) -> None:
    await page.run(block("python", "import asyncio\nx = await asyncio.sleep(0, 5)"))
    await page.run(block("python", "print(x, 'at 127.0.0.1:8080')", "… at 127.0.0.1:8080\n"))
    await page.run(block("sh", "echo a; echo b; echo 1-c", "…\n…-c\n"))
    await page.run(block("sh", "cat made", "x\n", before="echo x > made"))
    await page.run(block("toml", "heartbeat_s = 1"))
    await page.run(block("json", '{"a": 1}\n{"a": 2}'))


async def test_a_block_that_goes_on_is_stopped_at_the_end_of_the_page(tmp_path: Path) -> None:
    async with Page([block("sh", "", serves="")], tmp_path) as running:
        await running.run(block("sh", "echo $$ > pid; echo begun; sleep 1000", "begun\n", goes_on=""))
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def test_addresses_of_a_page_are_free_ones_here(tmp_path: Path) -> None:
    code = "echo http://127.0.0.1:8080 $RATSVC_HTTP localhost:9999 > said; cat said"
    one = block("sh", code, "http://127.0.0.1:8080 127.0.0.1:8080 localhost:9999\n")
    async with Page([one, block("sh", "", serves="")], tmp_path) as running:
        await running.run(one)
    said = (tmp_path / "said").read_text()
    assert "8080" not in said
    assert "9999" not in said


@pytest.mark.parametrize(
    "text",
    ["```text\nalone\n```\n", "```sh\ntrue\n", "<!-- nonsense -->\n```sh\ntrue\n```\n", "- a\n  ```sh\n  true\n  ```\n",
     "```sh\ntrue\n```\n```text\na\n```\n```text\nb\n```\n"],
)  # fmt: skip
def test_a_page_that_cannot_be_read_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(AssertionError):
        blocks(tmp_path / "page.md")


def test_a_block_knows_its_marks_and_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    text = "# A\n\n<!-- goes on -->\n<!-- needs: no-such-program -->\n```sh\nx\n```\n\nSo:\n\n```text\ny\n```\n"
    (tmp_path / "page.md").write_text(text)
    [found] = blocks(tmp_path / "page.md")
    assert (found.place, found.code, found.shown, found.goes_on) == ("page.md:5", "x\n", "y\n", True)
    assert found.skipped == "no-such-program is not installed"
