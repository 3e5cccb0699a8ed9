"""What all tests share: a real service in this process, on ports that the system chooses."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from ratsvc.core.cursor import Earliest
from ratsvc.core.record import Batch
from ratsvc.flow.broker import Broker, ReadRequest
from ratsvc.quickmem import wire
from ratsvc.server.app import Server
from ratsvc.settings import Settings, load

hypothesis.settings.register_profile("ci", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ci")

for _variable in [name for name in os.environ if name.startswith("RATSVC_")]:
    del os.environ[_variable]


class Running:
    """A running service and where it listens."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.broker: Broker = server.broker
        self.http_port = server.http_port
        self.grpc_port = server.grpc_port
        self.http_url = f"http://127.0.0.1:{server.http_port}"
        self.grpc_addr = f"127.0.0.1:{server.grpc_port}"


def test_settings(**changes: object) -> Settings:
    """Settings for a service under test: ports chosen by the system, and `changes`."""
    return load(flags={"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", "drain_s": 0.2, **changes})


test_settings.__test__ = False  # type: ignore[attr-defined]


@asynccontextmanager
async def running(**changes: object) -> AsyncIterator[Running]:
    """A running service with `changes` to its settings."""
    async with Server(test_settings(**changes)) as server:
        yield Running(server)


@pytest.fixture
def run_server() -> Callable[..., AbstractAsyncContextManager[Running]]:
    """Starts services with settings of the test's own: `async with run_server(heartbeat_s=1) as server`."""
    return running


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Running]:
    """A running service with default settings."""
    async with running() as service:
        yield service


@pytest.fixture
def node() -> str:
    """Node.js, with the npm packages of tests/e2e."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    if not (Path(__file__).parent / "e2e/node_modules/.package-lock.json").exists():
        pytest.skip("the npm packages are not installed (npm install in tests/e2e)")
    return found


async def stored(broker: Broker, *streams: str) -> list[object]:
    """The values of all records of these streams, in order."""
    return [value for batch in await stored_batches(broker, *streams) for value in wire.values(batch)]


async def stored_batches(broker: Broker, *streams: str) -> list[Batch]:
    """All records of these streams, in order."""
    with await broker.subscribe(ReadRequest(streams, Earliest(), until="now")) as subscription:
        found: list[Batch] = []
        while items := await subscription.next():
            found += [item for item in items if isinstance(item, Batch)]
        return found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", choices=("short", "full"), default="short", help="how long the fault tests are")
    parser.addoption("--browsers", choices=("chromium", "all"), default="chromium", help="which browsers are tested")


def is_full(config: pytest.Config) -> bool:
    """Whether `--faults=full` was given, as `make faults` does."""
    return bool(config.getoption("--faults", default="short") == "full")


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether the tests run at full length."""
    return is_full(pytestconfig)


@pytest.fixture(scope="session")
def scaled(full: bool) -> Callable[[Any, Any], Any]:
    """`scaled(short, full)`: the one of both that is asked for."""
    return lambda short, long: long if full else short
