"""An app of the program's own, served beside the service: at the same address, behind the same gate.

The gate checks the heads of its requests, bounds their bodies, and turns its errors into problems, as it does for the
service's own routes. `ratsvc demo` shows the in-process API so; `ratsvc serve` has no guest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quart import Quart


@dataclass(frozen=True, slots=True)
class Guest:
    """A Quart app and what the service must know of it."""

    app: Quart
    body_bytes: Mapping[str, int] = field(default_factory=dict)
    """By endpoint, the most that a request's body may have; the other routes take none."""
    links: str = ""
    """HTML for the page at `/ui/`: where the guest's own pages are."""
