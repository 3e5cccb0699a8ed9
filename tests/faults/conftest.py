"""Short or full (`--faults=full`, as `make faults` does), and the figures that each test shows at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

Scaled = TypeVar("Scaled")
_FIGURES: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", choices=("short", "full"), default="short", help="how long the fault tests are")


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether the tests run at full length."""
    return bool(pytestconfig.getoption("--faults", default="short") == "full")


@pytest.fixture(scope="session")
def scaled(full: bool) -> Callable[[Any, Any], Any]:
    """`scaled(short, full)`: the one of both that is asked for."""
    return lambda short, long: long if full else short


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a line of figures, to be shown at the end of the run."""
    return lambda line: _FIGURES.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FIGURES:
        terminalreporter.section("figures of the fault tests")
        for line in _FIGURES:
            terminalreporter.write_line(line)
