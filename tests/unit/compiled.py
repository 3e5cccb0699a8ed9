"""The compiled check of records, for the tests that need it."""

from __future__ import annotations

import pytest

from ratsvc.quickmem import wire


def need_compiled_check() -> None:
    """Skips the test, or the module that is being loaded, where there is none."""
    if wire.compiled is None:
        pytest.skip("records are checked in Python: there was no C compiler at the install", allow_module_level=True)
