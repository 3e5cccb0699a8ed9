"""How long these tests may take, and the figures that each shows at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import is_full

HERE = Path(__file__).parent
SHORT_TIMEOUT_S, FULL_TIMEOUT_S = 600, 7200


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Notes a line of figures, to be shown at the end of the run."""
    return lambda line: record_property("figure", line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A busy machine makes these tests slow, not wrong."""
    timeout = pytest.mark.timeout(FULL_TIMEOUT_S if is_full(config) else SHORT_TIMEOUT_S)
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(timeout)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        one for of_kind in terminalreporter.stats.values() for one in of_kind if isinstance(one, pytest.TestReport)
    ]
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {line}"
        for report in reports
        if report.when == "call"
        for name, line in report.user_properties
        if name == "figure"
    ]
    if lines:
        terminalreporter.section("figures of the fault tests")
    for line in lines:
        terminalreporter.write_line(line)
