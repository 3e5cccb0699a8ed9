"""What a subscription gives: batches of records, and what is said between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ratsvc.core.record import Batch


class GapReason(Enum):
    """Why records are missing."""

    RETENTION = "retention"
    EPOCH = "epoch"
    SLOW = "slow"
    PURGED = "purged"
    CORRUPT = "corrupt"


@dataclass(slots=True, frozen=True)
class Gap:
    """Records after offset `after` up to and with offset `to` that a reader can no longer get."""

    after: int
    to: int
    reason: GapReason
    skipped: int | None = None
    from_epoch: str | None = None
    """The epoch of `after`, where it is not the log's."""


@dataclass(slots=True, frozen=True)
class End:
    """Nothing more comes: `reason` is ended, deleted, limit or until. `point`: of the snapshot that it comes in."""

    offset: int
    reason: str
    point: int = 0


@dataclass(slots=True, frozen=True)
class Heartbeat:
    """Nothing new; the reader's position is `offset`, or, with a `point`, within a snapshot."""

    offset: int
    point: int = 0


@dataclass(slots=True, frozen=True)
class Reconnect:
    """The reader is asked to come back after `retry_ms`: reason drain, lifetime, overload, slow or stalled.
    `point`: of the snapshot that it comes in."""

    offset: int
    retry_ms: int
    reason: str
    point: int = 0


Item = Batch | Gap | End | Heartbeat | Reconnect
"""What a subscription gives."""
