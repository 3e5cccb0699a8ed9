"""What scenarios take and give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MIB = 1024 * 1024


@dataclass(slots=True, frozen=True)
class Options:
    """Sizes and rates."""

    records: int = 2_000_000
    batch: int = 256
    value_bytes: int = 90
    readers: int = 1_000
    rounds: int = 40
    rate: float = 500.0
    seconds: float = 4.0
    file_mib: int = 1_024
    idle_readers: int = 2_000


@dataclass(slots=True)
class Result:
    """One row; None where a case has no such figure."""

    scenario: str
    records_per_s: float | None = None
    mb_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    server_cpu_s_per_million: float | None = None
    server_rss_mib: float | None = None
    floor_ratio: float | None = None
    record_bytes: int | None = None
    batch_bytes: int | None = None
    note: str = ""
    options: dict[str, Any] = field(default_factory=dict)
