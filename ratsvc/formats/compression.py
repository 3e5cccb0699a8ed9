"""gzip for streams (RFC 1952): one member a response that never closes, of deflate blocks that readers share.

Every block ends on a byte boundary, so blocks that were made for many readers follow one another in the response of
each. There are two kinds:

- *alone*: it looks back at nothing (a full flush), and fits everywhere. A batch of `LARGE_BYTES` or more is compressed
  alone, once for all its readers, and so is what a reader gets that catches up, in pieces of about that size.
- *window*: it looks back at the last `WINDOW_BYTES` of what its lane wrote, which one compressor keeps (a sync flush).
  After a batch that went alone the compressor begins anew, with the end of that batch as its dictionary. A reader that
  joins gets the same bytes alone, until it has received all that a window block can look back at.

The CRC and the size at the member's end are counted once a lane: what a reader had from it comes to its own when it
leaves (`crc`). Nothing of one lane's bytes is ever in the window of another.

Measured (events of 97 bytes, level 6, a core of an AMD EPYC): single events 0.99 × alone in 6 µs, 3.6 × by window
in 3.5 µs; batches of 50 5.4 × and 6.5 × in 40 to 50 µs. A dictionary for each single event costs 22 µs instead.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol
from weakref import WeakSet

from ratsvc.core.figures import Figures
from ratsvc.core.items import Item
from ratsvc.core.record import Batch, Encoding
from ratsvc.formats.budget import Budget
from ratsvc.formats.crc import joined

WINDOW_BYTES = 8 * 1024
LARGE_BYTES = 16 * 1024
"""From here on a sample says whether it is worth it: base64 and what is compressed already goes at 35 to 50 MB/s."""
FAST_BYTES = 256 * 1024
"""From here on level 1 is used: the event loop waits meanwhile."""
KEPT_BYTES = 1024
"""Alone blocks of less are not kept: they are made as fast as they are found."""
_SAMPLE_BYTES = 2 * 1024
_WORTH = 0.7
_WINDOW_BITS = 13
_MEMORY_LEVEL = 6
#: The head of a member: deflate, no name, no time, an unknown system.
_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
#: An empty last block, with the fixed codes.
_LAST = b"\x03\0"


class Compressor:
    """Makes blocks, for a whole service.

    Args:
        level: zlib's, 1 to 9.
        windows: how many lanes may have a window at once; the others get alone blocks. Each holds 70 KiB.
        kept_bytes: of alone blocks that are kept for other readers, with the bytes that they were made of.
        budget: the time that it may take: beyond it blocks are stored as they are.
        figures: where its work is counted.
    """

    def __init__(self, level: int, windows: int, kept_bytes: int, budget: Budget, figures: Figures) -> None:
        self.level = level
        self.budget = budget
        self.figures = figures
        self._windows = windows
        self._open: WeakSet[LaneBlocks] = WeakSet()
        self._by_level: dict[int, zlib._Compress] = {}
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._most = kept_bytes

    def alone(self, data: Encoding) -> bytes:
        """A block that looks back at nothing."""
        began = self.budget.clock()
        level, kind = self.level, "alone"
        if self.budget.is_spent:
            level, kind = 0, "over_budget"
        elif len(data) >= LARGE_BYTES:
            if not _shrinks(data):
                level, kind = 0, "stored"
            elif len(data) >= FAST_BYTES:
                level = 1
        deflate = self._by_level.get(level)
        if deflate is None:
            deflate = self._by_level[level] = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        block = deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)
        self.count(kind, began)
        return block

    def shared(self, data: bytes) -> bytes:
        """As `alone`, once for all who ask for the block of the same bytes soon."""
        if len(data) < KEPT_BYTES:
            return self.alone(data)
        block = self._kept.get(data)
        if block is not None:
            self._kept.move_to_end(data)
            return block
        block = self._kept[data] = self.alone(data)
        self._kept_bytes += len(data) + len(block)
        while self._kept_bytes > self._most:
            old, made = self._kept.popitem(last=False)
            self._kept_bytes -= len(old) + len(made)
        return block

    def opened(self, blocks: LaneBlocks) -> bool:
        """Whether a lane may have a window."""
        if blocks not in self._open and len(self._open) >= self._windows:
            return False
        self._open.add(blocks)
        return True

    def count(self, kind: str, began: float) -> None:
        """Notes that a block was made."""
        self.figures.compressions[kind] += 1
        self.budget.spend(self.budget.clock() - began)


class LaneBlocks:
    """The blocks that the readers of a lane share.

    For each piece of data `block` and `passed` are called, and between them the block is written.
    """

    __slots__ = ("__weakref__", "_base", "_compressor", "_dictionary", "_window", "crc", "size")

    def __init__(self, compressor: Compressor) -> None:
        self._compressor = compressor
        self._window: zlib._Compress | None = None
        self._dictionary = b""
        self._base = 0
        self.size = 0
        """Bytes that the lane has written, before compression."""
        self.crc = 0
        """Their CRC-32."""

    @property
    def reach(self) -> int:
        """How far the next window block can look back: a reader that was there at this `size` can take it."""
        return max(self._base, self.size - WINDOW_BYTES)

    def restart(self) -> None:
        """Forgets the window: from now on nothing looks back at what was."""
        self._window, self._dictionary, self._base = None, b"", self.size

    def alone(self, data: Encoding, batches: Sequence[Batch] = (), key: Hashable = None) -> bytes:
        """The block for those who have not received the window; of a large batch for all of its readers."""
        if len(batches) == 1 and len(data) >= LARGE_BYTES:
            return batch_block(self._compressor, batches[0], key, data)
        return self._compressor.alone(data)

    def block(self, data: Encoding) -> bytes | None:
        """The window block for those who have received what it looks back at; None: they take the alone one too."""
        if len(data) >= LARGE_BYTES:
            self._window, self._dictionary = None, bytes(data[-WINDOW_BYTES:])
            return None
        began = self._compressor.budget.clock()
        if self._compressor.budget.is_spent or not (self._window or self._compressor.opened(self)):
            self.restart()
            return None
        self._window = self._window or self._begun()
        made = self._window.compress(data) + self._window.flush(zlib.Z_SYNC_FLUSH)
        self._compressor.count("window", began)
        return made

    def passed(self, data: Encoding) -> None:
        """Notes that the data was written to all who are still there."""
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)

    def _begun(self) -> zlib._Compress:
        options = (self._compressor.level, zlib.DEFLATED, -_WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY)
        dictionary, self._dictionary = self._dictionary, b""
        return zlib.compressobj(*options, dictionary) if dictionary else zlib.compressobj(*options)


class Counted(Protocol):
    """What a response needs to know of its lane: see `LaneBlocks`."""

    size: int
    crc: int


class GzipBody:
    """One response: its member from the head to the trailer.

    Args:
        compressor: the service's.
        fmt: the name of the format, for the figures.
    """

    name = "gzip"

    def __init__(self, compressor: Compressor, fmt: str) -> None:
        self._compressor = compressor
        self._fmt = fmt
        self._crc = 0
        self._size = 0
        self._lane: Counted | None = None
        self._entered = (0, 0)
        self._had: tuple[int, int, int] | None = None

    def start(self, data: bytes) -> bytes:
        """The head, and what the response begins with."""
        self._crc, self._size = zlib.crc32(data), len(data)
        return _HEAD + (self._compressor.alone(data) if data else b"")

    def coded(self, key: Hashable, items: Sequence[Item], encodings: Sequence[Encoding]) -> Iterator[bytes]:
        """What a reader that is in no lane gets, in blocks that others may get as well. Each is made when it is asked
        for: so whoever writes them can let others have their turn in between.

        Args:
            key: the format's.
            items: what comes next.
            encodings: the bytes of each.
        """
        small: list[Encoding] = []
        size = 0
        for item, data in zip(items, encodings, strict=True):
            if isinstance(item, Batch) and len(data) >= LARGE_BYTES:
                if size:
                    yield self._shared(small)
                    small, size = [], 0
                block = batch_block(self._compressor, item, key, data)
                self._told(data, block)
                yield block
                continue
            small.append(data)
            size += len(data)
            if size >= LARGE_BYTES:
                yield self._shared(small)
                small, size = [], 0
        if size:
            yield self._shared(small)

    def _shared(self, small: Sequence[Encoding]) -> bytes:
        data = b"".join(small)
        block = self._compressor.shared(data)
        self._told(data, block)
        return block

    def _told(self, data: Encoding, block: bytes) -> None:
        self.note(data)
        self._compressor.figures.compressed(self._fmt, len(data), len(block))

    def end(self) -> bytes:
        """The end of a response that is complete."""
        self._settle()
        return b"%b%b%b" % (_LAST, self._crc.to_bytes(4, "little"), (self._size & 0xFFFFFFFF).to_bytes(4, "little"))

    def lane(self) -> LaneBlocks:
        """The blocks of a new lane."""
        return LaneBlocks(self._compressor)

    def enter(self, lane: Counted) -> None:
        """From now on the lane counts what the response has."""
        self._settle()
        self._lane, self._entered = lane, (lane.size, lane.crc)

    def leave(self) -> None:
        """Notes what the lane has counted until now; idempotent."""
        if self._lane is not None:
            size, crc = self._entered
            self._had = crc, self._lane.crc, self._lane.size - size
            self._lane = None

    def note(self, data: Encoding) -> None:
        """The response has this too, beside any lane."""
        self._settle()
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)

    def _settle(self) -> None:
        """Takes over what the last lane has counted: not before it is needed, for most readers just go."""
        if self._had is not None:
            # Of the lane's bytes L the response had L[at:], and crc(L[at:]) = crc(L) + crc(L[:at]) * x^8n.
            entered, left, count = self._had
            self._crc, self._had = joined(self._crc ^ entered, left, count), None
            self._size += count


def _shrinks(data: Encoding) -> bool:
    """Whether a sample does, from the middle: 8 to 24 µs."""
    middle = len(data) // 2
    sample = data[middle : middle + _SAMPLE_BYTES]
    deflate = zlib.compressobj(1, zlib.DEFLATED, -12, 5)
    return len(deflate.compress(sample) + deflate.flush()) <= _WORTH * len(sample)


def batch_block(compressor: Compressor, batch: Batch, key: Hashable, data: Encoding) -> bytes:
    """The alone block of a batch, kept with it as its encodings are.

    Args:
        compressor: makes it.
        batch: the batch.
        key: the format's.
        data: its bytes in that format.
    """
    return bytes(batch.encoded((key, GzipBody.name), lambda _: compressor.alone(data)))
