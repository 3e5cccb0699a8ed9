"""The pages of documentation, and the blocks of code in them.

What becomes of a block is said by its language:

    sh       run by bash, in a folder that looks like the checkout
    python   run with the page's earlier ones, as in `python -m asyncio`
    js       run as a module in a page of the service, in Chromium
    toml     checked as a file of settings
    json     parsed, line by line or whole
    text     compared with what the block before prints: `…` is anything in a line, and alone any lines

and by comments on the lines above it, which nobody sees on the page:

    <!-- not run: WHY -->      it cannot be run here
    <!-- needs: PROGRAM -->    it is run where that program is installed
    <!-- goes on -->           it does not end: it is left alone when its text is there, or its first line
    <!-- serves -->            the same, and it is the service of this page; else the page is given one
    <!-- before: COMMAND -->   makes what the block needs and the page does not show
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import tests.golang

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"(?P<marks>(?:^<!--[^\n]*-->\n)*)^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
_MARK = re.compile(r"<!-- ([a-z ]+?)(?:: (.+))? -->")
MARKS = frozenset({"not run", "needs", "goes on", "serves", "before"})


@dataclass(frozen=True)
class Block:
    """A block of code: where it is, its marks, and what the page says that it prints."""

    page: Path
    line: int
    language: str
    code: str
    marks: dict[str, str] = field(default_factory=dict)
    shown: str | None = None

    @property
    def place(self) -> str:
        """`docs/page.md:12`"""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def goes_on(self) -> bool:
        """Whether it does not end by itself."""
        return not self.marks.keys().isdisjoint({"goes on", "serves"})

    @property
    def skipped(self) -> str:
        """Why it is not run, if it is not."""
        program = "chromium" if self.language == "js" else self.marks.get("needs")
        if program == "go" and not (tests.golang.BUILT / "consumer").exists():
            return "the examples in Go are not built: python -m tests.golang says why"
        if program and shutil.which(program) is None:
            return f"{program} is not installed"
        return self.marks.get("not run", "")


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order. A `text` block goes with the one before it."""
    text = page.read_text()
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        marks = {name: value or "" for name, value in _MARK.findall(match["marks"])}
        assert marks.keys() <= MARKS, f"{page}:{line}: {match['marks']}"
        if match["language"] == "text" and "not run" not in marks:
            assert found, f"{page}:{line}: there is no block whose text this is"
            before = found.pop()
            assert before.shown is None, f"{page}:{line}: the block before has its text already"
            found.append(Block(page, before.line, before.language, before.code, before.marks, match["code"]))
        else:
            found.append(Block(page, line, match["language"], match["code"], marks))
    fences = re.findall(r"^\s*```", text, re.M)
    assert len(fences) == 2 * len(_BLOCK.findall(text)), f"{page}: a block is not closed, or indented"
    return found
