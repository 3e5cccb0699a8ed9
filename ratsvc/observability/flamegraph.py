"""A profile as a flame graph: an SVG that needs nothing else, neither script nor style, so any policy lets it show.

Each box is a function, as wide as the processor time that was spent in it and in what it called, which is above it;
pointing at one tells its name and figures. What would be narrower than MIN_WIDTH is left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

from ratsvc.observability.profile import Profile

WIDTH, ROW, CHAR, MIN_WIDTH = 1200.0, 17, 6.7, 0.3
_HEAD = 40


@dataclass(slots=True)
class _Node:
    """A function, called from what is below it."""

    name: str
    seconds: float = 0.0
    above: dict[str, _Node] = field(default_factory=dict)


def render(profile: Profile, title: str) -> str:
    """The SVG."""
    root = _Node("all")
    for stack, seconds in profile.seconds.items():
        root.seconds += seconds
        node = root
        for name in stack:
            node = node.above.setdefault(name, _Node(name))
            node.seconds += seconds
    boxes = list(_boxes(root, root.seconds))
    rows = 1 + max((row for row, *_ in boxes), default=0)
    height = _HEAD + rows * ROW + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height}" width="{WIDTH:.0f}"'
        f' height="{height}" font-family="monospace" font-size="11">',
        f'<rect width="100%" height="100%" fill="#fffdf8"/><text x="8" y="24" font-size="14">{escape(title)}</text>',
    ]
    for row, x, width, node in boxes:
        y = height - 10 - (row + 1) * ROW
        share = node.seconds / root.seconds * 100
        label = node.name if len(node.name) * CHAR <= width - 4 else node.name[: int((width - 4) / CHAR) - 1] + "…"
        parts.append(
            f"<g><title>{escape(node.name)} ({node.seconds:.3f} s, {share:.1f} %)</title>"
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" rx="1" fill="{_colour(node.name)}"/>'
            + (f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(label)}</text>' if width > 5 * CHAR else "")
            + "</g>"
        )
    return "\n".join([*parts, "</svg>\n"])


def _boxes(root: _Node, total: float) -> Iterator[tuple[int, float, float, _Node]]:
    """Row, left edge, width and function of each box that is wide enough."""
    waiting: list[tuple[int, float, _Node]] = [(0, 0.0, root)] if total > 0 else []
    while waiting:
        row, x, node = waiting.pop()
        yield row, x, node.seconds / total * WIDTH, node
        for name in sorted(node.above):
            above = node.above[name]
            width = above.seconds / total * WIDTH
            if width >= MIN_WIDTH:
                waiting.append((row + 1, x, above))
            x += width


def _colour(name: str) -> str:
    """A warm colour, the same for a name wherever it is."""
    number = zlib.crc32(name.encode("utf-8", "replace"))
    return f"hsl({20 + number % 35},{70 + number // 64 % 25}%,{62 + number // 4096 % 14}%)"
