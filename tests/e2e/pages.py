"""What the tests of pages share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from playwright.async_api import Page

from ratsvc.client import Producer

OpenPage = Callable[..., Awaitable[Page]]
ATTACK = '<img src=x onerror="window.pwned = 1"><script>window.pwned = 1</script>'
UNHURT = "() => window.pwned === undefined && document.querySelectorAll('img[src=x], main script').length === 0"


async def publish_lines(producer: Producer, stream: str, first: int, count: int) -> None:
    """Publishes `line 0` and so on."""
    for n in range(first, first + count):
        await producer.send(stream, f"line {n}")
    await producer.flush()


def lines(count: int) -> list[str]:
    """What `publish_lines` publishes."""
    return [f"line {n}" for n in range(count)]
