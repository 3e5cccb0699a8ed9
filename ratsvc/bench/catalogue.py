"""All scenarios: of the service, of its compression and its figures, of the codec, and of the in-process streams."""

from __future__ import annotations

from collections.abc import Callable

from ratsvc.bench import channels, codec, compression, deltas, figures, scenarios
from ratsvc.bench.scenarios import Options, Result

SCENARIOS: dict[str, Callable[[Options], Result]] = {
    **scenarios.SCENARIOS,
    **compression.SCENARIOS,
    **figures.SCENARIOS,
    **codec.SCENARIOS,
    **channels.SCENARIOS,
    **deltas.SCENARIOS,
}
BY_DEFAULT = tuple(scenarios.SCENARIOS)
"""Those of the service: they take under a minute together."""
REFERENCE = {**scenarios.REFERENCE, **channels.REFERENCE}
"""Figures of the system that this one is to leave behind, in records a second."""
