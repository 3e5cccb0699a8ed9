"""How much room the engines may take."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class DiskLimits:
    """How much of a disk a log may take; of itself it limits nothing: the settings have the defaults."""

    log_bytes: int = 0
    """Of records; 0: as the disk has room."""
    reserve_bytes: int = 0
    """So much is left free: with less, no records are taken."""
    trim_percent: float = 100.0
    """Of the disk in use: from there on, the oldest records go as new ones come."""
    full_percent: float = 100.0
    """Of the disk in use: from there on, no records are taken."""
    survey_s: float = math.inf
    """How long, at most, a database's trees are looked at for damage at a start; 0: not at all."""
