"""The service without its figures: what the `figures` scenario compares it with.

Each call that counts is replaced by one that does nothing; a counter that is added to in place (some 0.05 µs each)
stays. Run as `python -m ratsvc.bench.uncounted serve …`.
"""

from __future__ import annotations

import runpy

from ratsvc.core.figures import Figures, Histogram
from ratsvc.flow.sequencer import Sequencer

COUNTING = (
    (Histogram, "observe"),
    (Figures, "encoding"),
    (Figures, "told"),
    (Figures, "delivered"),
    (Figures, "called"),
    (Figures, "answered"),
    (Sequencer, "_count"),
)


def nothing(*arguments: object) -> None:
    """Counts nothing."""


if __name__ == "__main__":
    for owner, name in COUNTING:
        setattr(owner, name, nothing)
    runpy.run_module("ratsvc", run_name="__main__")
