"""`make screenshots` takes pictures of what is there, and the documentation has those that it takes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import HERE, Demo
from tests.e2e.screenshots import MOST_BYTES, SHOTS, shoot

IMAGES = HERE.parents[1] / "docs" / "images"


def size(picture: Path) -> tuple[int, int]:
    """A PNG's width and height."""
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.timeout(100)
async def test_a_page_is_shot_light_and_dark(browser: Browser, demo: Demo, tmp_path: Path) -> None:
    shot = SHOTS[0]
    light, dark = await shoot(browser, demo.http, shot, tmp_path)
    assert (light.name, dark.name) == (f"{shot.name}-light.png", f"{shot.name}-dark.png")
    assert light.read_bytes() != dark.read_bytes()
    for picture in (light, dark):
        assert size(picture) == (shot.width, shot.height)
        assert 10_000 < picture.stat().st_size <= MOST_BYTES


def test_the_documentation_has_every_picture_and_no_other() -> None:
    expected = {
        f"{shot.name}-{scheme}.png": (shot.width, shot.height) for shot in SHOTS for scheme in ("light", "dark")
    }
    assert {picture.name: size(picture) for picture in IMAGES.iterdir()} == expected
    assert all(picture.stat().st_size <= MOST_BYTES for picture in IMAGES.iterdir())
