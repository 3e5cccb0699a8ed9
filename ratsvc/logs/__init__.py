"""The engines that keep records, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.registry import Registry
from ratsvc.core.retention import Retention
from ratsvc.logs.limits import DiskLimits
from ratsvc.logs.memory import MemoryLog
from ratsvc.logs.protocol import Log

__all__ = ["DiskLimits", "Log", "open_log"]


def open_log(
    registry: Registry,
    dedupe: Dedupe,
    policy: Callable[[str], Retention],
    *,
    memory_bytes: int,
    data_dir: Path | None,
    flush_interval_s: float,
    disk: DiskLimits,
) -> Log:
    """The `lmdb` engine in `data_dir`, or, without one, the `memory` engine.

    Args:
        policy: what is kept of a stream by the settings.
        flush_interval_s: 0: each commit is on disk before it is acknowledged.

    Raises:
        LogRefused: the directory cannot be used.
    """
    if data_dir is None:
        return MemoryLog(registry, dedupe, memory_bytes)
    from ratsvc.logs.lmdb import LmdbLog  # whoever keeps records in memory need not load it

    return LmdbLog(registry, dedupe, data_dir, policy=policy, flush_interval_s=flush_interval_s, limits=disk)
