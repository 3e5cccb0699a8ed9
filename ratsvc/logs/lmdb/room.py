"""How much room the log may take: what the settings and the disk allow."""

from __future__ import annotations

import structlog

from ratsvc.logs.limits import DiskLimits
from ratsvc.logs.lmdb.directory import Directory
from ratsvc.logs.lmdb.store import MIB, Store

_log = structlog.get_logger()

SPARE_BYTES = 32 * MIB
"""A file with so many free pages may be written to, however full the disk is."""
HYSTERESIS_PERCENT = 2


class Room:
    """Watches the disk."""

    def __init__(self, limits: DiskLimits, directory: Directory, store: Store) -> None:
        self._limits = limits
        self._directory = directory
        self._store = store
        self.max_bytes = limits.log_bytes
        """Of records now; 0: no bound."""
        self.is_full = False
        """Whether no records may be taken."""

    def look(self, log_bytes: int) -> None:
        """Looks at the disk; the log has `log_bytes` of records."""
        limits = self._limits
        free, size = self._directory.free()
        used = 100.0 * (1.0 - free / size) if size else 0.0
        spare = self._store.file_bytes - self._store.used_bytes
        is_full = (free < limits.reserve_bytes or used >= limits.full_percent) and spare < SPARE_BYTES
        if is_full != self.is_full:
            _log.warning("disk_full" if is_full else "disk_has_room", free_bytes=free, used_percent=round(used, 1))
        self.is_full = is_full
        if used >= limits.trim_percent:
            self.max_bytes = min(self.max_bytes or log_bytes, log_bytes)
        elif used < limits.trim_percent - HYSTERESIS_PERCENT:
            self.max_bytes = limits.log_bytes
