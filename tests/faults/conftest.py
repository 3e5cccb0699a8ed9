"""Short or full (`--faults=full`, as `make faults` does), and the figures that each test shows at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SHORT_TIMEOUT_S, FULL_TIMEOUT_S = 600, 7200
_FIGURES: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", choices=("short", "full"), default="short", help="how long the fault tests are")


def _is_full(config: pytest.Config) -> bool:
    return bool(config.getoption("--faults", default="short") == "full")


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether the tests run at full length."""
    return _is_full(pytestconfig)


@pytest.fixture(scope="session")
def scaled(full: bool) -> Callable[[Any, Any], Any]:
    """`scaled(short, full)`: the one of both that is asked for."""
    return lambda short, long: long if full else short


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a line of figures, to be shown at the end of the run."""
    return lambda line: _FIGURES.append(f"{request.node.name}: {line}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A busy machine makes these tests slow, not wrong."""
    timeout = pytest.mark.timeout(FULL_TIMEOUT_S if _is_full(config) else SHORT_TIMEOUT_S)
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(timeout)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FIGURES:
        terminalreporter.section("figures of the fault tests")
        for line in _FIGURES:
            terminalreporter.write_line(line)
