"""What a format is: a sans-IO encoder from a subscription's items to bytes.

A batch is encoded once for all readers of the same format (`Batch.encoded`, by the format's `key`); gaps, ends,
heartbeats and reconnects are rare and are encoded each time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from enum import Enum
from typing import ClassVar

from ratsvc.core.cursor import cursor_text
from ratsvc.core.items import End, Gap, Heartbeat, Item, Reconnect
from ratsvc.core.record import Batch, Encoding


class View(Enum):
    """What of a record is sent: its value alone, or the record with its offset, time and labels."""

    VALUE = "value"
    RECORD = "record"


class Format(ABC):
    """One format with its options, for one log.

    Args:
        epoch: the log's, for cursors.
        view: values or records.
        int64_as_string: write integers beyond ±2^53 as strings in JSON.
        retry_ms: how long SSE readers wait before they come back.
    """

    name: ClassVar[str]
    media_type: ClassVar[str]
    breaks_on_gap: ClassVar[bool] = False
    """Whether a gap cannot be said in band, so that the response has to be broken off."""

    def __init__(
        self, epoch: str, view: View = View.VALUE, int64_as_string: bool = False, retry_ms: int = 2000
    ) -> None:
        self.epoch = epoch
        self.view = view
        self.int64_as_string = int64_as_string
        self.retry_ms = retry_ms
        self.key: Hashable = (self.name, epoch, view, int64_as_string)
        """All that changes a batch's bytes."""

    def batch(self, batch: Batch) -> Encoding:
        """A batch's bytes: made once for all readers of this format."""
        return batch.encoded(self.key, self._encode)

    @abstractmethod
    def _encode(self, batch: Batch) -> Encoding: ...

    def start(self, offset: int, point: int = 0) -> bytes:
        """What a response begins with; `point`: of the snapshot that it begins in."""
        return b""

    def gap(self, gap: Gap) -> bytes:
        """Says that records are missing."""
        return b""

    def end(self, end: End) -> bytes:
        """Says that nothing more comes."""
        return b""

    def heartbeat(self, offset: int, point: int = 0) -> bytes:
        """A sign of life that moves the reader's place."""
        return b""

    def reconnect(self, reconnect: Reconnect) -> bytes:
        """Asks the reader to come back."""
        return b""

    def cursor(self, offset: int, point: int = 0) -> str:
        """The cursor of a place in this log."""
        return cursor_text(self.epoch, offset, point)


def encode_items(fmt: Format, items: Sequence[Item]) -> list[Encoding]:
    """The bytes of each of a subscription's items."""
    return [encode_item(fmt, item) for item in items]


def encode_item(fmt: Format, item: Item) -> Encoding:
    """The bytes of one item."""
    match item:
        case Batch():
            return fmt.batch(item)
        case Gap():
            return fmt.gap(item)
        case End():
            return fmt.end(item)
        case Heartbeat():
            return fmt.heartbeat(item.offset, item.point)
        case Reconnect():
            return fmt.reconnect(item)
