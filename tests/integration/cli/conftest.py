"""For the tests of `ratsvc log`: a log that a service left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli.logs import make


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with three streams: see `make`."""
    make(tmp_path / "log")
    return tmp_path / "log"
