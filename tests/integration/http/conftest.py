"""For the HTTP tests: a client, raw sockets, and a watch on the log: none of these tests may leave an error in it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import httpx
import pytest
import pytest_asyncio
import structlog

from tests.conftest import Running


@pytest.fixture(autouse=True)
def log_lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[MutableMapping[str, Any]]]:
    """What the service logs; fails the test when it logged an error or a traceback."""
    with structlog.testing.capture_logs() as lines:
        yield lines
    bad = [line for line in lines if line["log_level"] in ("error", "critical") or "exc_info" in line]
    assert not bad, bad
    assert not [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]


@pytest_asyncio.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running service."""
    async with httpx.AsyncClient(base_url=server.http_url, timeout=10) as client:
        yield client
