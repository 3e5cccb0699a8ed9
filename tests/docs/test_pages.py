"""Every command and every block of code in the documentation runs, and prints what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks
from tests.docs.running import Page

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|src(?:set)?=\"([^\"]+)\"")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_CODE = [page for page in PAGES if blocks(page)]
SKIPPED = [block for page in PAGES for block in blocks(page) if block.skipped]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_CODE, ids=name)
async def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = [block for block in blocks(page) if not block.skipped]
    if not todo:
        pytest.skip("no block of it can be run here")
    for program in ("bash", "curl", "jq"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    monkeypatch.chdir(tmp_path)
    async with Page(todo, tmp_path) as running:
        for block in todo:
            await running.run(block)


@pytest.mark.parametrize("block", SKIPPED, ids=lambda block: block.place)
def test_a_block_is_not_run(block: Block) -> None:
    pytest.skip(f"{block.place}: {block.skipped}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in map("".join, LINK.findall(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, target
